from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mass3d.io.read import read_label
from mass3d.masks.external import NO_FILES, propose
from mass3d.masks.layers import MaskSet
from mass3d.masks.settings import ExternalConfig
from mass3d.volume.geometry import Grid
from mass3d.volume.volume import Volume

SHAPE = (14, 12, 10)
ALL = {"min_mm3": 0.0, "min_vox": 1, "max_share": 1.0}


def blobs(seed: int = 0, values: int = 6) -> NDArray[np.uint16]:
    """Boxes of several values, some broken up by others."""
    rng = np.random.default_rng(seed)
    label = np.zeros(SHAPE, np.uint16)
    for value in range(1, values + 1):
        low = rng.integers(0, np.array(SHAPE) - 3)
        high = low + rng.integers(2, 6, 3)
        label[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 10 * value
    return label


def run(*labels: NDArray[Any], grid: Grid | None = None, **settings: Any) -> tuple[MaskSet, Any]:
    volumes = [Volume.from_array(label) for label in labels]
    named = [(f"{number}.nii.gz", volume) for number, volume in enumerate(volumes)]
    config = ExternalConfig.model_validate(ALL | settings)
    return propose(named, grid=grid or Volume.from_array(np.zeros(SHAPE)).grid, config=config)


def as_set(masks: MaskSet) -> set[bytes]:
    return {masks.mask(row).tobytes() for row in range(len(masks))}


def test_every_value_of_every_file_is_a_mask() -> None:
    one, two = blobs(0), blobs(1)
    masks, notes = run(one, two)
    wanted = {(label == v).tobytes() for label in (one, two) for v in np.unique(label) if v}
    assert as_set(masks) == wanted
    assert notes == ()


def test_a_flipped_and_permuted_file_is_the_same_mask() -> None:
    label = blobs()
    straight = Volume.from_array(label)
    affine = np.array(straight.source.affine)
    stored = straight.source.from_canonical(label).transpose(2, 0, 1)[:, ::-1]
    flipped = affine[:, [2, 0, 1, 3]].copy()
    flipped[:3, 3] += flipped[:3, 1] * (stored.shape[1] - 1)
    flipped[:3, 1] *= -1
    other = Volume.from_file_order(stored, flipped)
    settings = ExternalConfig.model_validate(ALL)
    ours, _ = propose([("a", other)], grid=straight.grid, config=settings)
    theirs, _ = propose([("a", straight)], grid=straight.grid, config=settings)
    np.testing.assert_array_equal(ours.ranks, theirs.ranks)


def test_parts_become_masks_of_their_own_when_asked() -> None:
    label = np.zeros(SHAPE, np.uint16)
    label[1:3, 1:3, 1:3], label[6:9, 6:9, 6:9] = 4, 4
    assert run(label)[0].table.voxels.tolist() == [8 + 27]
    masks, _ = run(label, split=True)
    assert as_set(masks) == {
        ((label == 4) & (np.arange(14)[:, None, None] < 5)).tobytes(),
        ((label == 4) & (np.arange(14)[:, None, None] > 5)).tobytes(),
    }


@pytest.mark.parametrize(
    ("settings", "kept", "note"),
    [
        ({"min_vox": 9}, [27], "1 external masks left out, too small (0.nii.gz: 1)"),
        ({"min_mm3": 9.0}, [27], "1 external masks left out, too small (0.nii.gz: 1)"),
        ({"max_share": 26 / 1680}, [8], "1 external masks left out, too large (0.nii.gz: 2)"),
    ],
)
def test_a_mask_that_is_too_small_or_too_large_is_left_out_and_told(
    settings: dict[str, Any], kept: list[int], note: str
) -> None:
    label = np.zeros(SHAPE, np.uint16)
    label[1:3, 1:3, 1:3], label[6:9, 6:9, 6:9] = 1, 2
    masks, notes = run(label, **settings)
    assert masks.table.voxels.tolist() == kept
    assert notes == (note,)


def test_masks_outside_the_scan_lost_between_voxels_and_empty_files_are_told() -> None:
    label = np.zeros(SHAPE, np.uint16)
    label[0, 0, 0], label[5:9, 5:9, 5:9], label[13, 11, 9] = 1, 2, 3
    grid = Volume.from_array(label).grid
    coarse = grid.affine @ np.diag([3.0, 3, 3, 1])
    coarse[:3, 3] += 1
    masks, notes = run(label, np.zeros(SHAPE, np.uint16), grid=Grid.make((4, 4, 4), coarse))
    assert len(masks) == 1
    assert notes == (
        "1 external masks left out, empty (1.nii.gz)",
        "1 external masks left out, outside the scan (0.nii.gz: 3)",
        "1 external masks left out, smaller than a voxel of the store (0.nii.gz: 1)",
    )


def test_many_masks_of_one_reason_are_counted_and_the_first_are_named() -> None:
    label = np.zeros(SHAPE, np.uint16)
    label[0, 0, :5] = range(1, 6)
    _, notes = run(label, min_vox=2)
    named = ", ".join(f"0.nii.gz: {value}" for value in (1, 2, 3))
    assert notes == (f"5 external masks left out, too small ({named}, ...)",)


def test_a_case_without_files_has_no_masks_and_says_so() -> None:
    masks, notes = run()
    assert len(masks) == 0
    assert notes == (NO_FILES,)


@pytest.mark.data
def test_real_structures_come_back_voxel_by_voxel_one_file_or_many(data_dir: Path) -> None:
    """61 structures of a CT: as one label map and as a mask each they are the same layer."""
    label = read_label(data_dir / "abdomen_ct" / "seg.nii.gz")
    values = [int(value) for value in np.unique(label.voxels) if value]
    single = [
        (str(value), replace(label, voxels=(label.voxels == value).astype(np.uint8)))
        for value in values
    ]
    settings = ExternalConfig.model_validate(ALL)
    whole, _ = propose([("seg", label)], grid=label.grid, config=settings)
    apart, notes = propose(single, grid=label.grid, config=settings)
    assert notes == ()
    np.testing.assert_array_equal(whole.ranks, apart.ranks)
    assert len(whole.ranks) == 1
    assert as_set(whole) == {(label.voxels == value).tobytes() for value in values}
