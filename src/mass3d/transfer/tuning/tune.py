"""Tune a head on made-up views of one reference, and use it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.metrics.overlap import label_overlaps
from mass3d.training.ema import Ema
from mass3d.transfer.tuning.head import VoxelHead
from mass3d.transfer.tuning.pace import AVERAGE, rate
from mass3d.transfer.tuning.settings import DEFAULT, SimulationConfig, TuningConfig
from mass3d.transfer.tuning.simulate import View, other_scanner, simulate_view
from mass3d.transfer.tuning.voxels import AROUND_VOX, Encoder, Planes, gather, planes_of
from mass3d.volume.box import Box, box_at, whole_box

WARM_UP_STEPS = 20
AT_ONCE = 65_536  # voxels that the head looks at together
SLAB_VALUES = 2**24  # numbers in the maps of a slab
VIEW_VALUES = 2**24  # numbers in the maps of a view that is learned from


@dataclass(frozen=True)
class TunedHead:
    """A head, where it is used, and what it reached on views that it did not learn from."""

    head: VoxelHead = field(repr=False)
    used: Tensor  # (S,) bool: the head is better than what is carried over
    carried_dice: tuple[float, ...]  # of the S structures on held-out views
    tuned_dice: tuple[float, ...]
    network: bool = False  # the head looks at maps of the network as well
    places: tuple[int, ...] | None = None  # of its structures in those of the task, if not all


def tune(
    image: Tensor,
    label: Tensor,
    structures: int,
    config: TuningConfig = DEFAULT,
    encoder: Encoder | None = None,
) -> TunedHead:
    """Tune a head on one labelled scan.

    image, label (D, H, W): the box of the structures and some of its surroundings; label 0, or the
    number of the structure from 1.
    """
    rng = np.random.default_rng(config.seed)

    def views(count: int, simulation: SimulationConfig) -> Iterator[View]:
        for _ in range(count):
            part = window(rng, label, structures)
            yield simulate_view(rng, image[part], label[part], structures, simulation)

    head = _taught(rng, views(config.views, config.simulation), structures, config, encoder)
    # priors that are all equally wrong, so that a few views tell enough
    usual = config.simulation.worse(config.held_out_error)
    return _judged(head, views(config.held_out, usual), encoder)


def tune_on(
    views: Sequence[View], config: TuningConfig = DEFAULT, encoder: Encoder | None = None
) -> VoxelHead:
    """A head tuned on what was really carried over to labelled scans, as by other scanners.

    Each of the views is looked at equally often, in all at least as often as `config` says.
    """
    rng = np.random.default_rng(config.seed)
    shown = (
        View(other_scanner(rng, view.image, config.simulation), view.label, view.prior.float())
        for _ in range(-(-config.views // len(views)))
        for view in views
    )
    return _taught(rng, shown, len(views[0].prior), config, encoder)


def _taught(
    rng: np.random.Generator,
    views: Iterable[View],
    structures: int,
    config: TuningConfig,
    encoder: Encoder | None,
) -> VoxelHead:
    """A head that learned voxels of views."""
    features, priors, labels = [], [], []
    for view in views:
        with torch.no_grad():
            planes = planes_of(view.image, view.prior, encoder)
            index = _drawn(rng, planes, view.label, structures, config)
            found = gather(planes, index)
        features.append(found[0])
        priors.append(found[1])
        labels.append(view.label.flatten()[index])
    return _fitted((torch.cat(features), torch.cat(priors), torch.cat(labels)), structures, config)


def window(rng: np.random.Generator, label: Tensor, structures: int) -> Box:
    """The whole label (D, H, W), or a part around one of its voxels if it is large.

    So memory and time of a view stay the same for structures of any size and number.
    """
    edge = int((VIEW_VALUES / (3 * (structures + 1))) ** (1 / 3))
    if max(label.shape) <= edge:
        return whole_box(label.shape)
    marked = (label > 0).nonzero()
    middle = marked[int(rng.integers(len(marked)))].tolist()
    sizes = [min(n, edge) for n in label.shape]
    start = [
        min(max(0, at - size // 2), n - size)
        for at, size, n in zip(middle, sizes, label.shape, strict=True)
    ]
    return box_at(start, sizes)


def _drawn(
    rng: np.random.Generator, planes: Planes, label: Tensor, structures: int, config: TuningConfig
) -> Tensor:
    """Flat indices of voxels near the structures, rare structures more often."""
    near = (planes.near | (label > 0)).flatten().nonzero()[:, 0]
    values = label.flatten()[near]
    count = torch.bincount(values, minlength=structures + 1).clamp_min(1)
    weight = count.double() ** -config.balance
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    wanted = min(config.voxels_per_view, len(near))
    return near[torch.multinomial(weight[values], wanted, generator=generator)]


def _fitted(
    sample: tuple[Tensor, Tensor, Tensor], structures: int, config: TuningConfig
) -> VoxelHead:
    """The mean of the head over its updates on features, log priors and labels of voxels."""
    features, priors, labels = sample
    generator = torch.Generator().manual_seed(config.seed)
    head = VoxelHead(features.shape[1], structures, config.hidden)
    head.start(features, generator)
    features = head.scaled(features)
    mean = Ema(head, decay=AVERAGE)
    optimizer = torch.optim.AdamW(
        head.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate(step, config.steps, warm_up=WARM_UP_STEPS)
        batch = torch.randint(0, len(labels), (config.batch,), generator=generator)
        shown = features[batch]
        shown = shown + config.jitter * torch.randn(shown.shape, generator=generator)
        loss = F.cross_entropy(head(shown, priors[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean.update(head, step + 1)
    assert isinstance(mean.model, VoxelHead), "a copy of the head"
    return mean.model


@torch.no_grad()
def corrected(
    head: VoxelHead, image: Tensor, prior: Tensor, encoder: Encoder | None = None
) -> Tensor:
    """Probabilities (S, D, H, W) of the structures in an image (D, H, W) with a carried prior.

    Where no structure may be, they are 0. Memory is that of a slab.
    """
    out = torch.zeros_like(prior)
    maps = None if encoder is None else encoder.encode(image)
    for slab, kept in _slabs(image.shape, head.classes):
        planes = planes_of(image[slab], prior[:, slab])
        if maps is not None and encoder is not None:
            planes = replace(planes, maps=maps, stride=encoder.stride, first=slab.start)
        inside = torch.zeros_like(planes.near)
        inside[kept] = planes.near[kept]
        index = inside.flatten().nonzero()[:, 0]
        flat = torch.zeros(head.classes - 1, inside.numel())
        for part in index.split(AT_ONCE):
            features, log_prior = gather(planes, part)
            flat[:, part] = head(head.scaled(features), log_prior).softmax(1)[:, 1:].T
        first = slab.start + kept.start
        out[:, first : first + kept.stop - kept.start] = flat.view(-1, *inside.shape)[:, kept]
    return out


def _slabs(shape: Sequence[int], classes: int) -> Iterator[tuple[slice, slice]]:
    """Slabs along the first axis with their surroundings, and the slab within each."""
    depth = shape[0]
    thickness = max(1, SLAB_VALUES // (4 * classes * shape[1] * shape[2]))
    for start in range(0, depth, thickness):
        stop = min(depth, start + thickness)
        first = max(0, start - AROUND_VOX - 1)
        yield slice(first, min(depth, stop + AROUND_VOX + 1)), slice(start - first, stop - first)


def _judged(head: VoxelHead, views: Iterable[View], encoder: Encoder | None) -> TunedHead:
    """Compare the head with what is carried over, on views that it did not learn from."""
    carried, tuned = [], []
    for view in views:
        carried.append(overlaps(view.prior, view.label))
        found = corrected(head, view.image, view.prior, encoder)
        tuned.append(overlaps(found, view.label))
    before: tuple[float, ...] = tuple(np.mean(carried, 0).tolist())
    after: tuple[float, ...] = tuple(np.mean(tuned, 0).tolist())
    used = torch.tensor([b > a for a, b in zip(before, after, strict=True)])
    return TunedHead(head, used, before, after, encoder is not None)


def labels_of(probabilities: Tensor) -> Tensor:
    """The most probable of background and structures (S, D, H, W): (D, H, W), 0 is background."""
    background = (1 - probabilities.sum(0, keepdim=True)).clamp_min(0)
    return torch.cat([background, probabilities]).argmax(0)


def overlaps(probabilities: Tensor, label: Tensor) -> list[float]:
    """Dice of each structure (S, D, H, W) with a label (D, H, W); 0 where both are empty."""
    return dice_of(labels_of(probabilities), label, len(probabilities))


def dice_of(found: Tensor, label: Tensor, structures: int) -> list[float]:
    """Dice of the numbers 1 to `structures` in two label maps (D, H, W); 0 where both are empty."""
    shared = label_overlaps(found.numpy(), label.numpy())
    return [shared[n].dice if n in shared else 0.0 for n in range(1, structures + 1)]
