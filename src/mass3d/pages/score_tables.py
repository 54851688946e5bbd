"""Scores as tables: CSV for programs, LaTeX for papers, text for a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from mass3d.files import csv_text
from mass3d.metrics.cases import NOTHING, Cases, StructureScores
from mass3d.metrics.paired import Paired
from mass3d.metrics.scores import METRICS, Seen
from mass3d.metrics.statistics import Interval, rounded
from mass3d.transfer.evaluation.comparison import Scores

SIZES: Final = ("truth_voxels", "prediction_voxels", "truth_ml", "prediction_ml")  # of cases.csv
LESIONS: Final = ("truth_lesions", "found_lesions", "prediction_lesions")  # likewise
SPECIAL: Final = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def case_rows(scores: Scores, cases: Cases, structures: Mapping[str, StructureScores]) -> str:
    """One row per case and structure, as CSV; an empty score was not scored."""
    lesions = LESIONS if "false_lesions" in scores else ()
    columns = ("case", "structure", *scores, *lesions, *SIZES)
    return csv_text(columns, _case_rows(scores, cases, structures))


def _case_rows(
    scores: Scores, cases: Cases, structures: Mapping[str, StructureScores]
) -> Iterator[Sequence[Any]]:
    told = "false_lesions" in scores
    for case, scored in cases.items():
        for name, found in structures.items():
            overlap = scored.overlaps.get(found.value, NOTHING)
            voxels = (overlap.truth, overlap.predicted)
            own = (rounded(one[case].get(name, math.nan)) for one in scores.values())
            millilitres = (round(count * scored.voxel_ml, 4) for count in voxels)
            lesions = scored.score(found.value).lesions
            counts = (lesions.truth, lesions.found, lesions.predicted) if told else ()
            yield case, name, *own, *counts, *voxels, *millilitres


def structure_rows(structures: Mapping[str, StructureScores]) -> str:
    """One row per structure, as CSV: means with their intervals, and the counts of cases.

    A mean is empty where nothing was scored, an interval with fewer than two cases.
    """
    metrics = ["dice", *next(iter(structures.values())).others]
    ends = (f"{name}{end}" for name in metrics for end in ("", "_low", "_high"))
    rows = []
    for name, found in structures.items():
        means = {"dice": found.dice, **found.others}.values()
        figures = (rounded(n) for mean in means for n in (mean.mean, mean.low, mean.high))
        rows.append((name, found.value, found.n, *figures, *asdict(found.seen).values()))
    counts = [each.name for each in fields(Seen)]
    return csv_text(("structure", "value", "n", *ends, *counts), rows)


def paired_rows(ours: Scores, theirs: Scores) -> str:
    """One row per case, structure and metric that both were scored in, as CSV."""
    rows = (
        (case, name, metric, rounded(score), rounded(other), rounded(score - other))
        for metric, by_case in ours.items()
        for case, scores in by_case.items()
        for name, score in scores.items()
        if (other := theirs[metric].get(case, {}).get(name)) is not None
    )
    return csv_text(("case", "structure", "metric", "score", "against", "difference"), rows)


def structures_tables(structures: Mapping[str, StructureScores]) -> list[Table]:
    """For a terminal, a row for each structure: Dice and counts, then what else was asked for."""
    asked = [
        name
        for name, metric in METRICS.items()
        if (metric.surface or metric.lesions)
        and any(name in found.others for found in structures.values())
    ]
    return [_counts_table(structures), *([_means_table(structures, asked)] if asked else [])]


def _counts_table(structures: Mapping[str, StructureScores]) -> Table:
    first = Column("structure", overflow="fold"), Column("Dice", no_wrap=True)
    counted_in = ("scored", "labelled", "predicted", "missed", "extra")
    table = Table(*first, *counted_in, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, found in structures.items():
        counts = (found.n, *asdict(found.seen).values())
        table.add_row(Text(name), Text(found.dice.in_words()), *map(str, counts))
    return table


def _means_table(structures: Mapping[str, StructureScores], names: Sequence[str]) -> Table:
    first = Column("structure", overflow="fold")
    table = Table(first, *(METRICS[name].label for name in names), box=SIMPLE_HEAD)
    for name, found in structures.items():
        means = [(found.others[one].mean, METRICS[one].digits) for one in names]
        table.add_row(Text(name), *(f"{mean:.{digits}f}" for mean, digits in means))
    return table


def scores_tex(structures: Mapping[str, StructureScores], means: Mapping[str, Interval]) -> str:
    """A table of structures by metrics; it needs the package booktabs."""
    head = ["Structure", "Cases", *(_escaped(METRICS[name].label) for name in means)]
    rows = [
        [_escaped(name), str(found.n), *_cells({"dice": found.dice, **found.others})]
        for name, found in structures.items()
    ]
    return _tabular(head, rows, ["Mean", "", *_cells(means)])


def paired_tex(found: Mapping[str, Mapping[str, Paired]]) -> str:
    """A table of structures for every metric: differences, and p-values of both tests."""
    return "\n".join(_paired_table(metric, rows) for metric, rows in found.items())


def _paired_table(metric: str, found: Mapping[str, Paired]) -> str:
    label, digits = METRICS[metric].label, METRICS[metric].digits
    head = ["Structure", "Cases", *(f"{_escaped(label)}{end}" for end in ("", " (against)"))]
    head += ["Difference", r"$p$ (Wilcoxon)", r"$p$ (permutation)"]
    rows = [
        [
            *(_escaped(name), str(one.n), _number(one.ours, digits), _number(one.theirs, digits)),
            _interval(one.difference, digits),
            *(_p_value(one.wilcoxon_holm), _p_value(one.permutation_holm)),
        ]
        for name, one in found.items()
    ]
    return _tabular(head, rows)


def _tabular(head: Sequence[str], rows: Sequence[Sequence[str]], last: Sequence[str] = ()) -> str:
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule"]
    lines += [_line(head), r"\midrule", *map(_line, rows)]
    if last:
        lines += [r"\midrule", _line(last)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _cells(means: Mapping[str, Interval]) -> Iterator[str]:
    return (_interval(mean, METRICS[name].digits) for name, mean in means.items())


def _interval(found: Interval, digits: int) -> str:
    ends = f"[{_number(found.low, digits)}, {_number(found.high, digits)}]"
    return _number(found.mean, digits) + ("" if math.isnan(found.low) else f" {ends}")


def _number(value: float, digits: int) -> str:
    return "--" if math.isnan(value) else f"${value:.{digits}f}$"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return "--"
    return "$<0.001$" if value < 0.001 else f"${value:.3f}$"


def _escaped(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda found: SPECIAL[found[0]], text)
