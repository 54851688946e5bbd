"""A real CT as DICOM in, a segmentation as DICOM out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_segmentations import by_highdicom, by_simpleitk
from helpers import untrained_run
from mass3d.apps import segment, task
from mass3d.io.dicom.volume import only_series
from mass3d.io.formats.label_table import LabelName
from mass3d.io.read import read_label, read_volume
from mass3d.io.write import write_label

STRUCTURES = {"bone": 2, "block": 300}


def with_identifiers(source: Path, folder: Path) -> Path:
    """A copy of a series, with the identifiers of study and series that anonymising has emptied."""
    folder.mkdir()
    for path in source.iterdir():
        header = pydicom.dcmread(path)
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
        header.save_as(folder / path.name)
    return folder


@pytest.mark.data
@pytest.mark.slow
def test_what_a_task_finds_in_a_real_ct_is_the_same_in_dicom_and_nifti(
    data_dir: Path, tmp_path: Path
) -> None:
    hd = pytest.importorskip("highdicom")
    folder = with_identifiers(data_dir / "reader" / "dicom" / "ct_20_slices", tmp_path / "ct")
    volume = read_volume(only_series(folder))
    label = np.where(volume.voxels > 150, 2, 0).astype(np.uint16)
    middle = tuple(slice(n // 2 - n // 8, n // 2 + n // 8) for n in volume.grid.shape)
    label[middle] = 300
    write_label(tmp_path / "label.nii.gz", label, volume.source)
    asked = {
        "images": [folder],
        "labels": [tmp_path / "label.nii.gz"],
        "model": untrained_run(tmp_path / "run", crop=32, spacing_mm=4.0),
        "output": tmp_path / "made.task",
        "structures": STRUCTURES,
        "colours": {"bone": "#f1d691"},
        "tune": False,
        "device": "cpu",
    }
    made = task.run(task.TaskConfig.model_validate(asked))
    out = tmp_path / "out"
    wanted = {"inputs": [folder], "task": made.path, "output": out, "dicom_seg": True}
    assert segment.run(segment.SegmentConfig.model_validate({**wanted, "device": "cpu"})).ok

    (nifti,), (dicom,) = out.glob("*.nii.gz"), out.glob("*.dcm")
    found = read_label(nifti, like=volume)  # refuses another grid than that of the series
    for value in STRUCTURES.values():
        ours, theirs = found.voxels == value, label == value
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.5
    names = [LabelName(value, name, (0, 0, 0)) for name, value in STRUCTURES.items()]
    for read in (by_highdicom, by_simpleitk):
        np.testing.assert_array_equal(read(dicom, names, volume), found.voxels)

    written = hd.seg.segread(dicom)
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    assert [one.SegmentLabel for one in written.SegmentSequence] == list(STRUCTURES)
    lab = hd.color.CIELabColor.from_rgb(0xF1, 0xD6, 0x91).value  # the colour of bone in 3D Slicer
    assert tuple(written.SegmentSequence[0].RecommendedDisplayCIELabValue) == lab
    assert {written.StudyInstanceUID} == {one.StudyInstanceUID for one in slices}
    assert {written.FrameOfReferenceUID} == {one.FrameOfReferenceUID for one in slices}
    (referenced,) = written.ReferencedSeriesSequence
    assert {referenced.SeriesInstanceUID} == {one.SeriesInstanceUID for one in slices}
    instances = {one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence}
    assert instances == {one.file_meta.MediaStorageSOPInstanceUID for one in slices}
