"""An alignment finds what was done to a made-up head, and real labels are carried better by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from heads import SHAPE, bent, head
from mass3d.alignment.alignment import Alignment, align, carry, places
from mass3d.alignment.features import scan_features
from mass3d.alignment.geometry import apply_affine, cell_centres, sampled
from mass3d.io.datasets.cohort import find_cases, find_label
from mass3d.io.read import read_label, read_volume
from mass3d.volume.box import whole_box
from mass3d.volume.preparation import PreparationConfig, prepare_label, prepare_volume

IDENTITY = torch.cat([torch.eye(3), torch.zeros(3, 1)], 1)


def error_vox(alignment: Alignment, truth: Tensor, image: Tensor) -> float:
    """Median distance from the true places (D, H, W, 3) over the query's body."""
    found = places(alignment, whole_box(alignment.shape))
    return float((found - truth).norm(dim=-1)[image > 5].median())


def test_a_scan_lies_on_itself() -> None:
    scan = scan_features(head())
    found = align(scan, scan)
    assert error_vox(found, cell_centres(SHAPE, 1, (0, 0, 0)), head()) < 0.02
    assert found.similarity > 0.99


@pytest.mark.parametrize("shift", [(0, 0, 9), (-7, 5, 2), (12, -12, -11)])
def test_a_shift_is_found(shift: tuple[int, int, int]) -> None:
    image = head()
    moved = image.roll(shift, (0, 1, 2))
    truth = cell_centres(SHAPE, 1, (0, 0, 0)) - torch.tensor(shift)
    found = align(scan_features(image), scan_features(moved), affine_only=True)
    inside = F.pad(moved[4:-4, 4:-4, 4:-4], (4,) * 6)  # what was rolled around lies at the edges
    assert error_vox(found, truth, inside) < 0.15


def test_an_affine_map_is_found() -> None:
    image = head()
    affine = IDENTITY.clone()
    affine[:, :3] += torch.tensor([[0.1, 0.08, 0.0], [-0.08, -0.05, 0.05], [0.0, -0.05, 0.07]])
    middle = (torch.tensor(SHAPE) - 1) / 2
    affine[:, 3] = middle - affine[:, :3] @ middle + torch.tensor([3.0, -2.0, 1.0])
    truth = apply_affine(affine, cell_centres(SHAPE, 1, (0, 0, 0)))
    query = sampled(image[None], truth, 1, (0, 0, 0))[0]
    found = align(scan_features(image), scan_features(query), affine_only=True)
    assert error_vox(found, truth, query) < 0.3


def test_a_smooth_warp_is_found_better_than_by_an_affine_map() -> None:
    image, truth = head(), bent(2.0)
    query = sampled(image[None], truth, 1, (0, 0, 0))[0]
    reference, other = scan_features(image), scan_features(query)
    rough = error_vox(align(reference, other, affine_only=True), truth, query)
    found = error_vox(align(reference, other), truth, query)
    assert rough > 0.9
    assert found < 0.5


def test_another_scale_of_intensities_hardly_matters() -> None:
    image, truth = head(), bent(2.0)
    query = sampled(image[None], truth, 1, (0, 0, 0))[0]
    query = 1000 + 30 * query.clamp_min(0) ** 2
    found = align(scan_features(image), scan_features(query))
    assert error_vox(found, truth, image) < 0.5


def test_a_scan_that_is_cut_elsewhere_is_found_where_it_was() -> None:
    image = head()
    box = (slice(0, 40), slice(10, 64), slice(6, 50))
    query = image[box]
    truth = cell_centres(query.shape, 1, (0, 10, 6))
    found = align(scan_features(image), scan_features(query))
    assert error_vox(found, truth, query) < 0.3
    assert carry(found, torch.ones(2, *SHAPE)).shape == (2, *query.shape)


def test_masks_are_carried_as_the_scan_was_bent() -> None:
    image, truth = head(), bent(2.0)
    query = sampled(image[None], truth, 1, (0, 0, 0))[0]
    masks = torch.stack([image > 10, image > 11.5]).float()
    wanted = sampled(masks, truth, 1, (0, 0, 0)) > 0.5
    found = carry(align(scan_features(image), scan_features(query)), masks) > 0.5
    overlap = 2 * (found & wanted).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + wanted.sum((1, 2, 3)))
    assert overlap.min() > 0.85


def test_another_head_is_less_similar_than_the_same_one() -> None:
    image = head()
    reference = scan_features(image)
    query = sampled(image[None], bent(2.0), 1, (0, 0, 0))[0]
    right = align(reference, scan_features(query)).similarity
    wrong = align(reference, scan_features(head(seed=1))).similarity
    assert right > 0.85
    assert wrong < right - 0.15


def test_the_same_scans_give_the_same_bytes() -> None:
    first, second = (align(scan_features(head()), scan_features(head(1))) for _ in range(2))
    assert first.affine.equal(second.affine)
    assert first.field
    assert second.field
    assert first.field.cells.equal(second.field.cells)
    assert first.similarity == second.similarity


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (2, 40, 40), (9, 7, 8), (5, 64, 3)])
def test_scans_of_any_size_are_aligned(shape: tuple[int, int, int]) -> None:
    small = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for reference, query in ((small, head()), (head(), small), (small, small)):
        found = align(scan_features(reference), scan_features(query))
        carried = carry(found, torch.ones(1, *reference.shape))
        assert carried.shape[1:] == query.shape
        assert carried.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 7.0, float("nan")])
def test_a_scan_without_contrast_is_like_nothing(value: float) -> None:
    flat = torch.full((20, 24, 22), value)
    found = align(scan_features(head()), scan_features(flat))
    assert abs(found.similarity) < 0.05
    assert carry(found, torch.ones(1, *SHAPE)).isfinite().all()


@pytest.mark.data
def test_labels_of_real_scans_are_carried_better_than_copied(data_dir: Path) -> None:
    folder = data_dir / "hippocampus"
    scans: list[tuple[Tensor, Tensor]] = []
    for case in find_cases([folder / "imagesTr"])[:4]:
        volume = read_volume(case.scan)
        prepared = prepare_volume(volume, PreparationConfig(spacing_mm=1.0))
        path = find_label(folder / "labelsTr", case.case_id)
        assert path
        shown = prepare_label(read_label(path, like=volume), prepared.grid)
        scans.append((torch.from_numpy(prepared.image), torch.from_numpy(shown > 0)))
    (image, label), *queries = scans
    reference = scan_features(image)
    copied: list[float] = []
    affine: list[float] = []
    deformable: list[float] = []
    for query, truth in queries:
        other = scan_features(query)
        shift = (torch.tensor(image.shape) - torch.tensor(query.shape)) / 2
        middles = cell_centres(query.shape, 1, (0, 0, 0)) + shift
        copied.append(dice(sampled(label[None].float(), middles, 1, (0, 0, 0))[0], truth))
        for scores, plain in ((affine, True), (deformable, False)):
            found = align(reference, other, affine_only=plain)
            scores.append(dice(carry(found, label[None])[0], truth))
    assert np.mean(affine) > np.mean(copied) + 0.05
    assert np.mean(deformable) > np.mean(affine) + 0.02
    assert np.mean(deformable) > 0.8


def dice(probability: Tensor, truth: Tensor) -> float:
    """Overlap of what has at least one half with a mask (D, H, W)."""
    found = probability > 0.5
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))
