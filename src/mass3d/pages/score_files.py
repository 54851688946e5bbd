"""The files of `mass3d evaluate`: JSON, tables, and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mass3d.files import write_json, write_text
from mass3d.metrics.cases import Cases, StructureScores
from mass3d.metrics.scores import METRICS
from mass3d.pages.evaluate import StructureRow, write_evaluate_page
from mass3d.pages.score_tables import case_rows, paired_rows, paired_tex, scores_tex, structure_rows
from mass3d.transfer.evaluation.comparison import Compared
from mass3d.transfer.evaluation.report import PAGE, Evaluated

FILE: Final = "metrics.json"
CASES: Final = "cases.csv"
STRUCTURES: Final = "structures.csv"
LATEX: Final = "scores.tex"
PAIRED: Final = "comparison.csv"
PAIRED_LATEX: Final = "comparison.tex"


def write_scores(
    report: Evaluated,
    *,
    cases: Cases,
    pictures: Mapping[str, str],
    volumes: Mapping[str, str],
    facts: Mapping[str, Any],
) -> None:
    """Write all files of an evaluation. facts: of the settings, for the JSON."""
    output, means, structures = report.output, report.means, report.structures
    without_prediction, comparison = report.labels_without_prediction, report.comparison
    write_text(output / CASES, case_rows(report.scores, cases, structures))
    write_text(output / STRUCTURES, structure_rows(structures))
    write_text(output / LATEX, scores_tex(structures, means))
    told = {
        "mean": {**means["dice"].plain("dice"), "n": sum(map(bool, report.dice.values()))},
        "metrics": {name: mean.plain() for name, mean in means.items()},
        "structures": {name: _structure(found) for name, found in structures.items()},
        "labels_without_prediction": {
            "n": len(without_prediction),
            "cases": list(without_prediction),
        },
        "faults": [fault.plain() for fault in report.faults],
        "warnings": list(report.warnings),
        **facts,
    }
    if comparison is not None:
        told["comparison"] = comparison.plain()
    _write_comparison(output, comparison)
    write_json(output / FILE, told)
    write_evaluate_page(
        output / PAGE,
        mean=means["dice"],
        structures=list(map(_row, structures, structures.values())),
        dice=report.dice,
        comparison=comparison,
        pictures=pictures,
        volumes=volumes,
        summary=report.told(),
        without_prediction=without_prediction,
        faults=report.faults,
        warnings=report.warnings,
    )


def _write_comparison(output: Path, comparison: Compared | None) -> None:
    """Write the tables of a comparison; without one, those of an earlier one go."""
    if comparison is None:
        for name in (PAIRED, PAIRED_LATEX):
            (output / name).unlink(missing_ok=True)
        return
    write_text(output / PAIRED, paired_rows(comparison.ours, comparison.theirs))
    found = {name: one.structures for name, one in comparison.metrics.items()}
    write_text(output / PAIRED_LATEX, paired_tex(found))


def _structure(found: StructureScores) -> dict[str, Any]:
    return {
        "value": found.value,
        "dice": {**found.dice.plain(), "n": found.n},
        **{name: interval.plain() for name, interval in found.others.items()},
        **asdict(found.seen),
    }


def _row(name: str, found: StructureScores) -> StructureRow:
    others = tuple((METRICS[one], mean.mean) for one, mean in found.others.items())
    return StructureRow(name, found.value, found.dice, found.n, found.seen, others)
