"""Learn the answers of a task on unlabelled scans, window by window."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mass3d.training.ema import Ema
from mass3d.training.processor import is_faster_in_16_bits
from mass3d.transfer.adaptation.network import CohortNetwork
from mass3d.transfer.adaptation.settings import AdaptationConfig
from mass3d.transfer.tuning.pace import AVERAGE, rate
from mass3d.transfer.tuning.simulate import affine_noise, moved, other_scanner, smooth_noise
from mass3d.volume.box import box_at

WARM_UP_STEPS = 50
MAX_GRADIENT = 5.0
SHADES = 255  # of a probability on the disk


@dataclass(frozen=True)
class Answered:
    """An unlabelled scan around the structures, and what the task says of it."""

    image: NDArray[np.float32] = field(repr=False)  # (D, H, W)
    votes: NDArray[np.uint8] = field(repr=False)  # (S, D, H, W), probabilities times SHADES


@dataclass(frozen=True)
class Lesson:
    """What is shown, and for how long. Nothing is drawn from the references if there are none."""

    scans: Sequence[Answered]
    steps: int
    references: Sequence[Answered] = ()  # with true labels
    shown: float = 0.0  # share of the windows that show a reference

    def draw(self, rng: np.random.Generator) -> Answered:
        """One of the scans, or of the references."""
        some = self.references if self.references and rng.uniform() < self.shown else self.scans
        return some[int(rng.integers(len(some)))]


def new_network(structures: int, config: AdaptationConfig) -> CohortNetwork:
    """A network that knows nothing yet."""
    net = CohortNetwork(structures, config.channels)
    net.start(torch.Generator().manual_seed(config.seed))
    return net


def learn(
    begin: CohortNetwork,
    lesson: Lesson,
    config: AdaptationConfig,
    advance: Callable[[int], None] = lambda _: None,
) -> CohortNetwork:
    """The network after a lesson. Same network, scans and settings, same bits.

    What the alignments of single scans get wrong differs from scan to scan and averages out.
    """
    net = copy.deepcopy(begin).train().requires_grad_(True)
    mean = Ema(net, decay=AVERAGE)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    for step in range(lesson.steps):
        rng = np.random.default_rng([config.seed, lesson.steps, step])
        image, target = _window(rng, lesson.draw(rng), config)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate(step, lesson.steps, warm_up=WARM_UP_STEPS)
        loss = _loss(_logits(net, image), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), MAX_GRADIENT)
        optimizer.step()
        mean.update(net, step + 1)
        advance(step + 1)
    assert isinstance(mean.model, CohortNetwork), "a copy of the network"
    return mean.model


def _window(
    rng: np.random.Generator, scan: Answered, config: AdaptationConfig
) -> tuple[Tensor, Tensor]:
    """A window, bent and with other intensities: (1, 1, d, h, w), and (1, 1 + S, d, h, w)."""
    edge = config.window_vox
    starts = [int(rng.integers(0, max(0, n - edge) + 1)) for n in scan.image.shape]
    sizes = [min(n, edge) for n in scan.image.shape]
    box = box_at(starts, sizes)
    image = torch.from_numpy(np.array(scan.image[box]))
    votes = torch.from_numpy(np.array(scan.votes[(slice(None), *box)])).float() / SHADES
    numbers = config.simulation
    bent = smooth_noise(rng, sizes, numbers.anatomy_vox, numbers.anatomy_scale_vox)
    bent += affine_noise(rng, sizes, numbers.degrees, numbers.scale, 1.0)
    image = other_scanner(rng, moved(image[None], bent)[0], numbers)
    votes = moved(votes, bent)
    target = torch.cat([(1 - votes.sum(0, keepdim=True)).clamp_min(0), votes])
    return _padded(image[None, None], edge), _padded(target[None], edge)


def _padded(x: Tensor, edge: int) -> Tensor:
    """(1, C, d, h, w) with repeated edges up to a cube."""
    missing = [edge - n for n in x.shape[2:]]
    pads = [part for n in reversed(missing) for part in (n // 2, n - n // 2)]
    return F.pad(x, pads, mode="replicate")


def _logits(net: CohortNetwork, image: Tensor) -> Tensor:
    """In 16 bits where the processor is made for them: four times faster, and as good."""
    with torch.autocast("cpu", torch.bfloat16, enabled=is_faster_in_16_bits()):
        logits: Tensor = net(image)
    return logits.float()


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and soft Dice of the structures."""
    log_found = logits.log_softmax(1)
    found = log_found.exp()
    overlap = 2 * (found * target).sum((2, 3, 4))
    sizes = (found + target).sum((2, 3, 4))
    dice = (overlap + 1) / (sizes + 1)
    return -(target * log_found).sum(1).mean() + (1 - dice[:, 1:]).mean()
