"""What a cohort is as a whole: per modality its grids and values, per structure its cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mass3d.inspection.case import BINS, PERCENTILES, CaseFacts, Histogram
from mass3d.io.datasets.layouts import IMAGES
from mass3d.volume.volume import Modality

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Range:
    """Three figures along (D, H, W): the lowest, the median and the highest of the scans."""

    lowest: Triple
    median: Triple
    highest: Triple


@dataclass(frozen=True)
class ModalityFacts:
    """All scans of one modality."""

    scans: int
    modality_from: dict[str, int]  # what the modality was read from -> scans
    orientation: dict[str, int]  # axes of the files -> scans, most first
    shape: Range
    spacing_mm: Range
    extent_mm: Range
    percentiles: dict[str, float]  # medians over the scans
    lowest: float
    highest: float


@dataclass(frozen=True)
class StructureFacts:
    """One structure over all labels of a dataset."""

    dataset: str  # as `datasets` calls it
    name: str
    cases: int  # that hold it
    labels: int  # of the dataset: all that could be read
    lowest_ml: float  # of the cases that hold it; 0 where none does
    median_ml: float
    highest_ml: float


def modality_facts(cases: Mapping[str, CaseFacts]) -> dict[Modality, ModalityFacts]:
    """Modality -> its figures, for those that occur."""
    kinds = sorted({facts.modality for facts in cases.values()})
    return {
        kind: _modality_facts([facts for facts in cases.values() if facts.modality == kind])
        for kind in kinds
    }


def structure_facts(cases: Mapping[str, CaseFacts]) -> tuple[StructureFacts, ...]:
    """Every structure of every dataset, in the order in which the labels name them."""
    held_by = datasets(cases)
    labels = Counter(held_by[case] for case, facts in cases.items() if facts.label)
    found: dict[tuple[str, str], list[float]] = {}
    for case, facts in cases.items():
        for name, ml in facts.label.ml.items() if facts.label else ():
            found.setdefault((held_by[case], name), []).append(ml)
    order = sorted(found, key=lambda key: key[0])  # stable: names stay in the order of labels
    return tuple(_structure_facts(*key, found[key], labels[key[0]]) for key in order)


def datasets(cases: Mapping[str, CaseFacts]) -> dict[str, str]:
    """Case -> the folder, just below the one that was given, that holds its dataset.

    Empty where that folder holds one case only, or just a part of a dataset.
    """
    folders = {name: _first_folder(facts.file) for name, facts in cases.items()}
    count = Counter(folders.values())
    return {name: folder if count[folder] > 1 else "" for name, folder in folders.items()}


def _first_folder(file: str) -> str:
    first, below, _ = file.partition("/")
    return first if below and not IMAGES.fullmatch(first) else ""


def pooled(histograms: Sequence[Histogram]) -> tuple[float, ...]:
    """The mean share of every bin over scans, each counting the same whatever its size."""
    counts = np.array([h.counts for h in histograms], float).reshape(-1, BINS)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return tuple(float(share) for share in shares.mean(axis=0))


def _modality_facts(scans: Sequence[CaseFacts]) -> ModalityFacts:
    return ModalityFacts(
        scans=len(scans),
        modality_from=_counted([facts.modality_from for facts in scans]),
        orientation=_counted([facts.orientation for facts in scans]),
        shape=_range([facts.shape for facts in scans]),
        spacing_mm=_range([facts.spacing_mm for facts in scans]),
        extent_mm=_range([facts.extent_mm for facts in scans]),
        percentiles={
            str(q): float(np.median([facts.intensity.percentiles[str(q)] for facts in scans]))
            for q in PERCENTILES
        },
        lowest=min(facts.intensity.lowest for facts in scans),
        highest=max(facts.intensity.highest for facts in scans),
    )


def _structure_facts(
    dataset: str, name: str, volumes_ml: Sequence[float], labels: int
) -> StructureFacts:
    held = [ml for ml in volumes_ml if ml > 0] or [0.0]
    return StructureFacts(
        dataset=dataset,
        name=name,
        cases=sum(ml > 0 for ml in volumes_ml),
        labels=labels,
        lowest_ml=min(held),
        median_ml=round(float(np.median(held)), 4),
        highest_ml=max(held),
    )


def _range(triples: Sequence[Triple]) -> Range:
    rows = np.array(triples, float)
    return Range(_triple(rows.min(0)), _triple(np.median(rows, axis=0)), _triple(rows.max(0)))


def _triple(row: Sequence[float]) -> Triple:
    d, h, w = (float(value) for value in row)
    return d, h, w


def _counted(words: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items(), key=lambda item: (-item[1], item[0])))
