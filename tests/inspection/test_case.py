from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from made_facts import values
from mass3d.errors import DataError
from mass3d.inspection.case import (
    BINS,
    HU_RANGE,
    Inspection,
    InspectionJob,
    histogram,
    measure_case,
    orientation,
    sampled,
    split_of,
)
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.layouts import LabelFiles
from mass3d.io.write import write_image, write_label
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.sample import SAMPLED
from mass3d.volume.volume import Volume

EDGES = (2.0, 1.0, 0.5)


def body(seed: int = 0) -> NDArray[np.float32]:
    """Air and a block of tissue that fills a quarter, (12, 16, 20)."""
    image = np.random.default_rng(seed).integers(-1010, -990, (12, 16, 20)).astype(np.float32)
    image[:6, :8] += 1040
    return image


def written(path: Path, image: NDArray[Any], source: SourceGrid | None = None) -> CaseFile:
    write_image(path, image, source or Volume.from_array(image, spacing_mm=EDGES).source)
    return CaseFile("a", path)


def inspect(case: CaseFile, **changes: Any) -> Inspection:
    job = InspectionJob(case=case, file="a.nii.gz", modality="auto", spacing_mm=1.0, names=None)
    return measure_case(replace(job, **changes)).inspection


def test_a_scan_is_described_by_its_grid_and_its_values(tmp_path: Path) -> None:
    image = body()
    image[0, 0, 0], image[-1, -1, -1] = 700, -1024
    facts = inspect(written(tmp_path / "imagesTr" / "a.nii.gz", image)).facts
    assert (facts.file, facts.split) == ("a.nii.gz", "training")
    assert (facts.shape, facts.spacing_mm) == ((12, 16, 20), EDGES)
    assert facts.extent_mm == (24.0, 16.0, 10.0)
    assert (facts.orientation, facts.modality, facts.modality_from) == ("RAS", "ct", "histogram")
    found = facts.intensity
    assert (found.lowest, found.highest, found.whole) == (-1024, 700, True)
    assert found.levels == len(np.unique(image))
    assert found.air_share == 0.75
    ordered = np.sort(image.ravel())
    assert found.percentiles["50"] == ordered[round(0.5 * (len(ordered) - 1))]
    assert list(found.percentiles) == ["1", "5", "25", "50", "75", "95", "99"]
    assert facts.label is None


def test_the_modality_can_be_set(tmp_path: Path) -> None:
    facts = inspect(written(tmp_path / "a_ct.nii.gz", body()), modality="pet").facts
    assert (facts.modality, facts.modality_from) == ("pet", "setting")


def test_one_scan_has_one_hash_whatever_its_format_order_and_name(tmp_path: Path) -> None:
    image = body()
    turned = np.array([[0, 0, 0.5, 3.0], [-1.0, 0, 0, 9.0], [0, 2.0, 0, 1.0], [0, 0, 0, 1]])
    source = SourceGrid.nearest((16, 12, 20), turned)
    plain = written(tmp_path / "a.nii.gz", image)
    other = written(tmp_path / "b.nii", image, source)
    assert inspect(plain).facts.sha256 == inspect(other).facts.sha256
    image[5, 5, 5] += 1
    assert (
        inspect(written(tmp_path / "c.nii.gz", image)).facts.sha256 != inspect(plain).facts.sha256
    )


def test_values_are_told_as_the_shortest_number_that_they_are(tmp_path: Path) -> None:
    found = inspect(
        written(tmp_path / "a_mr.nii.gz", np.where(body() > 0, 0.4, 0.1))
    ).facts.intensity
    assert (found.lowest, found.highest, found.whole, found.levels) == (0.1, 0.4, False, 2)


def test_a_scan_that_cannot_be_read_raises(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.nii\.gz"):
        inspect(CaseFile("a", tmp_path / "a.nii.gz"))


# --- the label ----------------------------------------------------------------------------------


def test_a_label_that_cannot_be_used_is_a_fault_and_its_scan_is_still_described(
    tmp_path: Path,
) -> None:
    case = written(tmp_path / "a.nii.gz", body())
    other = np.ones((12, 16, 19), np.uint8)
    write_label(tmp_path / "l.nii.gz", other, Volume.from_array(other, spacing_mm=EDGES).source)
    found = inspect(replace(case, label=LabelFiles((tmp_path / "l.nii.gz",))))
    assert found.facts.shape == (12, 16, 20)
    assert found.facts.label is None
    (fault,) = found.faults
    assert "12 x 16 x 19 voxels" in fault
    assert "12 x 16 x 20 voxels" in fault


# --- histograms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_histograms_count_like_numpy_with_what_is_beyond_in_the_end_bins(modality: Any) -> None:
    image = np.random.default_rng(0).normal(300, 900, (20, 20, 20)).astype(np.float32)
    found = histogram(image, modality, values(-800, 1200))
    ends = HU_RANGE if modality == "ct" else (-780, 1180)
    assert (found.low, found.high) == ends
    expected, _ = np.histogram(np.clip(image.astype(float), *ends), bins=BINS, range=ends)
    assert sum(found.counts) == image.size
    assert np.abs(np.array(found.counts) - expected).sum() <= 4  # float32 at the edges of bins


def test_a_histogram_of_one_value_is_still_one() -> None:
    image = np.full((4, 4, 4), 7, np.float32)
    found = histogram(image, "mr", values(7, 7))
    assert sum(found.counts) == 64
    assert found.low < found.high


@pytest.mark.parametrize("shape", [(5, 6, 7), (300, 300, 40), (10, 512, 512), (2, 3, 2**20)])
def test_a_sample_is_even_small_and_everything_where_that_is_little(shape: Any) -> None:
    sample = sampled(np.broadcast_to(np.float32(0), shape), "ct")
    found = sample.voxels
    assert found.size <= SAMPLED
    assert found.shape == tuple(-(-n // step) for n, step in zip(shape, sample.steps, strict=True))
    assert found.size > SAMPLED // 5 or found.shape == shape


def test_the_box_of_the_body_leaves_out_the_air_and_specks_in_it() -> None:
    image = np.full((200, 90, 80), -1000, np.float32)
    image[60:100, 30:70, 20:60] = 0
    image[190, 5, 5] = 0
    sample = sampled(image, "ct")
    box, middle = sample.body_box((200, 90, 80))
    for part, step, first, last in zip(box, sample.steps, (60, 30, 20), (100, 70, 60), strict=True):
        assert first - 2 * step <= part.start <= first
        assert last <= part.stop <= last + 2 * step
    assert np.abs(np.subtract(middle, (80, 50, 40))).max() <= max(sample.steps)


# --- names -------------------------------------------------------------------------------------


def test_orientation_names_the_side_each_file_axis_grows_to() -> None:
    for letters, matrix in {
        "RAS": np.diag([1.0, 1, 1]),
        "LPS": np.diag([-1.0, -1, 1]),
        "SRP": np.array([[0, 1.0, 0], [0, 0, -1], [1, 0, 0]]),
    }.items():
        affine = np.eye(4)
        affine[:3, :3] = matrix
        assert orientation(SourceGrid.nearest((3, 4, 5), affine)) == letters


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("/data/imagesTr/a.nii.gz", "training"),
        ("/data/imagesTs/a.nii.gz", "test"),
        ("/train/set/imagesTs/a.nii.gz", "test"),
        ("/data/val/p1/ct/a.dcm", "validation"),
        ("/data/scans/a.nii.gz", None),
    ],
)
def test_the_innermost_telling_folder_says_the_part_of_a_dataset(
    path: str, split: str | None
) -> None:
    assert split_of(Path(path)) == split
