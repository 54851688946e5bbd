"""What the masks of a case are like: as a whole, by engine, and against labels where given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.execution.proposals import mask_notes
from mass3d.execution.summary import counted
from mass3d.inspection.outliers import FAR, deviations
from mass3d.io.datasets.cohort import find_label
from mass3d.io.datasets.dataset_json import read_structures
from mass3d.io.read import read_label
from mass3d.masks.layers import MaskSet
from mass3d.masks.quality import Quality, agreement, best_dice, by_engine, measure
from mass3d.store.reader import Store, StoredCase
from mass3d.volume.body import body_mask
from mass3d.volume.resample import place_label
from mass3d.volume.volume import Modality

COMPARABLE = 5  # cases of a kind that there must be before one can stand out
# Figures in which a case can stand out, and the least spread of each that counts.
MIN_SPREAD: Final = {"num_masks": 0.1, "coverage": 0.02, "median": 0.1, "largest": 0.1}
TOGETHER = "together"  # all engines at once
BestDice = Mapping[str, Mapping[str, float]]  # structure -> engine or TOGETHER -> best Dice


@dataclass(frozen=True)
class CaseMasks:
    """Figures of the masks of one case."""

    modality: Modality
    quality: Quality
    engines: Mapping[str, Quality]  # in the order of their layers
    agreement: Mapping[str, Mapping[str, float]]  # engine -> other engine -> mean best IoU
    layers: tuple[tuple[str, int], ...]  # engine and number of masks of every layer
    notes: tuple[str, ...]  # masks that could not be taken, in words
    best_dice: BestDice | None  # None where there is no label

    def plain(self) -> dict[str, Any]:
        """The figures as JSON-able values; those of all engines together on top."""
        facts = asdict(self)
        return {**facts.pop("quality"), **facts}


def case_masks(case: StoredCase, *, labels: Path | None) -> CaseMasks:
    """Measure the masks of a case; `labels` is a folder of label maps, for evaluation only.

    Raises `StoreError` for a broken case and `DataError` for a broken label map.
    """
    masks = case.masks()
    body = body_mask(case.intensity.undo(case.read_image()), case.record.modality)
    engines = by_engine(masks)
    likeness: dict[str, dict[str, float]] = {name: {} for name in engines}
    for one, other in combinations(engines, 2):
        likeness[one][other], likeness[other][one] = agreement(engines[one], engines[other])
    engine_of = dict(zip(masks.table.layer.tolist(), masks.table.engine.tolist(), strict=True))
    counts = np.bincount(masks.table.layer, minlength=len(masks.ranks))
    return CaseMasks(
        modality=case.record.modality,
        quality=measure(masks, body=body),
        engines={name: measure(found, body=body) for name, found in engines.items()},
        agreement=likeness,
        layers=tuple((engine_of[layer], int(count)) for layer, count in enumerate(counts)),
        notes=mask_notes(case.record),
        best_dice=_best_dice(case, masks, engines, labels),
    )


def _best_dice(
    case: StoredCase, masks: MaskSet, engines: Mapping[str, MaskSet], labels: Path | None
) -> BestDice | None:
    """By structure, of any one mask of each engine and of all; None without a label of the case.

    A structure that is lost on the coarser grid of the store has 0: no mask can be it.
    """
    path = find_label(labels, case.case_id) if labels else None
    if labels is None or path is None:
        return None
    label = read_label(path)
    placed = place_label(label.voxels, label.grid, case.grid)
    found = {name: best_dice(one, placed) for name, one in {**engines, TOGETHER: masks}.items()}
    names = {value: name for name, value in (read_structures(labels) or {}).items()}
    values = np.flatnonzero(np.bincount(label.voxels.ravel()))
    return {
        names.get(int(v), str(v)): {name: dice.get(int(v), 0.0) for name, dice in found.items()}
        for v in values
        if v > 0
    }


def mean_best_dice(cases: Mapping[str, CaseMasks]) -> BestDice:
    """Mean over the cases that hold a structure; structures in order of their first appearance."""
    rows: dict[str, dict[str, list[float]]] = {}
    for case in cases.values():
        for structure, dice in (case.best_dice or {}).items():
            for name, value in dice.items():
                rows.setdefault(structure, {}).setdefault(name, []).append(value)
    return {
        structure: {name: float(np.mean(values)) for name, values in dice.items()}
        for structure, dice in rows.items()
    }


def dice_sentence(cases: Mapping[str, CaseMasks]) -> str:
    """How well masks fit labels, and of how many cases there are some; to be put behind another."""
    labelled = sum(case.best_dice is not None for case in cases.values())
    dice = [values[TOGETHER] for values in mean_best_dice(cases).values()]
    mean = "none"
    if dice:
        mean = f"mean best Dice {np.mean(dice):.3f} over {counted(len(dice), 'structure')}"
    return f" Against labels of {counted(labelled, 'case')}: {mean}."


@dataclass(frozen=True)
class MeasureJob:
    """A case of a store to measure."""

    root: Path
    case_id: str
    labels: Path | None


def measured(job: MeasureJob) -> CaseMasks:
    """Its masks in figures; see `case_masks`."""
    return case_masks(Store.open(job.root).case(job.case_id), labels=job.labels)


@dataclass(frozen=True)
class Deviation:
    """A figure in which a case stands out from others of its kind."""

    figure: str  # a key of `MIN_SPREAD`
    value: float
    usual: float  # median of its kind
    far: float  # robust standard deviations away


def outliers(
    cases: Mapping[str, Quality], kinds: Mapping[str, str]
) -> dict[str, tuple[Deviation, ...]]:
    """Cases that stand out from those of their kind, such as a modality; the farthest first.

    Few masks, low coverage, and a median or largest mask that is much smaller or larger than in
    others: each more than `FAR` robust standard deviations from the median. Counts and sizes are
    compared as logarithms. Kinds of less than `COMPARABLE` cases have no outliers.
    """
    found: dict[str, list[Deviation]] = {name: [] for name in cases}
    for kind in sorted(set(kinds.values())):
        names = [name for name in cases if kinds[name] == kind]
        if len(names) >= COMPARABLE:
            for figure in MIN_SPREAD:
                values = np.array([_figure(cases[name], figure) for name in names])
                for name, deviation in zip(names, _deviations(figure, values), strict=True):
                    found[name] += [deviation] if deviation.far > FAR else []
    far = {n: tuple(sorted(d, key=lambda one: -one.far)) for n, d in found.items() if d}
    return dict(sorted(far.items(), key=lambda item: (-item[1][0].far, item[0])))


def _figure(quality: Quality, figure: str) -> float:
    sizes = dict(zip(("smallest", "median", "largest"), quality.voxels, strict=True))
    return float(sizes[figure] if figure in sizes else getattr(quality, figure))


def _deviations(figure: str, values: NDArray[np.float64]) -> list[Deviation]:
    """How far each value is from the median of all; 0 on a side where it does not matter."""
    scaled = values if figure == "coverage" else np.log(np.maximum(values, 0.5))
    away = deviations(scaled, min_spread=MIN_SPREAD[figure])
    far = np.abs(away) if figure in ("median", "largest") else np.maximum(0, -away)
    usual = float(np.median(values))
    return [
        Deviation(figure, float(value), usual, float(f))
        for value, f in zip(values, far, strict=True)
    ]
