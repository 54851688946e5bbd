"""What a curve leaves: `curve.json` with means and words, `curve.csv` with every score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from mass3d.files import csv_text, write_json, write_text
from mass3d.metrics.statistics import rounded
from mass3d.transfer.curves.curves import Curves
from mass3d.transfer.curves.plan import Plan, Point

JSON_FILE: Final = "curve.json"
TABLE: Final = "curve.csv"


def write_files(
    folder: Path, plan: Plan, curves: Curves, training: Mapping[Point, tuple[str, ...]]
) -> None:
    """Write both. training: ids of the labelled scans of each point. Raises `OutputError`."""
    write_json(folder / JSON_FILE, as_json(plan, curves, training))
    write_text(folder / TABLE, as_csv(curves))


def as_json(
    plan: Plan, curves: Curves, training: Mapping[Point, tuple[str, ...]]
) -> dict[str, Any]:
    """Everything but the single scores; training as for `write_files`."""
    return {
        "starts": list(curves.starts),
        "labels": list(curves.labels),
        "draws": plan.draws,
        "structures": list(curves.structures),
        "tests": list(curves.cases),
        "training": {
            f"{point.labels}-{point.draw}": list(ids)
            for point, ids in training.items()
            if point.start == plan.starts[0]
        },
        "points": [
            {
                "start": mark.start,
                "labels": mark.labels,
                "draws": [rounded(mean) for mean in mark.draws],
                **mark.dice.plain("dice"),
            }
            for mark in curves.marks()
        ],
        "gains": [
            {
                "over": gain.over,
                "labels": gain.labels,
                "verdict": gain.verdict,
                **gain.dice.plain("gain"),
            }
            for gain in curves.gains()
        ],
        "verdict": list(curves.verdict()),
    }


def as_csv(curves: Curves) -> str:
    """A line for every score."""
    rows = (
        [
            curves.starts[start],
            curves.labels[labels],
            draw,
            curves.cases[case],
            curves.structures[structure],
            rounded(float(curves.table[start, labels, draw, case, structure])),
        ]
        for start, labels, draw, case, structure in np.argwhere(~np.isnan(curves.table)).tolist()
    )
    return csv_text(("start", "labels", "draw", "case", "structure", "dice"), rows)
