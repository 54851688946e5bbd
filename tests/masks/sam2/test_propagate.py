from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mass3d.masks.packing import CutMask
from mass3d.masks.sam2 import propagate as module
from mass3d.masks.sam2.automatic import SliceMask, as_array, enlarged, mask_boxes
from mass3d.masks.sam2.network import Network, load
from mass3d.masks.sam2.propagate import Film, Track, follow
from mass3d.masks.sam2.slices import Slices
from oracles import sam2 as oracle
from sam2_models import MEAN, STD

SOFT = ((-115.0, 235.0), (-1350.0, 150.0), (-450.0, 750.0))


def network(folder: Path) -> Network:
    return load(folder, device=torch.device("cpu"), identity=str(folder))


def film_of(image: NDArray[np.float32]) -> Slices:
    return Slices(image, np.ones(image.shape, bool), MEAN, STD, SOFT)


def noting(seen: list[int]) -> Callable[[Film, int], object]:
    """What a film gives, with a note of the slice."""
    get = Film.__getitem__

    def noted(film: Film, index: int) -> object:
        seen.append(index)
        return get(film, index)

    return noted


def moving(length: int, shape: tuple[int, int] = (24, 28)) -> Slices:
    """Slices of noise, no two alike."""
    image = np.random.default_rng(length).normal(0, 1, (length, *shape)).astype(np.float32)
    return film_of(image)


def square(seed: int, at: int = 6, side: int = 8, score: float = 0.5) -> CutMask:
    box = at, at + side, at, at + side
    return SliceMask(box, np.ones((side, side), bool), score, 1).on(seed)


def on_slice(mask: NDArray[np.bool_], seed: int) -> CutMask:
    """What a volume's mask is on one slice."""
    top, bottom, left, right = (int(edge) for edge in mask_boxes(mask[seed : seed + 1])[0])
    cut = mask[seed, top:bottom, left:right]
    return SliceMask((top, bottom, left, right), cut, 0.5, 1).on(seed)


def whole(cut: CutMask, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[cut.box] = cut.mask
    return mask


def plain(net: Network, slices: Slices, mask: CutMask, *, reverse: bool) -> dict[int, torch.Tensor]:
    """Logits of every slice from the library's own loop over the whole video, nothing dropped."""
    seed = mask.box[0].start
    video = torch.stack([net.pixels(slices.colours(i)) for i in range(len(slices))])
    session = net.session_type(video=video, dtype=torch.float32)
    session.obj_id_to_idx(7)
    prompt = module._as_prompt(whole(mask, (len(slices), *slices.shape))[seed], net)
    session.add_mask_inputs(0, seed, prompt)
    session.obj_with_new_inputs = [7]
    steps = net.model.propagate_in_video_iterator(session, seed, reverse=reverse)
    return {found.frame_idx: found.pred_masks[0].clone() for found in steps}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[int, torch.Tensor]:
    """Logits of every slice that a mask is followed to, filled as that goes on."""
    found: dict[int, torch.Tensor] = {}
    step = Track.step

    def noted(track: Track, net: Network, index: int, direction: int) -> torch.Tensor:
        found[index] = step(track, net, index, direction)
        return found[index]

    monkeypatch.setattr(Track, "step", noted)
    return found


@pytest.mark.parametrize("kind", ["random", "edgetam"])
def test_dropping_what_is_no_longer_asked_for_changes_nothing(
    kind: str, request: pytest.FixtureRequest, steps: dict[int, torch.Tensor]
) -> None:
    """Both ways, and longer than the model's memory of slices (7) and of pointers (16)."""
    net, slices, mask = network(request.getfixturevalue(kind)), moving(24), square(3)
    list(follow(net, slices, [mask]))
    assert sorted(steps) == [i for i in range(24) if i != 3]
    for reverse in (False, True):
        for index, logits in plain(net, slices, mask, reverse=reverse).items():
            assert index == 3 or torch.equal(logits, steps[index])


@pytest.mark.parametrize("seed", [8, 13])
def test_stopping_where_a_mask_is_empty_loses_nothing(
    seed: int,
    bright: Path,
    scan: NDArray[np.float32],
    balls: tuple[NDArray[np.bool_], ...],
) -> None:
    """Nothing but the other ball comes later, and that does not touch the seed."""
    net, slices, mask = network(bright), film_of(scan), on_slice(balls[0], seed)
    volume = np.zeros(scan.shape, bool)
    for reverse in (False, True):
        for index, logits in plain(net, slices, mask, reverse=reverse).items():
            volume[index] = as_array(enlarged(logits, slices.shape))[0]
    volume[seed] = whole(mask, scan.shape)[seed]
    assert volume[24].any()
    parts = [
        part for part in oracle.parts(volume, corners=False) if any(v[0] == seed for v in part)
    ]
    (found,) = follow(net, slices, [mask])
    expected = oracle.drawn(max(parts, key=len), scan.shape)
    np.testing.assert_array_equal(whole(found, scan.shape), expected)


def test_what_is_remembered_does_not_grow_with_the_number_of_slices(
    random: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    step = Track.step

    def counted(track: Track, *given: Any) -> torch.Tensor:
        logits = step(track, *given)
        held.append(sum(t.untyped_storage().nbytes() for t in tensors(vars(track.session))))
        return logits

    monkeypatch.setattr(Track, "step", counted)
    list(follow(network(random), moving(50), [square(0)]))
    assert len(held) == 49
    assert len(set(held[16:])) == 1  # once the memory is full


def tensors(value: object) -> Iterator[torch.Tensor]:
    """All tensors that are held by a session, but for the film."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors(inner)


def test_a_mask_does_not_depend_on_those_followed_beside_it(random: Path) -> None:
    net, slices = network(random), moving(12)
    masks = [square(5, at, side) for at, side in ((2, 9), (8, 6), (11, 10))]
    together = list(follow(net, slices, masks))
    for mask, found in zip(masks, together, strict=True):
        (alone,) = follow(net, slices, [mask])
        assert alone.box == found.box
        np.testing.assert_array_equal(alone.mask, found.mask)


@pytest.mark.parametrize("seed", [20, 29])
def test_an_object_is_found_on_both_sides_of_its_own_seed(
    seed: int,
    bright: Path,
    scan: NDArray[np.float32],
    balls: tuple[NDArray[np.bool_], ...],
) -> None:
    (found,) = follow(network(bright), film_of(scan), [on_slice(balls[1], seed)])
    mask = whole(found, scan.shape)
    assert 2 * (mask & balls[1]).sum() / (mask.sum() + balls[1].sum()) > 0.85
    assert not (mask & balls[0]).any()


def test_slices_behind_the_end_of_an_object_are_not_looked_at(
    bright: Path,
    scan: NDArray[np.float32],
    balls: tuple[NDArray[np.bool_], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Film, "__getitem__", noting(seen))
    dark = np.where(balls[0], scan, np.float32(-1.0))
    (found,) = follow(network(bright), film_of(dark), [on_slice(balls[0], 11)])
    assert min(seen) == found.box[0].start - 1
    assert max(seen) == found.box[0].stop
    assert len(seen) == len(set(seen))  # nor any twice


def test_features_of_a_slice_are_computed_once_for_all_masks(
    random: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Film, "__getitem__", noting(seen))
    list(follow(network(random), moving(9), [square(4, at) for at in (3, 6, 9)]))
    assert sorted(seen) == sorted(set(seen))


def test_the_seed_itself_stays_as_it_was_found(random: Path) -> None:
    (found,) = follow(network(random), moving(5), [square(2, score=0.25)])
    mask = whole(found, (5, 24, 28))
    np.testing.assert_array_equal(mask[2], whole(square(2), mask.shape)[2])
    assert found.score == 0.25


def test_a_scan_of_one_slice_gives_its_masks(random: Path) -> None:
    (found,) = follow(network(random), moving(1), [square(0)])
    assert found.voxels == 64


def test_a_mask_thinner_than_the_models_pixels_stays_a_prompt(random: Path) -> None:
    """One row of a slice of twelve times the model's height would be averaged away."""
    net = network(random)
    mask = np.zeros((12 * net.size, 4), bool)
    mask[700] = True
    assert module._as_prompt(mask, net).sum() > 0
