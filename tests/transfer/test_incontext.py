"""In-context inference against one window and one reference after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mass3d.model.build import build_network
from mass3d.model.iris import IrisNet
from mass3d.model.presets import PRESETS, IrisPreset, PresetName
from mass3d.model.protocol import NetworkModule
from mass3d.model.released import renamed
from mass3d.transfer.incontext import (
    covering_windows,
    encode_reference,
    predict,
    windows_of,
)
from mass3d.transfer.sliding import blend_weight, windows
from mass3d.transfer.task_file import Reference, Task
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.box import box_at
from mass3d.volume.intensity import Intensity
from mass3d.volume.preparation import PreparationConfig, Prepared
from mass3d.volume.volume import Volume
from oracles.iris import made_inputs, made_state, released_shapes

WINDOW = (16, 16, 16)
SHAPE = (20, 34, 27)
CPU = torch.device("cpu")


def model(preset: PresetName) -> TrainedModel:
    net = build_network(PRESETS[preset], seed=0).eval().requires_grad_(False)
    return TrainedModel(net, WINDOW, PreparationConfig(spacing_mm=1.0, modality="mr"), "", CPU)


def scan(seed: int) -> Prepared:
    voxels = np.random.default_rng(seed).standard_normal(SHAPE, np.float32)
    voxels[3:11, 8:20, 5:15] += 2
    volume = Volume.from_array(voxels)
    intensity = Intensity(low=-5, high=5, mean=0, std=1)
    return Prepared(voxels, volume.grid, volume.source, "mr", "setting", intensity, ())


def label(*, second: bool = True) -> np.ndarray:
    values = np.zeros(SHAPE, np.uint8)
    values[3:11, 8:20, 5:15] = 4
    if second:
        values[2:14, 22:32, 3:25] = 9
    return values


def task(trained: TrainedModel) -> Task:
    """Two references, of which the second lacks the second structure."""
    shown = [
        encode_reference(trained, scan(1), label(), [4, 9], name="both"),
        encode_reference(trained, scan(2), label(second=False), [4, 9], name="one"),
    ]
    return Task(tuple(shown), {"a": 4, "b": 9}, model="")


def plain_votes(trained: TrainedModel, image: Tensor, reference: Reference) -> Tensor:
    """(S, D, H, W), one window after the other, for a volume that is as large as windows."""
    total, norm = torch.zeros(2, *SHAPE), torch.zeros(SHAPE)
    for box in windows(SHAPE, WINDOW, overlap=0.4):
        maps = trained.net.encode(image[box][None, None])
        found = trained.net.decode(maps, reference.to(CPU))[0].float().sigmoid()
        total[(slice(None), *box)] += found * blend_weight(WINDOW)
        norm[box] += blend_weight(WINDOW)
    return total / norm


@pytest.mark.parametrize("preset", ["tiny", "tokens"])
def test_answers_are_the_mean_of_one_window_and_one_reference_after_the_other(
    preset: PresetName,
) -> None:
    trained, query = model(preset), scan(3)
    made = task(trained)
    both, one = (plain_votes(trained, torch.from_numpy(query.image), r) for r in made.references)
    slabs = list(predict(trained, query, made, overlap=0.4))
    assert [first for first, _ in slabs] == [0, 4]
    mean = torch.cat([slab for _, slab in slabs], 1)
    torch.testing.assert_close(mean[0], (both[0] + one[0]) / 2, atol=1e-5, rtol=1e-4)
    # what a reference does not show it does not vote for
    torch.testing.assert_close(mean[1], both[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("preset", ["tiny", "tokens"])
def test_a_reference_is_encoded_window_by_window(preset: PresetName) -> None:
    trained, shown = model(preset), scan(1)
    masks = torch.from_numpy(np.stack([label() == value for value in (4, 9)]))
    starts = windows_of(masks, WINDOW)
    assert len(starts) > 2  # more than are shown to the network at once would be one
    parts = [
        trained.net.encode_task(
            trained.net.encode(torch.from_numpy(shown.image[box])[None, None]),
            masks[(slice(None), *box)][None].float(),
        )
        for box in (box_at(start, WINDOW) for start in starts)
    ]
    joined = trained.net.join_tasks(parts, torch.tensor(list(starts.values())).float())
    found = encode_reference(trained, shown, label(), [4, 9], name="x")
    assert found.present.all()
    assert found.tensors.keys() == joined.keys()
    for name, tensor in joined.items():
        torch.testing.assert_close(found.tensors[name].float(), tensor, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("preset", ["tiny", "tokens"])
def test_around_a_small_reference_lies_what_the_scan_has_outside(preset: PresetName) -> None:
    """As around a query, and never the HU of water; normalised before it is cut into windows."""
    trained, shown = model(preset), scan(1)
    small = replace(shown, image=shown.image[3:13, :16, :16])
    padded = np.full(WINDOW, shown.intensity.outside, np.float32)
    padded[3:13] = small.image
    values = np.zeros(WINDOW, np.uint8)
    values[3:13] = label()[3:13, :16, :16]
    found = encode_reference(trained, small, values[3:13], [4], name="x")
    whole = encode_reference(trained, replace(shown, image=padded), values, [4], name="x")
    for name, tensor in whole.tensors.items():
        assert torch.equal(found.tensors[name], tensor)


@pytest.mark.parametrize("corner", [(slice(0, 3),) * 3, (slice(37, 40),) * 3, (slice(10, 26),) * 3])
def test_a_mask_that_fits_is_covered_by_one_window_inside_the_volume(
    corner: tuple[slice, slice, slice],
) -> None:
    mask = torch.zeros(40, 40, 40, dtype=torch.bool)
    mask[corner] = True
    (box,) = covering_windows(mask, WINDOW)
    assert mask[box].sum() == mask.sum()
    assert mask[box].shape == WINDOW


def test_a_large_mask_is_covered_completely() -> None:
    mask = torch.zeros(40, 64, 20, dtype=torch.bool)
    mask[2:39, 5:60, 3:18] = True
    covered = torch.zeros_like(mask)
    for box in covering_windows(mask, WINDOW):
        assert covered[box].shape == WINDOW
        covered[box] = True
    assert covered[mask].all()


def released(channels: tuple[int, ...], edge: int) -> TrainedModel:
    """The released network with made-up weights, shown windows of `edge` voxels."""
    net: nn.Module = IrisNet(IrisPreset.model_validate({"channels": channels}))
    state = made_state(released_shapes(channels), seed=2)
    net.load_state_dict({renamed(k) or "": v for k, v in state.items() if "task_prior" not in k})
    net = cast("NetworkModule", net.eval().requires_grad_(False))
    return TrainedModel(net, (edge,) * 3, PreparationConfig(spacing_mm=1.5), "", CPU)


@pytest.mark.parametrize(
    ("channels", "limit"),
    [
        ((8, 16, 32, 64, 96), 2e-4),
        pytest.param((32, 64, 128, 256, 512), 1e-4, marks=pytest.mark.slow),
    ],
    ids=["narrow", "base"],
)
def test_tokens_of_16_bits_change_logits_of_the_released_network_as_little_as_its_page_says(
    channels: tuple[int, ...], limit: float
) -> None:
    trained = released(channels, edge=32)
    query, shown, masks = made_inputs((32, 32, 32), 1, 2)
    volume = Volume.from_array(shown[0, 0].numpy())
    intensity = Intensity(low=-5, high=5, mean=0, std=1)
    whole = Prepared(volume.voxels, volume.grid, volume.source, "mr", "setting", intensity, ())
    label = (masks[0, 0] > 0.5).numpy().astype(np.uint8)
    kept = encode_reference(trained, whole, label, [1], name="whole")
    seen = torch.from_numpy(label)[None, None].float()
    exact = trained.net.encode_task(trained.net.encode(shown), seen)
    maps = trained.net.encode(query)
    wanted, found = (trained.net.decode(maps, one) for one in (exact, kept.to(CPU)))
    error = float((found - wanted).norm() / wanted.norm())
    assert limit / 10 < error < limit, error
