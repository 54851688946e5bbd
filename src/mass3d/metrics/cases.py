"""The scores of many cases: what is counted in each, and tables of cases by structures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mass3d.metrics.lesions import NO_LESIONS, Lesions, count_lesions
from mass3d.metrics.overlap import NO_REGIONS, Overlap, label_overlaps
from mass3d.metrics.scores import Metric, Score, Seen
from mass3d.metrics.statistics import Interval, bootstrap_mean
from mass3d.metrics.surface import UNSCORED, SurfaceScores, surface_scores
from mass3d.volume.volume import Volume

NOTHING: Final = Overlap(0, 0, 0)

Absent = Literal["skip", "score"]
Table = NDArray[np.float64]  # (cases, structures): NaN where a structure is not scored in a case


@dataclass(frozen=True)
class CaseCounts:
    """What is known of every label value of a case."""

    overlaps: dict[int, Overlap]
    surfaces: dict[int, SurfaceScores]
    voxel_ml: float
    lesions: dict[int, Lesions] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        prediction: Volume,
        truth: Volume,
        *,
        ignored: int | None = None,
        tolerance_mm: float | None = None,
        lesion_overlap: float | None = None,
        regions: Mapping[int, Sequence[int]] = NO_REGIONS,
    ) -> CaseCounts:
        """Of two label maps on one grid.

        ignored: the value of voxels that nobody has annotated, which belong to no structure.
        tolerance_mm: that of NSD; None: surfaces are not scored. lesion_overlap: as
        `count_lesions`; None: they are not counted. regions: as `label_overlaps`.
        """
        overlaps = label_overlaps(prediction.voxels, truth.voxels, ignored=ignored, regions=regions)
        annotated = np.True_ if ignored is None else truth.voxels != ignored
        surfaces, lesions = {}, {}
        by_mask = tolerance_mm is not None or lesion_overlap is not None
        for value in overlaps if by_mask else ():
            found, true = (
                np.isin(one.voxels, regions.get(value, (value,))) & annotated
                for one in (prediction, truth)
            )
            if tolerance_mm is not None:
                edges = truth.spacing_mm
                surfaces[value] = surface_scores(found, true, edges, tolerance_mm=tolerance_mm)
            if lesion_overlap is not None:
                lesions[value] = count_lesions(found, true, overlap=lesion_overlap)
        return cls(overlaps, surfaces, truth.grid.voxel_ml, lesions)

    def score(self, value: int) -> Score:
        """What is known of a label value."""
        overlap, surface = self.overlaps.get(value, NOTHING), self.surfaces.get(value, UNSCORED)
        return Score(overlap, self.voxel_ml, surface, self.lesions.get(value, NO_LESIONS))


Cases = Mapping[str, CaseCounts]


def labelled_values(cases: Cases) -> dict[str, int]:
    """The structures where nothing names them: every value of any label, called by itself."""
    values = {v for case in cases.values() for v, found in case.overlaps.items() if found.truth}
    return {str(value): value for value in sorted(values)}


def score_tables(
    cases: Cases, structures: Mapping[str, int], metrics: Mapping[str, Metric], absent: Absent
) -> dict[str, Table]:
    """Metric -> its table. absent: whether what a label lacks is scored where it is predicted.

    Where neither has it, only metrics `of_nothing` are: no false lesion is a result, too.
    """
    tables = {name: np.full((len(cases), len(structures)), math.nan) for name in metrics}
    for row, case in enumerate(cases.values()):
        for column, value in enumerate(structures.values()):
            score = case.score(value)
            both = score.overlap.truth + score.overlap.predicted
            if score.overlap.truth or absent == "score":
                for name, metric in metrics.items():
                    if both or metric.of_nothing:
                        tables[name][row, column] = metric.of(score)
    return tables


def by_case(
    table: Table, cases: Iterable[str], structures: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Case -> structure -> score; what was not scored is left out."""
    names = list(structures)
    return {
        case: {
            name: float(score)
            for name, score in zip(names, row, strict=True)
            if not math.isnan(score)
        }
        for case, row in zip(cases, table, strict=True)
    }


@dataclass(frozen=True)
class StructureScores:
    """The scores of one structure over the cases in which it was scored."""

    value: int
    dice: Interval
    n: int  # scored cases
    seen: Seen
    others: dict[str, Interval]  # the further metrics, by name


def structure_scores(
    cases: Cases, structures: Mapping[str, int], tables: Mapping[str, Table], *, seed: int
) -> dict[str, StructureScores]:
    """Of every structure its means, their intervals, and in how many cases it is where."""
    found = {}
    for number, (name, value) in enumerate(structures.items()):
        means = {
            metric: bootstrap_mean(table[:, number], seed=seed) for metric, table in tables.items()
        }
        scored = int(np.isfinite(tables["dice"][:, number]).sum())
        found[name] = StructureScores(value, means.pop("dice"), scored, seen(cases, value), means)
    return found


def seen(cases: Cases, value: int) -> Seen:
    """In how many cases a value is where."""
    return Seen.of(case.overlaps.get(value, NOTHING) for case in cases.values())


def unnamed_values(cases: Cases, structures: Mapping[str, int]) -> dict[int, Seen]:
    """Values that no structure has, and in how many cases they are where."""
    values = {value for case in cases.values() for value in case.overlaps}
    return {value: seen(cases, value) for value in sorted(values - set(structures.values()))}
