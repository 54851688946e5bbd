from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mass3d.phantom import STRUCTURES, TEST, PhantomScan, draw_phantom, write_phantom_cohort
from mass3d.volume.geometry import SourceGrid


@pytest.fixture(scope="module")
def scans() -> list[PhantomScan]:
    return [draw_phantom(seed=0, index=index) for index in range(8)]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*.gz"))}


def test_a_cohort_has_the_raw_layout_of_nnunet(tmp_path: Path) -> None:
    folder = write_phantom_cohort(tmp_path / "raw", cases=2, test_cases=1, seed=3)
    assert [f.name for f in sorted((folder / "imagesTr").iterdir())] == [
        "ct_000_0000.nii.gz",
        "mr_001_0000.nii.gz",
    ]
    assert [f.name for f in sorted((folder / "labelsTr").iterdir())] == [
        "ct_000.nii.gz",
        "mr_001.nii.gz",
    ]
    assert (folder / "imagesTs/ct_test_000_0000.nii.gz").exists()
    assert (folder / "labelsTs/ct_test_000.nii.gz").exists()
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, **STRUCTURES}


def test_the_same_seed_gives_the_same_bytes_and_more_cases_change_no_earlier_one(
    tmp_path: Path,
) -> None:
    few = bytes_of(write_phantom_cohort(tmp_path / "few", cases=2, test_cases=1, seed=5))
    many = bytes_of(write_phantom_cohort(tmp_path / "many", cases=3, test_cases=2, seed=5))
    assert len(few) == 6
    assert all(many[name] == content for name, content in few.items())


def test_training_and_test_scans_of_one_index_differ() -> None:
    train, test = draw_phantom(seed=0, index=0), draw_phantom(seed=0, index=0, split=TEST)
    assert train.image.shape != test.image.shape or (train.image != test.image).any()


def test_every_scan_shows_every_structure_at_a_plausible_size(scans: list[PhantomScan]) -> None:
    smallest_ml = {"liver": 120, "kidneys": 20, "aorta": 10, "gallbladder": 2}
    for scan in scans:
        voxel_ml = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
        for name, value in STRUCTURES.items():
            assert (scan.label == value).sum() * voxel_ml > smallest_ml[name], (scan.case_id, name)


def test_the_anatomy_is_consistent_in_the_world_but_not_identical(
    scans: list[PhantomScan],
) -> None:
    centres = []
    for scan in scans:
        index = np.argwhere(scan.label == STRUCTURES["liver"]).mean(axis=0)
        centres.append((scan.affine @ np.append(index, 1))[:3])
    centre, spread = np.mean(centres, axis=0), np.std(centres, axis=0)
    assert centre[0] > 15  # the liver lies on the right
    assert (spread < 20).all()
    assert (spread > 1).any()


def test_the_grids_vary_in_spacing_axis_order_flips_and_obliqueness(
    scans: list[PhantomScan],
) -> None:
    spacings = [np.linalg.norm(scan.affine[:3, :3], axis=0) for scan in scans]
    sources = [SourceGrid.nearest(scan.image.shape, scan.affine) for scan in scans]
    oblique = [(np.abs(scan.affine[:3, :3]) > 1e-9).sum() > 3 for scan in scans]
    assert len({round(float(s.min()), 2) for s in spacings}) > 4
    assert {bool(np.ptp(s) > 0.1) for s in spacings} == {True, False}
    assert len({s.permutation for s in sources}) > 1
    assert len({s.flips for s in sources}) > 2
    assert set(oblique) == {True, False}
    for scan in scans:
        assert all(34 <= n <= 80 for n in scan.image.shape)


def test_ct_is_in_hounsfield_units_and_mr_intensities_of_structures_overlap(
    scans: list[PhantomScan],
) -> None:
    for scan in scans:
        liver = scan.image[scan.label == STRUCTURES["liver"]]
        if scan.case_id.startswith("ct"):
            assert scan.image.min() < -900
            assert 60 < np.median(liver) < 160
        else:
            kidney = scan.image[scan.label == STRUCTURES["kidneys"]]
            low, high = np.percentile(kidney, (5, 95))
            assert ((liver > low) & (liver < high)).mean() > 0.3


def test_the_written_file_keeps_the_affine_in_both_forms(tmp_path: Path) -> None:
    folder = write_phantom_cohort(tmp_path, cases=1, test_cases=0, seed=0)
    scan = draw_phantom(seed=0, index=0)
    image = nib.load(folder / "imagesTr/ct_000_0000.nii.gz")
    np.testing.assert_allclose(image.header.get_sform(), scan.affine, atol=1e-4)
    np.testing.assert_allclose(image.header.get_qform(), scan.affine, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(image.dataobj), scan.image)
