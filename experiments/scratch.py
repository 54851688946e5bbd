"""A classifier of cubes trained from scratch: what the features of `probe.py` stand beside.

It is the network of a run, randomly initialised, and a linear layer on the means of its maps over
the body. It learns all of its weights by the recipe that the networks here are pretrained by (Muon,
peak rate 0.01, warm-up and cosine), for a number of updates that is given: no part of the training
cubes is held out to choose one. Cubes are flipped at random along each axis while it learns, half
of the time along each.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mass3d.execution.summary import counted
from mass3d.files import read_json, write_json
from mass3d.io.read import read_volume
from mass3d.model.build import build_network
from mass3d.model.presets import Preset, Recipe
from mass3d.training.optimizers import make_optimizer, set_rate
from mass3d.training.schedule import warmup_cosine
from mass3d.transfer.frozen.encoder import scales_of
from mass3d.transfer.frozen.plain import body_of
from mass3d.transfer.frozen.pooling import shrunk
from mass3d.transfer.frozen.probing.folds import Learning
from mass3d.transfer.frozen.probing.heads import by_frequency
from mass3d.transfer.frozen.probing.labels import Target
from mass3d.transfer.frozen.probing.probe import Probed, Said
from mass3d.transfer.frozen.probing.results import TABLE, as_json, measured
from mass3d.transfer.frozen.scan import PRETRAINED
from mass3d.transfer.trained import RunRecord
from mass3d.volume.preparation import prepare_volume

BATCH: Final = 16  # cubes
CLIP: Final = 1.0  # largest gradient norm, as in pretraining
AT_ONCE: Final = 64  # cubes asked at once
LAST: Final = 0.1  # share of the updates whose loss is told
HEAD: Final = "linear"


class Cubes(NamedTuple):
    """Prepared cubes of one size, with what is to be pooled."""

    images: Tensor  # (N, 1, D, H, W)
    bodies: Tensor  # (N, 1, D, H, W), 0 and 1

    def take(self, rows: Tensor) -> Cubes:
        """Some of them."""
        return Cubes(self.images[rows], self.bodies[rows])

    def flipped(self, axes: list[int]) -> Cubes:
        """All of them, the same way."""
        return Cubes(self.images.flip(axes), self.bodies.flip(axes))


class Taught(NamedTuple):
    """What one training came to."""

    answers: NDArray[np.float64]  # (n, classes), as if all classes were equally frequent
    cpu_s: float  # of the training
    loss: float  # of the training, mean of the last updates


class Classifier(nn.Module):
    """The network of a preset, and a linear layer on the means of all its maps."""

    def __init__(self, preset: Preset, classes: int, *, seed: int) -> None:
        super().__init__()
        self.net = build_network(preset, seed=seed)
        edge = self.net.stride
        with torch.no_grad():
            maps = scales_of(self.net, torch.zeros(1, 1, edge, edge, edge))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.last = nn.Linear(sum(one.shape[1] for one in maps), classes)

    def forward(self, cubes: Cubes) -> Tensor:
        """(B, classes)."""
        means = []
        for one in scales_of(self.net, cubes.images):
            share = shrunk(cubes.bodies[:, 0], one.shape[2:])[:, None]
            means.append((one * share).sum((2, 3, 4)) / share.sum((2, 3, 4)))
        answers: Tensor = self.last(torch.cat(means, 1))
        return answers


def read_cubes(paths: Sequence[Path], record: RunRecord) -> Cubes:
    """Cubes as the frozen network of the run sees them, in whole cells rather than its window.

    A window is many times as large as a cube and shows nothing around it.
    """
    stride = build_network(record.preset, seed=0).stride
    images, bodies = [], []
    for path in paths:
        volume = read_volume(path)
        scan = prepare_volume(volume, record.preparation)
        images.append((scan.image, scan.intensity.outside))
        bodies.append((body_of(volume, scan).astype(np.float32), 0.0))
    largest = np.max([image.shape for image, _ in images], axis=0)
    edges = [-(-int(n) // stride) * stride for n in largest]
    both = (torch.stack([_padded(*one, edges) for one in some]) for some in (images, bodies))
    return Cubes(*both)


def _padded(image: NDArray[np.float32], outside: float, edges: Sequence[int]) -> Tensor:
    """image (D, H, W) -> (1, *edges)."""
    pads = [
        n for old, new in zip(image.shape[::-1], edges[::-1], strict=True) for n in (0, new - old)
    ]
    return F.pad(torch.from_numpy(image), pads, value=outside)[None]


def teach(
    preset: Preset,
    seen: Cubes,
    truth: NDArray[np.int64],
    asked: Cubes,
    *,
    classes: int,
    updates: int,
    seed: int,
) -> Taught:
    """Train a classifier on some cubes (n) and ask it about others (m).

    Everything that is drawn depends on the seed alone.
    """
    began = time.process_time()
    recipe = Recipe(steps=updates, batch_size=BATCH)
    model = Classifier(preset, classes, seed=seed)
    optimizer = make_optimizer(model, recipe)
    wanted = torch.from_numpy(truth)
    weight = len(wanted) / torch.bincount(wanted, minlength=classes).clamp_min(1)
    losses = []
    draws = _draws(len(truth), np.random.default_rng((seed, updates)))
    for step in range(updates):
        set_rate(optimizer, recipe.lr * warmup_cosine((step + 1) / (updates + 1)))
        rows, axes = next(draws)
        said = model(seen.take(rows).flipped(axes))
        loss = F.cross_entropy(said, wanted[rows], weight=weight)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(float(loss.detach()))
    cpu_s = time.process_time() - began
    last = losses[-max(1, round(LAST * updates)) :]
    return Taught(_ask(model, asked), cpu_s, float(np.mean(last)))


def _draws(count: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, list[int]]]:
    """Rows of each batch, all cubes before any comes again, and the axes to be flipped."""
    left: list[int] = []
    while True:
        while len(left) < BATCH:
            left += rng.permutation(count).tolist()
        rows, left = left[:BATCH], left[BATCH:]
        yield torch.tensor(rows), [axis for axis in (2, 3, 4) if rng.random() < 0.5]


@torch.no_grad()
def _ask(model: Classifier, cubes: Cubes) -> NDArray[np.float64]:
    """Probabilities (m, classes)."""
    model.eval()
    parts = torch.arange(len(cubes.images)).split(AT_ONCE)
    said = torch.cat([model(cubes.take(rows)) for rows in parts])
    return np.asarray(said.double().softmax(1).numpy())


def name_of(updates: int) -> str:
    """What stands in the table for the features."""
    return f"from scratch, {counted(updates, 'update')}"


def add_scratch(
    told: dict[str, Any],
    place: Path,
    crops: Path,
    record: RunRecord,
    *,
    updates: Sequence[int],
    seed: int,
) -> None:
    """Put classifiers trained from scratch into what `mass3d probe` has told of a target.

    `place` is where it has left its answers: its folds and its draws of patients are taken, so that
    rows can be compared. crops: the folder of the cubes. Answers are kept in `place`, and what is
    there already is not trained again.
    """
    probed = read_probed(place / TABLE)
    said = list(probed.said)
    for count in updates:
        kept = place / f"scratch-{count}.json"
        if not kept.exists():
            cubes = read_cubes([crops / f"{case}.nii.gz" for case in probed.target.cases], record)
            write_json(kept, _cross_validate(probed, cubes, record, updates=count, seed=seed))
        found = read_json(kept)
        print(f"{name_of(count)}: {found['cpu_s']} CPU-seconds, loss {found['loss']}", flush=True)
        said.append(_said(probed, name_of(count), np.array(found["answers"])))
    features = as_json(measured(replace(probed, said=tuple(said)), seed=seed))["features"]
    differences = features.pop(PRETRAINED)[HEAD]["differences"]
    told["features"][PRETRAINED][HEAD]["differences"] |= differences
    told["features"] |= features


def read_probed(table: Path) -> Probed:
    """One target with classes as predictions.csv has it: the pretrained features, linear head."""
    with table.open(newline="") as stream:
        rows = [
            row
            for row in csv.DictReader(stream)
            if (row["features"], row["head"]) == (PRETRAINED, HEAD)
        ]
    classes = tuple(dict.fromkeys(row["class"] for row in rows))
    firsts = rows[:: len(classes)]
    target = Target(
        firsts[0]["target"],
        "classes",
        classes,
        tuple(row["case"] for row in firsts),
        np.array([classes.index(row["truth"]) for row in firsts], np.float64),
        missing=(),
    )
    answers, balanced = (
        np.array([float(row[name]) for row in rows]).reshape(-1, len(classes))
        for name in ("probability", "balanced")
    )
    return Probed(
        target,
        np.array([row["patient"] for row in firsts]),
        np.array([int(row["fold"]) for row in firsts]),
        (Said(PRETRAINED, HEAD, answers, balanced, ()),),
    )


def _cross_validate(
    probed: Probed, cubes: Cubes, record: RunRecord, *, updates: int, seed: int
) -> dict[str, Any]:
    """Answers about every cube by a classifier that has not seen its patient, and what it took."""
    truth, classes = probed.target.truth.astype(np.int64), len(probed.target.classes)
    answers = np.zeros((len(truth), classes))
    folds = []
    for fold in np.unique(probed.fold).tolist():
        train, test = (
            np.flatnonzero(which) for which in (probed.fold != fold, probed.fold == fold)
        )
        taught = teach(
            record.preset,
            cubes.take(torch.from_numpy(train)),
            truth[train],
            cubes.take(torch.from_numpy(test)),
            classes=classes,
            updates=updates,
            seed=1000 * seed + fold,
        )
        answers[test] = taught.answers
        folds.append(taught)
    return {
        "answers": answers.tolist(),
        "cpu_s": [round(one.cpu_s, 1) for one in folds],
        "loss": [round(one.loss, 4) for one in folds],
    }


def _said(probed: Probed, name: str, answers: NDArray[np.float64]) -> Said:
    """Balanced answers as the heads of `mass3d probe` give them, and by frequency."""
    weighed = np.zeros_like(answers)
    for fold in np.unique(probed.fold):
        test = probed.fold == fold
        learned = Learning(probed.target.truth[~test], answers.shape[1], (), 0)
        weighed[test] = by_frequency(answers[test], learned)
    return Said(name, HEAD, weighed, answers, ())
