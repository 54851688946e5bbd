"""In-context inference: from a labelled reference to tokens, from tokens to probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mass3d.transfer.sliding import pad_to_window, slide, window_starts
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.box import Box, box_at
from mass3d.volume.preparation import Prepared

Shape = tuple[int, ...]


@torch.no_grad()
def encode_reference(
    trained: TrainedModel, scan: Prepared, label: NDArray[np.integer], values: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Tokens of the structures of one labelled scan.

    label (D, H, W) on the grid of `scan`; `values` are the S label values wanted. Every structure
    is shown to the network in windows of the size it was trained with, centred on the structure,
    or tiling its box where it is larger than a window; the tokens of several windows are averaged
    by the voxels they show. Returns tokens (S, T, C) and present (S,): absent structures get
    zeros.
    """
    crop = trained.crop
    image, _ = pad_to_window(torch.from_numpy(scan.image), crop, outside=scan.intensity.outside)
    labels, _ = pad_to_window(torch.from_numpy(label.astype(np.int32)), crop, outside=0)
    tokens, present = [], []
    for value in values:
        mask = labels == value
        present.append(bool(mask.any()))
        tokens.append(_encode_structure(trained, image, mask) if present[-1] else None)
    preset = trained.net.preset
    absent = torch.zeros(preset.tokens, preset.dim)
    return (
        torch.stack([absent if found is None else found for found in tokens]),
        torch.tensor(present),
    )


def _encode_structure(trained: TrainedModel, image: Tensor, mask: Tensor) -> Tensor:
    """Tokens (T, C) of one mask (D, H, W) that is not empty."""
    total: Tensor | float = 0.0
    weight = 0.0
    for box in covering_windows(mask, trained.crop):
        shown = mask[box]
        voxels = float(shown.sum())
        if voxels == 0:
            continue
        tokens = trained.net.encode_tasks(
            image[box][None, None].to(trained.device),
            shown[None, None].float().to(trained.device),
        )
        total = total + voxels * tokens[0, 0].float().cpu()
        weight += voxels
    assert isinstance(total, Tensor), "an empty mask has no tokens"
    return total / weight


def covering_windows(mask: Tensor, window: tuple[int, int, int]) -> list[Box]:
    """Windows of one size, inside the volume, that cover a mask (D, H, W); one if it fits."""
    choices = []
    for axis, size in enumerate(window):
        others = tuple(a for a in range(3) if a != axis)
        seen = mask.any(dim=others[1]).any(dim=others[0]).nonzero().flatten()
        first, last = int(seen[0]), int(seen[-1])
        length = last - first + 1
        limit = mask.shape[axis] - size
        if length <= size:
            starts = [(first + last + 1 - size) // 2]
        else:
            starts = [first + start for start in window_starts(length, size, overlap=0.25)]
        choices.append(sorted({min(max(start, 0), limit) for start in starts}))
    return [box_at(start, window) for start in product(*choices)]


@torch.no_grad()
def predict(trained: TrainedModel, scan: Prepared, task: Task, *, overlap: float) -> Tensor:
    """Probability of every structure at every voxel of the prepared scan: (S, D, H, W) on CPU.

    The references that show a structure vote with equal weight. One pass of the encoder per
    window serves all references and structures.
    """
    tokens = task.tokens.to(trained.device)
    votes = task.present.to(trained.device, torch.float32)
    votes = (votes / votes.sum(0, keepdim=True)).view(*votes.shape, 1, 1, 1)

    def window(image: Tensor) -> Tensor:
        maps = trained.net.encoder(image)
        total = torch.zeros(())
        for reference, vote in zip(tokens, votes, strict=True):
            total = total + trained.net.decode(maps, reference[None])[0].sigmoid() * vote
        return total

    return slide(
        torch.from_numpy(scan.image).to(trained.device),
        window,
        window=trained.crop,
        channels=len(task.structures),
        overlap=overlap,
        outside=scan.intensity.outside,
    )


def to_labels(
    probabilities: Iterable[NDArray[np.floating]], values: Sequence[int], *, shape: Shape
) -> NDArray[np.uint16]:
    """The most probable structure of each voxel, 0 where none reaches one half.

    probabilities: S arrays of `shape`, taken one after the other -> label values of `shape`.
    """
    best = np.full(shape, 0.5, np.float32)
    labels = np.zeros(shape, np.uint16)
    for probability, value in zip(probabilities, values, strict=True):
        higher = probability > best
        labels[higher] = value
        best[higher] = probability[higher]
    return labels
