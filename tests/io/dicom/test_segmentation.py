"""DICOM segmentations as others read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import config, datadict
from pydicom.dataset import Dataset

import dicoms
from dicom_segmentations import by_highdicom, by_simpleitk
from mass3d.errors import ConfigError, DataError
from mass3d.io.dicom import segmentation
from mass3d.io.dicom.segmentation import (
    require_highdicom,
    require_writable,
    segment_labels,
    write_segmentation,
)
from mass3d.io.dicom.volume import dicom_identity, only_series
from mass3d.io.formats.label_table import LabelName
from mass3d.io.read import read_label, read_volume

hd = pytest.importorskip("highdicom")

NAMES = [LabelName(7, "liver", (242, 145, 61)), LabelName(300, "a very " * 12, (1, 2, 3))]
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def made(folder: Path, names: list[LabelName], labels: NDArray[np.uint16] | None = None) -> Path:
    """The segmentation of a series; of random labels by default."""
    series = only_series(folder)
    volume = read_volume(series)
    if labels is None:
        values = [0, *(one.value for one in names)]
        labels = np.random.default_rng(0).choice(values, volume.grid.shape).astype(np.uint16)
    path = folder.with_name(f"{folder.name}.dcm")
    write_segmentation(path, labels, volume.source, series, names)
    np.save(folder.with_name("labels.npy"), labels)
    return path


@pytest.mark.parametrize("axes", [dicoms.AXIAL, OBLIQUE])
def test_what_is_written_is_read_back_voxel_by_voxel(
    tmp_path: Path, axes: tuple[float, ...]
) -> None:
    dicoms.series(tmp_path / "ct", axes=axes)
    path = made(tmp_path / "ct", NAMES)
    volume, labels = read_volume(tmp_path / "ct"), np.load(tmp_path / "labels.npy")
    np.testing.assert_array_equal(by_highdicom(path, NAMES, volume), labels)
    np.testing.assert_array_equal(by_simpleitk(path, NAMES, volume), labels)


def test_it_refers_to_the_series_and_names_its_segments(tmp_path: Path) -> None:
    def framed(ds: Dataset, _: int) -> None:
        ds.FrameOfReferenceUID = "1.2.3.4"

    dicoms.series(tmp_path / "ct", change=framed)
    found = hd.seg.segread(made(tmp_path / "ct", NAMES))
    identity = dicom_identity(only_series(tmp_path / "ct"))
    assert found.StudyInstanceUID == identity.study_uid
    assert found.FrameOfReferenceUID == "1.2.3.4"
    (series,) = found.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == identity.series_uid
    instances = {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence}
    assert instances == set(identity.instance_uids)
    first, second = found.SegmentSequence
    assert (first.SegmentLabel, second.SegmentLabel) == ("liver", NAMES[1].name[:64])
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "7"
    assert found.PatientName == dicoms.SECRET


def test_equal_labels_are_equal_bytes(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "ct")
    first = made(tmp_path / "ct", NAMES).read_bytes()
    assert made(tmp_path / "ct", NAMES).read_bytes() == first
    other = np.zeros(read_volume(tmp_path / "ct").grid.shape, np.uint16)
    assert made(tmp_path / "ct", NAMES, other).read_bytes() != first


def test_volumes_of_one_series_have_identifiers_of_their_own(tmp_path: Path) -> None:
    """Found: of echoes, without a voxel in both, one was called as the other."""

    def of_one_series(ds: Dataset, _: int) -> None:
        ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3.4", "1.2.3.5"

    found = []
    for name in ("first", "second"):
        dicoms.series(tmp_path / name, change=of_one_series)
        nothing = np.zeros(read_volume(tmp_path / name).grid.shape, np.uint16)
        found.append(pydicom.dcmread(made(tmp_path / name, NAMES, nothing)))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({one[keyword].value for one in found}) == 2, keyword
    organised = [one.DimensionOrganizationSequence[0].DimensionOrganizationUID for one in found]
    assert len({*organised}) == 2


def test_identifiers_that_anonymising_emptied_are_filled(tmp_path: Path) -> None:
    def emptied(ds: Dataset, _: int) -> None:
        for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
            setattr(ds, name, "")
        for name in ("PatientName", "StudyDate", "SliceThickness"):
            if name in ds:
                delattr(ds, name)

    dicoms.series(tmp_path / "ct", change=emptied)
    found = hd.seg.segread(made(tmp_path / "ct", NAMES))
    assert found.StudyInstanceUID
    assert found.FrameOfReferenceUID
    assert found.ContentDate == "19000101"
    labels = np.load(tmp_path / "labels.npy")
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(by_highdicom(tmp_path / "ct.dcm", NAMES, volume), labels)


def put(**values: object) -> dicoms.Change:
    """Set tags of every slice, whatever DICOM allows."""

    def change(ds: Dataset, _: int) -> None:
        with config.disable_value_validation():
            for name, value in values.items():
                setattr(ds, name, value)

    return change


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PatientSex", value) for value in ("U", "male", "ANON", ["M", "F"])),
        *(("PatientBirthDate", value) for value in ("1950", "00000000", "ANON", "20201301")),
        *(("StudyTime", value) for value in ("10:11:12", "25")),
        *(("StudyDate", value) for value in ("2001-02-03", ["20200101", "20200102"])),
        ("PatientBirthTime", "noon"),
        ("PatientWeight", "heavy"),
    ],
)
def test_values_that_anonymising_left_behind_are_emptied(
    tmp_path: Path, name: str, value: object
) -> None:
    series_of(tmp_path / "ct", name, value)
    volume, series = read_volume(tmp_path / "ct"), only_series(tmp_path / "ct")
    require_writable(series, volume.source, NAMES)
    path = made(tmp_path / "ct", NAMES)
    labels = np.load(tmp_path / "labels.npy")
    np.testing.assert_array_equal(by_highdicom(path, NAMES, volume), labels)
    found = pydicom.dcmread(path)
    assert not found.get(name)
    assert (found.PatientName, found.ContentDate, found.ContentTime) == (
        dicoms.SECRET,
        "19000101",
        "000000",
    )


def series_of(folder: Path, name: str, value: object) -> None:
    """A series with a value that pydicom may not write: as another text of as many letters."""
    if not isinstance(value, str) or datadict.dictionary_VR(name) != "DS":
        dicoms.series(folder, change=put(**{name: value}))
        return
    number = "1." + "5" * (len(value) - 2)
    for path in dicoms.series(folder, change=put(**{name: number})):
        content = path.read_bytes()
        assert content.count(number.encode()) == 1
        path.write_bytes(content.replace(number.encode(), value.encode()))


def test_values_that_dicom_allows_stay(tmp_path: Path) -> None:
    known = {"PatientSex": "F", "PatientBirthDate": "19500101", "StudyTime": "101112.5"}
    dicoms.series(tmp_path / "ct", change=put(StudyDate="2001.02.03", **known))
    found = pydicom.dcmread(made(tmp_path / "ct", NAMES))
    assert {name: found.get(name) for name in known} == known
    assert (found.StudyDate, found.ContentTime) == ("2001.02.03", "101112.5")


def test_orientations_that_differ_by_rounding_and_frames_of_reference_become_the_first(
    tmp_path: Path,
) -> None:
    def jittered(ds: Dataset, number: int) -> None:
        ds.ImageOrientationPatient = [1, 1e-5 * number, 0, -1e-5 * number, 1, 0]
        ds.FrameOfReferenceUID = f"1.2.3.{4 + number}"

    dicoms.series(tmp_path / "ct", change=jittered)
    volume = read_volume(tmp_path / "ct")
    require_writable(only_series(tmp_path / "ct"), volume.source, NAMES)
    path = made(tmp_path / "ct", NAMES)
    labels = np.load(tmp_path / "labels.npy")
    np.testing.assert_array_equal(by_highdicom(path, NAMES, volume), labels)
    assert hd.seg.segread(path).FrameOfReferenceUID == "1.2.3.4"


def test_headers_that_cannot_be_taken_over_are_told_before_labels_are_found(
    tmp_path: Path,
) -> None:
    dicoms.series(tmp_path / "ct", change=put(SOPClassUID="1.2.3.4.5.99"))
    volume, series = read_volume(tmp_path / "ct"), only_series(tmp_path / "ct")
    told = "no DICOM segmentation can take over .*SOPClassUID is '1.2.3.4.5.99'"
    with pytest.raises(DataError, match=told) as caught:
        require_writable(series, volume.source, NAMES)
    assert (caught.value.where, caught.value.setting) == (str(tmp_path / "ct/005"), "dicom_seg")

    def turned(ds: Dataset, number: int) -> None:
        ds.ImageOrientationPatient = [1, 1e-3 * number, 0, -1e-3 * number, 1, 0]

    dicoms.series(tmp_path / "mr", change=turned)
    volume, series = read_volume(tmp_path / "mr"), only_series(tmp_path / "mr")
    with pytest.raises(DataError, match="slices that are turned against each other"):
        require_writable(series, volume.source, NAMES)


@pytest.mark.parametrize("declared", ["", "ISO_IR 100", "ISO_IR 192"])
def test_names_in_any_script_come_back(tmp_path: Path, declared: str) -> None:
    patient = "Müller^Jörg"

    def told(ds: Dataset, _: int) -> None:
        if declared:
            ds.SpecificCharacterSet, ds.PatientName = declared, patient
            ds.StudyDescription = "Schädel"

    texts = ["Läsion ß", "脾臓", "селезёнка"]
    names = [LabelName(value, text, (1, 2, 3)) for value, text in enumerate(texts, 1)]
    dicoms.series(tmp_path / "ct", change=told)
    path = made(tmp_path / "ct", names)
    for found in (pydicom.dcmread(path), hd.seg.segread(path)):
        assert found.SpecificCharacterSet == "ISO_IR 192"
        assert [one.SegmentLabel for one in found.SegmentSequence] == texts
        types = [one.SegmentedPropertyTypeCodeSequence[0] for one in found.SegmentSequence]
        assert [one.CodeMeaning for one in types] == texts
        if declared:
            assert (found.PatientName, found.StudyDescription) == (patient, "Schädel")
    assert patient.encode() in path.read_bytes() or not declared
    labels = np.load(tmp_path / "labels.npy")
    volume = read_volume(tmp_path / "ct")
    np.testing.assert_array_equal(by_highdicom(path, names, volume), labels)


def test_names_stay_one_value_and_apart(tmp_path: Path) -> None:
    long, cut = "a" * 70, "a" * 60
    texts = [f"{long}1", f"{long}2", "left\\right", "left/right", "a" * 64, " b", "b", "\t", "\\"]
    wanted = [
        *(f"{cut} (2)", f"{cut} (3)", "left/right (2)", "left/right", "a" * 64),
        *("b (2)", "b", "8", "/"),
    ]
    names = [LabelName(value, text, (1, 2, 3)) for value, text in enumerate(texts, 1)]
    dicoms.series(tmp_path / "ct")
    path = made(tmp_path / "ct", names)
    for found in (pydicom.dcmread(path), hd.seg.segread(path)):
        assert [one.SegmentLabel for one in found.SegmentSequence] == wanted
    assert segment_labels(names[:2]) == ["a" * 64, f"{cut} (2)"]


def test_slices_that_were_resampled_and_other_scans_are_refused(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "ct", [2.0 * k for k in range(14) if k != 5])
    with pytest.raises(DataError, match="slices that had to be resampled to a grid"):
        made(tmp_path / "ct", NAMES)
    series = only_series(tmp_path / "ct")
    volume = read_volume(series)
    nothing = np.zeros(volume.grid.shape, np.uint16)
    with pytest.raises(DataError, match="a scan that is no DICOM series"):
        write_segmentation(tmp_path / "x", nothing, volume.source, tmp_path / "a.nii", NAMES)
    assert not (tmp_path / "x").exists()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_highdicom()
    monkeypatch.setattr(segmentation, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[dicomseg\]'"):
        require_highdicom()


@pytest.mark.data
def test_a_real_ct_comes_back_identical(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "reader" / "dicom"
    series = only_series(folder / "ct_20_slices")
    volume = read_volume(series)
    label = read_label(folder / "ct_20_slices_seg.nii.gz", like=volume)
    names = [LabelName(n, f"organ {n}", (9, 9, 9)) for n in np.unique(label.voxels).tolist() if n]
    write_segmentation(tmp_path / "x.dcm", label.voxels, volume.source, series, names)
    for read in (by_highdicom, by_simpleitk):
        np.testing.assert_array_equal(read(tmp_path / "x.dcm", names, volume), label.voxels)
