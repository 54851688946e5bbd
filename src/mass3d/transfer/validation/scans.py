"""The labelled scans of a validation, prepared once, and how well a network carries the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray

from mass3d.alignment.features import scan_features
from mass3d.errors import DataError
from mass3d.execution.summary import counted
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.labelled import find_labelled
from mass3d.io.datasets.regions import require_no_regions
from mass3d.io.names import stem_of
from mass3d.metrics.overlap import label_overlaps
from mass3d.transfer.finetuned.apart import subjects_of
from mass3d.transfer.finetuned.scans import fingerprint, read_labelled, structures_of
from mass3d.transfer.incontext import encode_reference, predict
from mass3d.transfer.oneshot.floor import carried_by_affine
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import TrainedModel
from mass3d.transfer.tuning.tune import labels_of
from mass3d.views.labelled import UNKNOWN
from mass3d.volume.preparation import (
    PreparationConfig,
    Prepared,
    prepare_label,
    prepare_volume,
)

OVERLAP = 0.25  # of windows: half of what `segment` takes, for a third of its time

Numbers = NDArray[np.uint8]  # (D, H, W): 0, structures from 1, UNKNOWN


@dataclass(frozen=True)
class ShownScan:
    """A scan and its label on the grid of the network."""

    case_id: str
    scan: Prepared = field(repr=False)
    label: Numbers = field(repr=False)

    @property
    def shown(self) -> set[int]:
        """Numbers of the structures that the label shows there."""
        return {int(number) for number in np.unique(self.label)} - {0, UNKNOWN}


@dataclass(frozen=True)
class Scans:
    """The example, and the scans that it is carried to."""

    example: ShownScan
    queries: tuple[ShownScan, ...]
    structures: Mapping[str, int]  # of the example: name -> number in the labels
    fingerprint: str  # of the content of all files


@dataclass(frozen=True)
class Scores:
    """Dice of structures, means over the queries that show them, and what was found."""

    dice: dict[str, float | None]  # None where no query shows it
    found: tuple[Numbers, ...] = field(repr=False)  # of each query

    @property
    def mean(self) -> float | None:
        """Over structures."""
        return mean_of(self.dice)


def mean_of(dice: Mapping[str, float | None]) -> float | None:
    """The mean of those that are known; None where none is."""
    known = [one for one in dice.values() if one is not None]
    return mean(known) if known else None


def read_scans(dataset: Path, queries: int, preparation: PreparationConfig) -> Scans:
    """Read and prepare scans spread over the patients of a dataset, or over the labels of one.

    The example is the one of them that shows most structures, the first of several. Raises
    `DataError` for a scan or label that cannot be used, for fewer than two labels and for labels
    that show nothing on the grid of the network, `ConfigError` for regions.
    """
    labelled = find_labelled([dataset])
    every = one_of_each(labelled)
    if len(every) < 2:  # sessions of one patient are better than nothing
        labels = {case.label: case for case in reversed(labelled)}
        every = [case for case in labelled if labels[case.label] is case]
    if len(every) < 2:
        raise DataError(
            dataset,
            found=f"{counted(len(labelled), 'labelled scan')} of one label",
            expected="at least two labels: one to show, one to segment",
            fix="Give more labelled scans, or leave the validation out.",
            setting="validation.dataset",
        )
    spread = np.linspace(0, len(every) - 1, min(len(every), queries + 1)).round().astype(int)
    files = [every[number] for number in np.unique(spread)]
    targets = structures_of(files, None)
    require_no_regions(targets, "validation.dataset")
    scans = []
    for file in files:
        read = read_labelled(file, targets)
        scan = prepare_volume(read.volume, preparation)
        label = prepare_label(read.volume.with_voxels(read.numbers), scan.grid)
        scans.append(ShownScan(file.case_id, scan, label.astype(np.uint8)))
    example = max(scans, key=lambda scan: len(scan.shown))
    if not example.shown:
        raise DataError(
            dataset,
            found=f"no labelled voxel in {', '.join(scan.case_id for scan in scans)}",
            expected="a structure in one of them on the grid of the network",
            fix="Check the labels, or leave the validation out.",
            setting="validation.dataset",
        )
    numbers = {name: number for number, name in enumerate(targets.values, start=1)}
    kept = {name: number for name, number in numbers.items() if number in example.shown}
    others = tuple(scan for scan in scans if scan is not example)
    return Scans(example, others, kept, fingerprint(files))


def one_of_each(cases: Sequence[CaseFile]) -> list[CaseFile]:
    """One scan of each subject, in the order of the cases.

    Of several channels, or scans with one label, it is of the kind that most subjects have.
    """
    groups: dict[str | int, list[CaseFile]] = {}
    for place, (case, subject) in enumerate(zip(cases, subjects_of(cases), strict=True)):
        groups.setdefault(place if subject is None else subject, []).append(case)
    owners = Counter(kind for group in groups.values() for kind in {_kind(one) for one in group})
    return [
        min(group, key=lambda one: (-owners[_kind(one)], _kind(one))) for group in groups.values()
    ]


def _kind(case: CaseFile) -> str:
    """What the name of a file ends with: the number of a channel, or `T1w` as in BIDS."""
    return stem_of(case.path).rpartition("_")[2]


@torch.no_grad()
def score_network(trained: TrainedModel, scans: Scans) -> Scores:
    """What the network alone says, shown the example: no alignment, no head that is tuned."""
    example, values = scans.example, list(scans.structures.values())
    shown = encode_reference(trained, example.scan, example.label, values, name=example.case_id)
    task = Task((shown,), scans.structures, model="")
    return _scored(scans, lambda query: _by_network(trained, query.scan, task, values))


def _by_network(
    trained: TrainedModel, scan: Prepared, task: Task, values: Sequence[int]
) -> Numbers:
    """The label map of a query, in the memory of a slab of probabilities."""
    numbers = np.array([0, *values], np.uint8)
    found = [
        torch.where(slab.amax(0) > 0.5, slab.argmax(0) + 1, 0).numpy()
        for _, slab in predict(trained, scan, task, overlap=OVERLAP)
    ]
    return np.asarray(numbers[np.concatenate(found)])


def score_affine(scans: Scans) -> Scores:
    """What an affine registration of the example says, without any network."""
    example, values = scans.example, list(scans.structures.values())
    image = torch.from_numpy(example.scan.image)
    masks = torch.stack([torch.from_numpy(example.label == value) for value in values])
    numbers = np.array([0, *values], np.uint8)

    def found(query: ShownScan) -> Numbers:
        features = scan_features(torch.from_numpy(query.scan.image))
        return np.asarray(numbers[labels_of(carried_by_affine(image, masks, features)).numpy()])

    return _scored(scans, found)


def _scored(scans: Scans, find: Callable[[ShownScan], Numbers]) -> Scores:
    """Segment every query and score it."""
    found = tuple(find(query) for query in scans.queries)
    return Scores(dict(_dice(scans, found)), found)


def _dice(scans: Scans, found: Sequence[Numbers]) -> Iterator[tuple[str, float | None]]:
    overlaps = [
        label_overlaps(numbers, query.label, ignored=UNKNOWN)
        for numbers, query in zip(found, scans.queries, strict=True)
    ]
    for name, number in scans.structures.items():
        known = [one[number].dice for one in overlaps if number in one and one[number].truth]
        yield name, mean(known) if known else None
