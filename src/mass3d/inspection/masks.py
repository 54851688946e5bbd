"""What the masks of a case are like: as a whole, by engine, and against labels where given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mass3d.execution.proposals import mask_notes
from mass3d.io.datasets.cohort import find_label
from mass3d.io.datasets.dataset_json import read_structures
from mass3d.io.read import read_label
from mass3d.masks.layers import MaskSet
from mass3d.masks.quality import Quality, agreement, best_dice, by_engine, measure
from mass3d.store.reader import StoredCase
from mass3d.volume.body import body_mask
from mass3d.volume.resample import place_label
from mass3d.volume.volume import Modality

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
