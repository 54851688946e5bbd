"""A head that looks for itself: a few learned queries over the cells of frozen maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mass3d.transfer.frozen.probing.folds import Fold, Learning
from mass3d.transfer.frozen.probing.heads import Told

QUERIES: Final = 4
WIDTH: Final = 32
STEPS: Final = 120  # at most
LOOK_EVERY: Final = 10  # steps between looks at what is held out
PATIENCE: Final = 4  # looks without a better one, after which it ends
BATCH: Final = 16  # scans
CELLS: Final = 256  # of a scan, drawn anew in every step
LR: Final = 3e-3
WEIGHT_DECAY: Final = 0.05
DROPOUT: Final = 0.3
ROUNDS: Final = 20  # of evening classes out
KNOWN_DIGITS: Final = 6  # of a probability that was computed in 32 bits

Cells = NDArray[np.float16]  # (n, C) of one scan


class AttentivePool(nn.Module):
    """Cells (B, n, C) -> (B, outputs), through a softmax over the cells for each query."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.key, self.value = nn.Linear(channels, WIDTH), nn.Linear(channels, WIDTH)
        self.queries = nn.Parameter(torch.randn(QUERIES, WIDTH) / WIDTH)
        self.drop = nn.Dropout(DROPOUT)
        self.last = nn.Linear(QUERIES * WIDTH, outputs)

    def forward(self, cells: Tensor) -> Tensor:
        """Standardised cells of some scans, equally many of each."""
        share = (self.key(cells) @ self.queries.T / WIDTH**0.5).softmax(1)  # (B, n, Q)
        pooled = share.transpose(1, 2) @ self.value(cells)
        answers: Tensor = self.last(self.drop(F.layer_norm(pooled, (WIDTH,)).flatten(1)))
        return answers


def attentive(train: Sequence[Cells], learned: Learning, test: Sequence[Cells]) -> Told:
    """The mean answer of a head per inner fold, each ended where its held-out part is best.

    Without inner folds, as with a single patient of a class, one head learns all steps. The number
    that is told is the mean of the steps that were kept.
    """
    everything = np.arange(len(train))
    folds = learned.inner or (Fold(everything, everything[:0]),)
    answers, steps = [], []
    for number, fold in enumerate(folds):
        seed = 1000 * learned.seed + number
        answer, kept = _one(train, learned, test, fold, seed)
        answers.append(answer)
        steps.append(kept)
    return Told(np.mean(answers, axis=0), float(np.mean(steps)))


def _one(
    train: Sequence[Cells], learned: Learning, test: Sequence[Cells], fold: Fold, seed: int
) -> tuple[NDArray[np.float64], int]:
    """Answers of one head, and the step at which it was best."""
    scale = _Scale([train[row] for row in fold.train])
    seen = [scale(train[row]) for row in fold.train]
    held = [scale(train[row]) for row in fold.test]
    goal, truth = _Goal(learned, fold.train), learned.truth
    with torch.random.fork_rng(devices=[]):  # dropout draws from torch's own numbers
        torch.manual_seed(seed)
        net = AttentivePool(seen[0].shape[1], max(1, learned.classes))
        best, kept = _fit(
            net, goal, _Scans(seen, truth[fold.train]), _Scans(held, truth[fold.test])
        )
    net.load_state_dict(best)
    said = _ask(net, [scale(one) for one in test])
    if learned.classes:
        rows = np.concatenate([fold.train, fold.test])
        said = said + _evened(_ask(net, [*seen, *held]), truth[rows])
    return goal.answers(said), kept


def _evened(said: Tensor, truth: NDArray[np.float64]) -> Tensor:
    """What to add to what is said of each class (classes,), so that no class is preferred.

    said: of scans (n, classes) with the classes truth (n,), those that were learned from. With
    classes of equal weight each is then called equally likely on average, as by a balanced
    logistic regression. So few steps leave that to chance, and to chance in every fold.
    """
    count = said.shape[1]
    numbers = torch.from_numpy(truth.astype(np.int64))
    weight = 1 / (count * torch.bincount(numbers, minlength=count)[numbers].double())
    shift = torch.zeros(count, dtype=torch.float64)
    for _ in range(ROUNDS):
        shares = (weight[:, None] * (said.double() + shift).softmax(1)).sum(0)
        shift -= (count * shares).log()
    return shift


def _fit(
    net: AttentivePool,
    goal: _Goal,
    seen: _Scans,
    held: _Scans,
) -> tuple[dict[str, Tensor], int]:
    """The best weights by what is held out, and their step; the last ones where nothing is."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    truth, wanted = goal.of(seen.truth), goal.of(held.truth)
    best, least, kept, waited = _copy(net), float("inf"), 0, 0
    for step in range(1, STEPS + 1):
        net.train()
        rows = torch.randperm(len(seen.cells))[:BATCH]
        batch = torch.stack([_drawn(seen.cells[row]) for row in rows.tolist()])
        optimizer.zero_grad()
        goal.loss(net(batch), truth[rows]).backward()
        optimizer.step()
        if not held.cells:
            best, kept = _copy(net), step
        elif step % LOOK_EVERY == 0:
            loss = float(goal.loss(_ask(net, held.cells), wanted))
            waited += 1
            if loss < least:
                best, least, kept, waited = _copy(net), loss, step, 0
            if waited == PATIENCE:
                break
    return best, kept


class _Scans(NamedTuple):
    """Standardised cells of some scans, and what is true of these."""

    cells: Sequence[Tensor]
    truth: NDArray[np.float64]


class _Scale:
    """Channels of cells, standardised by those that are learned from."""

    def __init__(self, scans: Sequence[Cells]) -> None:
        count = sum(map(len, scans))
        mean = np.sum([one.sum(axis=0, dtype=np.float64) for one in scans], axis=0) / count
        squares = [((one - mean) ** 2).sum(axis=0) for one in scans]
        self.mean = torch.from_numpy(mean).float()
        self.std = torch.from_numpy(np.sqrt(np.sum(squares, axis=0) / count)).float()
        self.std.clamp_min_(1e-6)

    def __call__(self, cells: Cells) -> Tensor:
        return (torch.from_numpy(cells.astype(np.float32)) - self.mean) / self.std


class _Goal:
    """What answers are to be like: classes of equal weight, or a number on its own scale."""

    def __init__(self, learned: Learning, rows: NDArray[np.int64]) -> None:
        truth = learned.truth[rows]
        self.classes = learned.classes
        self.mean, self.std = float(truth.mean()), max(float(truth.std()), 1e-12)
        counts = np.bincount(truth.astype(int), minlength=learned.classes) if self.classes else [1]
        self.weight = torch.tensor([len(truth) / max(1, n) for n in counts], dtype=torch.float32)

    def of(self, truth: NDArray[np.float64]) -> Tensor:
        """Class numbers, or standardised numbers."""
        if self.classes:
            return torch.from_numpy(truth.astype(np.int64))
        return torch.from_numpy((truth - self.mean) / self.std).float()

    def loss(self, said: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy with balanced classes, or the mean square."""
        if self.classes:
            return F.cross_entropy(said, wanted, weight=self.weight)
        return F.mse_loss(said[:, 0], wanted)

    def answers(self, said: Tensor) -> NDArray[np.float64]:
        """Probabilities (n, classes), or numbers (n, 1)."""
        if self.classes:
            return np.asarray(said.double().softmax(1).numpy().round(KNOWN_DIGITS))
        return np.asarray(said.double().numpy() * self.std + self.mean)


@torch.no_grad()
def _ask(net: AttentivePool, scans: Sequence[Tensor]) -> Tensor:
    """Answers for all cells of every scan."""
    net.eval()
    return torch.cat([net(one[None]) for one in scans])


def _drawn(cells: Tensor) -> Tensor:
    """So many cells of a scan, some twice where it has fewer."""
    if len(cells) >= CELLS:
        return cells[torch.randperm(len(cells))[:CELLS]]
    return cells[torch.randint(len(cells), (CELLS,))]


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}
