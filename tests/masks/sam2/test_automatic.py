from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mass3d.masks.sam2 import automatic
from mass3d.masks.sam2.automatic import (
    SliceMask,
    automatic_masks,
    believed,
    enlarged,
    mask_boxes,
    stability,
)
from mass3d.masks.sam2.network import Decoded, Network, load
from mass3d.masks.sam2.settings import Sam2Profile
from oracles import sam2 as oracle
from sam2_models import quick

ALL = Sam2Profile(
    unit="raw",
    channels=((0.0, 1.0),) * 3,
    min_predicted_iou=0,
    min_stability=0,
    min_mm2=0,
    min_mm3=0,
)


def network(folder: Path) -> Network:
    return load(folder, device=torch.device("cpu"), identity=str(folder))


def discs() -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """A grey picture with a white disc in the middle and another at the left edge."""
    h, w = np.indices((64, 80))
    masks = [(h - 32) ** 2 + (w - 45) ** 2 < 12**2, (h - 32) ** 2 + (w - 8) ** 2 < 12**2]
    colours = np.full((64, 80, 3), 110, np.uint8)
    colours[masks[0] | masks[1]] = 250
    return colours, masks


def find(folder: Path, *, body: NDArray[np.bool_] | None = None, **others: Any) -> list[SliceMask]:
    colours, _ = discs()
    return automatic_masks(
        network(folder),
        colours,
        body=np.ones(colours.shape[:2], bool) if body is None else body,
        pixel_mm2=1.0,
        profile=others.pop("profile", ALL),
        config=quick(folder, **{"min_in_body": 0.9, **others}),
    )


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return (a & b).sum() / (a | b).sum()


def test_the_discs_are_found_together_and_a_crop_finds_one_alone(bright: Path) -> None:
    """The model finds all that is bright; crops of the right half see one disc only."""
    shape, (middle, left) = (64, 80), discs()[1]
    whole = [mask.whole(shape) for mask in find(bright)]
    assert max(iou(mask, middle | left) for mask in whole) > 0.8
    assert max(iou(mask, middle) for mask in whole) < 0.7
    cropped = find(bright, crop_layers=1, max_box_iou=0.9)
    assert max(iou(mask.whole(shape), middle) for mask in cropped) > 0.85
    assert {mask.crop_px for mask in cropped} > {64 * 80}


def test_masks_that_a_crop_cuts_off_are_left_out(
    bright: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every crop of layer 2 is smaller than the disc in the middle, and sees a piece of it."""
    middle = discs()[1][0]

    def pieces() -> int:
        found = find(bright, crop_layers=2, crop_overlap=0.1, max_box_iou=1.0)
        whole = [mask.whole((64, 80)) for mask in found]
        return sum(0 < (mask & middle).sum() < 0.5 * middle.sum() for mask in whole)

    assert pieces() == 0
    monkeypatch.setattr(automatic, "cut_off", lambda boxes, *_, **__: np.zeros(len(boxes), bool))
    assert pieces() > 0


def test_masks_outside_the_body_are_dropped(bright: Path) -> None:
    body = np.zeros((64, 80), bool)
    body[:, 24:] = True
    found = find(bright, body=body, crop_layers=1)
    assert found
    for mask in found:
        assert body[mask.whole(body.shape)].mean() >= 0.9
    assert find(bright, body=np.zeros((64, 80), bool)) == []


def test_the_best_masks_come_first_and_stay_where_there_are_too_many(random: Path) -> None:
    every: dict[str, Any] = {
        "points_per_side": 3,
        "crop_layers": 1,
        "max_box_iou": 1.0,
        "min_in_body": 0.0,
    }
    found = find(random, **every)
    scores = [mask.score for mask in found]
    assert len(scores) > 3
    assert scores == sorted(scores, reverse=True)
    few = find(random, **every, max_masks_per_slice=3)
    assert [(m.box, m.score) for m in few] == [(m.box, m.score) for m in found[:3]]


def test_what_the_model_does_not_believe_in_is_left_out(random: Path) -> None:
    every: dict[str, Any] = {"points_per_side": 4, "max_box_iou": 1.0}
    found = find(random, **every)
    limit = sorted(mask.score for mask in found)[len(found) // 2]
    profile = ALL.model_copy(update={"min_predicted_iou": limit})
    fewer = find(random, **every, profile=profile)
    assert [m.score for m in fewer] == [m.score for m in found if m.score >= limit]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_size_of_a_batch_of_prompts_does_not_matter(batch: int, random: Path) -> None:
    every: dict[str, Any] = {"points_per_side": 4, "max_box_iou": 0.9}
    expected = find(random, **every)
    found = find(random, **every, points_per_batch=batch)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)
        assert iou(ours.whole((64, 80)), theirs.whole((64, 80))) > 0.99


def test_small_islands_go_and_a_mask_that_then_says_the_same_as_another_goes_too(
    random: Path,
) -> None:
    every: dict[str, Any] = {"points_per_side": 4, "max_box_iou": 0.8}
    profile = ALL.model_copy(update={"min_mm2": 60.0})
    for mask in find(random, **every, profile=profile):
        islands = oracle.parts(mask.whole((64, 80)), corners=True)
        assert len(islands) == 1 or min(map(len, islands)) >= 60
        assert min(map(len, oracle.parts(~mask.whole((64, 80)), corners=True))) >= 60


@given(st.integers(0, 1000))
def test_stability_is_that_of_counted_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(rng.normal(0, 2), 2, (5, 4, 6)).astype(np.float32)
    logits[0] = -5  # an empty mask
    found = stability(torch.from_numpy(logits))
    np.testing.assert_allclose(found, [oracle.stability(one) for one in logits], rtol=1e-6)


def test_only_good_stable_present_masks_are_believed() -> None:
    logits = torch.full((2, 2, 4, 4), -9.0)
    logits[0, :, :2] = 9  # stable
    logits[1, 0, :2] = 0.5  # unstable
    quality = torch.tensor([[0.9, 0.3], [0.9, 0.9]])
    profile = ALL.model_copy(update={"min_predicted_iou": 0.5, "min_stability": 0.5})
    masks, scores = believed(Decoded(logits, quality), profile, (8, 12))
    assert masks.shape == (1, 8, 12)
    assert scores.tolist() == pytest.approx([0.9])
    np.testing.assert_array_equal(masks[0, :4], True)
    np.testing.assert_array_equal(masks[0, 4:], False)
    masks, _ = believed(Decoded(logits, 0 * quality), profile, (8, 12))
    assert masks.shape == (0, 8, 12)


@given(st.integers(0, 1000))
def test_boxes_are_those_of_the_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((5, 7, 9)) < 0.1
    masks[:, 3, 4] = True
    for box, mask in zip(mask_boxes(masks), masks, strict=True):
        rows, columns = np.nonzero(mask)
        expected = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
        assert tuple(box) == expected


def test_a_mask_is_enlarged_about_its_own_middle() -> None:
    logits = torch.full((1, 8, 8), -1.0)
    logits[0, 2:6, 2:6] = 1
    large = enlarged(logits, (64, 64))[0]
    assert large.equal(large.flip(0))
    assert large.equal(large.flip(1))
    assert large[:, 32].sum() == 32
