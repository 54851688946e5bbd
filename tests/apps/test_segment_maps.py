"""Maps that `segment` writes on request: probabilities of structures, agreement of references."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

import dicoms
from dicom_segmentations import by_highdicom, by_simpleitk
from helpers import TUNING, task_config
from mass3d.apps import evaluate, segment, task
from mass3d.errors import ConfigError
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.formats.label_table import LabelName
from mass3d.io.read import read_label, read_volume
from mass3d.transfer.results import read_results

NAMES = ("ct_000", "mr_001")


@pytest.fixture(scope="module")
def tasks(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A task of one and one of two references."""
    outputs = [tmp_path_factory.mktemp("tasks") / "x.task" for _ in NAMES]
    return [
        task.run(task_config(cohort, trained, output, *NAMES[:count])).path
        for count, output in enumerate(outputs, start=1)
    ]


def run(cohort: Path, task_file: Path, output: Path, **changes: object) -> segment.SegmentReport:
    values = {"inputs": [cohort / "imagesTs"], "task": task_file, "output": output, "device": "cpu"}
    return segment.run(segment.SegmentConfig.model_validate(values | changes))


@pytest.mark.parametrize("alignment", [True, False])
def test_maps_lie_on_the_grid_of_the_scan_and_fit_its_label_map(
    cohort: Path, tasks: list[Path], tmp_path: Path, *, alignment: bool
) -> None:
    plain, out = tmp_path / "plain", tmp_path / "out"
    run(cohort, tasks[1], plain, alignment=alignment)
    report = run(cohort, tasks[1], out, alignment=alignment, probabilities=True, agreement=True)
    assert report.ok
    structures = read_results(out).cases
    for case in report.volumes_ml:
        file = f"{case}.nii.gz"
        assert (out / file).read_bytes() == (plain / file).read_bytes()
        label = read_label(out / file)
        shares = {
            name: read_volume_or_zeros(out / "probabilities" / case / f"{name}.nii.gz")
            for name in report.volumes_ml[case]
        }
        assert {share.shape for share in shares.values()} == {label.voxels.shape}
        values = dict(zip(report.volumes_ml[case], range(1, 5), strict=True))
        highest = np.stack([*shares.values()]).argmax(0) + 1
        found = label.voxels > 0
        # rounding to steps may change which of two is the higher one
        assert (highest[found] == label.voxels[found]).mean() > 0.99
        for name, share in shares.items():
            least = 0.5 if not alignment else 0.0
            assert share[label.voxels == values[name]].min(initial=1) >= least
        agreed = load(out / "agreement" / file)
        assert set(np.unique(agreed).round(4)) <= {0.0, 0.5, 1.0}
        assert len(structures[case].maps) == 5
    assert not list(out.glob(".maps"))


def read_volume_or_zeros(path: Path) -> np.ndarray:
    """Numbers of a map; one of a structure that was not found is refused as a scan."""
    label = read_label(path) if not np.any(np.asanyarray(load(path))) else None
    return label.voxels if label is not None else read_volume(path).voxels


def load(path: Path) -> np.ndarray:
    import nibabel as nib  # noqa: PLC0415

    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    return np.asanyarray(image.dataobj)


def test_maps_are_part_of_what_is_kept(cohort: Path, tasks: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(cohort, tasks[0], out, probabilities=True)
    files = sorted(path for path in out.rglob("*.nii.gz"))
    times = {path: path.stat().st_mtime_ns for path in files}
    whole = files[-1].read_bytes()
    run(cohort, tasks[0], out, probabilities=True)
    assert {path: path.stat().st_mtime_ns for path in files} == times
    files[-1].write_bytes(b"damaged")
    run(cohort, tasks[0], out, probabilities=True)
    assert files[-1].read_bytes() == whole
    files[-1].unlink()
    run(cohort, tasks[0], out, probabilities=True)
    assert files[-1].read_bytes() == whole
    with pytest.raises(ConfigError, match="results with probabilities = True"):
        run(cohort, tasks[0], out)


def test_maps_are_neither_predictions_nor_scans(
    cohort: Path, tasks: list[Path], tmp_path: Path
) -> None:
    report = run(cohort, tasks[0], tmp_path / "in" / "out", probabilities=True)
    scores = evaluate.run(
        evaluate.EvaluateConfig(
            predictions=tmp_path / "in" / "out",
            labels=cohort / "labelsTs",
            output=tmp_path / "scores",
        )
    )
    assert scores.ok
    assert list(scores.dice) == list(report.volumes_ml)
    scan = next((cohort / "imagesTs").iterdir())
    (tmp_path / "in" / "scan.nii.gz").write_bytes(scan.read_bytes())
    assert [case.case_id for case in find_cohort([tmp_path / "in"]).cases] == ["scan"]


def test_agreement_takes_several_references(
    cohort: Path, tasks: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="a map of agreement of 1 reference;"):
        run(cohort, tasks[0], tmp_path / "out", agreement=True)
    assert not (tmp_path / "out").exists()


def test_a_prior_has_probabilities_and_no_agreement(
    cohort: Path, tasks: list[Path], tmp_path: Path
) -> None:
    prior = tmp_path / "prior"
    run(cohort, tasks[1], prior)
    out = tmp_path / "out"
    report = run(cohort, tasks[1], out, prior=prior, probabilities=True, agreement=True)
    assert report.ok
    assert (out / "probabilities").is_dir()
    assert not (out / "agreement").exists()


def test_a_series_gets_a_dicom_segmentation_and_another_scan_a_fault(
    cohort: Path, tasks: list[Path], tmp_path: Path
) -> None:
    hd = pytest.importorskip("highdicom")

    def grey(ds: Dataset, _: int) -> None:
        ds.PixelSpacing = [5, 5]

    scan = next((cohort / "imagesTs").iterdir())
    dicoms.series(tmp_path / "in" / "p1", [5.0 * k for k in range(6)], change=grey)
    (tmp_path / "in" / "scan.nii.gz").write_bytes(scan.read_bytes())
    wanted = {"inputs": [tmp_path / "in"], "dicom_seg": True}
    report = run(cohort, tasks[0], tmp_path / "out", **wanted)
    assert [fault.where for fault in report.faults] == ["scan"]
    assert "a scan that is no DICOM series" in report.faults[0].message
    found = hd.seg.segread(tmp_path / "out" / "p1.dcm")
    assert [one.SegmentLabel for one in found.SegmentSequence] == list(report.volumes_ml["p1"])
    values = range(1, 1 + len(report.volumes_ml["p1"]))
    assert_the_same(tmp_path / "out" / "p1", tmp_path / "in" / "p1", values)
    whole = (tmp_path / "out" / "p1.dcm").read_bytes()
    (tmp_path / "out" / "p1.dcm").unlink()
    run(cohort, tasks[0], tmp_path / "out", **wanted)
    assert (tmp_path / "out" / "p1.dcm").read_bytes() == whole


def assert_the_same(output: Path, series: Path, values: Iterable[int]) -> None:
    """The DICOM segmentation holds the voxels of the label map, by two readers."""
    scan, label = read_volume(series), read_label(output.with_suffix(".nii.gz"))
    assert label.voxels.any()
    named = [LabelName(value, str(value), (9, 9, 9)) for value in values]
    for read in (by_highdicom, by_simpleitk):
        voxels = read(output.with_suffix(".dcm"), named, scan)
        np.testing.assert_array_equal(voxels, label.voxels)


@pytest.mark.data
def test_a_real_series_is_segmented_into_a_dicom_segmentation_of_the_same_voxels(
    data_dir: Path, trained: Path, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    real = data_dir / "reader" / "dicom"
    values = {
        "images": [real / "ct_20_slices"],
        "labels": [real / "ct_20_slices_seg.nii.gz"],
        "structures": {"one": 1, "two": 5, "three": 6},
        "model": trained,
        "output": tmp_path / "x.task",
        "tuning": TUNING,
        "device": "cpu",
    }
    made = task.run(task.TaskConfig.model_validate(values)).path
    wanted = {"inputs": [real / "ct_20_slices"], "task": made, "output": tmp_path / "out"}
    values = {**wanted, "dicom_seg": True, "device": "cpu"}
    report = segment.run(segment.SegmentConfig.model_validate(values))
    assert report.ok
    (case,) = report.volumes_ml
    assert_the_same(tmp_path / "out" / case, real / "ct_20_slices", (1, 5, 6))


def test_a_series_of_which_no_segmentation_can_be_made_is_told_before_the_work(
    cohort: Path, tasks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom")

    def unknown(ds: Dataset, _: int) -> None:
        ds.PixelSpacing, ds.SOPClassUID = [5, 5], "1.2.3.4.5.99"

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the network has run")

    dicoms.series(tmp_path / "in" / "p1", [5.0 * k for k in range(6)], change=unknown)
    monkeypatch.setattr("mass3d.apps.segment.scratch_maps", never)
    report = run(cohort, tasks[0], tmp_path / "out", inputs=[tmp_path / "in"], dicom_seg=True)
    (fault,) = report.faults
    assert "SOPClassUID is '1.2.3.4.5.99'" in fault.message


# --- some references ---------------------------------------------------------------------------


def test_the_nearest_references_are_told(cohort: Path, tasks: list[Path], tmp_path: Path) -> None:
    report = run(cohort, tasks[1], tmp_path / "out", references=1)
    cases = read_results(tmp_path / "out").cases
    told = {name: entry.references for name, entry in cases.items()}
    assert told == {"ct_test_000": ("ct_000",), "mr_test_001": ("mr_001",)}
    assert all(len(entry.similarity) <= 1 for entry in cases.values())
    assert report.ok
    page = (tmp_path / "out" / "segment.html").read_text()
    assert "nearest: ct_000" in page
    with pytest.raises(ConfigError, match="references"):
        run(cohort, tasks[1], tmp_path / "out")  # results of other settings
    every, two = tmp_path / "every", tmp_path / "two"
    run(cohort, tasks[1], every)
    run(cohort, tasks[1], two, references=2)
    for case, entry in read_results(every).cases.items():
        assert entry.references == ()
        assert read_results(two).cases[case] == entry
