"""In-context inference: from a labelled reference to a task, from a task to probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mass3d.model.protocol import TaskTensors
from mass3d.transfer.sliding import pad_to_window, slide_down, together, window_starts
from mass3d.transfer.task_file import Reference, Task
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.box import Box, box_at
from mass3d.volume.geometry import Shape
from mass3d.volume.preparation import Prepared


@torch.no_grad()
def encode_reference(
    trained: TrainedModel,
    scan: Prepared,
    label: NDArray[np.integer],
    values: Sequence[int],
    *,
    name: str,
) -> Reference:
    """What the network keeps of the structures of one labelled scan, in half precision.

    label (D, H, W) on the grid of `scan`; `values` are the S label values wanted. The scan is
    shown to the network in windows of the size it was trained with. Each structure is looked up
    in the windows that are centred on it, or tile its box where it is larger than a window.
    """
    crop = trained.crop
    image, _ = pad_to_window(torch.from_numpy(scan.image), crop, outside=scan.intensity.outside)
    labels, _ = pad_to_window(torch.from_numpy(label.astype(np.int32)), crop, outside=0)
    masks = torch.stack([labels == value for value in values])
    shown = windows_of(masks, crop)
    boxes = [box_at(start, crop) for start in shown]
    parts: list[TaskTensors] = []
    for some in together(boxes, crop):
        images = torch.stack([image[box] for box in some])[:, None].to(trained.device)
        seen = torch.stack([masks[(slice(None), *box)] for box in some]).float().to(trained.device)
        tasks = trained.net.encode_task(trained.net.encode(images), seen)
        parts += [
            {name: tensor[number : number + 1] for name, tensor in tasks.items()}
            for number in range(len(some))
        ]
    weights = torch.tensor(list(shown.values()), dtype=torch.float32, device=trained.device)
    task = parts[0] if len(parts) == 1 else trained.net.join_tasks(parts, weights)
    tensors = {key: tensor.half().cpu() for key, tensor in task.items()}
    return Reference(name, tensors, masks.flatten(1).any(1))


def windows_of(masks: Tensor, window: Shape) -> dict[Shape, list[int]]:
    """Starts of windows that cover the masks (S, D, H, W), and the voxels of each mask there.

    A mask counts in the windows that were laid for it, even where others show parts of it. Where
    all masks are empty there is one window, in which none is shown.
    """
    found: dict[Shape, list[int]] = {}
    for number, mask in enumerate(masks):
        for box in covering_windows(mask, window) if mask.any() else ():
            voxels = int(mask[box].sum())
            if voxels:
                d, h, w = (axis.start for axis in box)
                found.setdefault((d, h, w), [0] * len(masks))[number] = voxels
    return found or {(0, 0, 0): [0] * len(masks)}


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


def predict(
    trained: TrainedModel, scan: Prepared, task: Task, *, overlap: float
) -> Iterator[tuple[int, Tensor]]:
    """Probability of every structure at every voxel of the prepared scan, from slice to slice.

    Yields the number of the first slice and (S, slices, H, W) on CPU. The references that show a
    structure vote with equal weight; one pass of the encoder per window serves all references and
    structures. In the memory of one window's depth.
    """
    return slide_down(
        torch.from_numpy(scan.image).to(trained.device),
        _answers_to_windows(trained, task),
        window=trained.crop,
        channels=len(task.structures),
        overlap=overlap,
        outside=scan.intensity.outside,
    )


def _answers_to_windows(trained: TrainedModel, task: Task) -> Callable[[Tensor], Tensor]:
    """Windows (B, 1, d, h, w) to the probabilities (B, S, d, h, w) in them."""
    weights = task.present.to(trained.device, torch.float32)
    weights = (weights / weights.sum(0, keepdim=True).clamp_min(1)).view(*weights.shape, 1, 1, 1)
    references = [(one.to(trained.device), one.asked) for one in task.references]
    structures = len(task.structures)

    def answers_to(images: Tensor) -> Tensor:
        maps = trained.net.encode(images)
        logits = [
            _among_all(trained.net.decode(maps, repeated(one, len(images))), asked, structures)
            for one, asked in references
        ]
        return (torch.stack(logits, 1).float().sigmoid() * weights).sum(1)

    return answers_to


def _among_all(logits: Tensor, asked: tuple[int, ...] | None, structures: int) -> Tensor:
    """Logits (B, S, ...) of all structures, from those of the ones that were asked for."""
    if asked is None:
        return logits
    every = logits.new_full((len(logits), structures, *logits.shape[2:]), -torch.inf)
    every[:, list(asked)] = logits
    return every


def repeated(task: TaskTensors, count: int) -> TaskTensors:
    """One task for each of `count` images."""
    return {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in task.items()}
