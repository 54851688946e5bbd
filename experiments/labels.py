"""Curves of labels that were measured in parts, joined: rows, plot and table.

    python experiments/labels.py CURVE... -o OUT

Each CURVE is a folder that `mass3d curve` wrote, all of one dataset and of equal settings, but for
`--labels`, `--draws`, `--against` and `--seed`: the first draw of `--seed 2` is the third of
`--seed 0`, so draws can be measured on several machines. `OUT.csv` gets a line per start, number
of labels, draw and test scan, and keeps what it held; `OUT.svg` is the plot. The table is printed,
with what it says. Without a CURVE both are made of what `OUT.csv` holds.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from mass3d.files import read_json, write_text
from mass3d.pages.curve import make_plot
from mass3d.pages.html import render
from mass3d.transfer.curves.curves import Curves
from mass3d.transfer.curves.files import TABLE

KEY: Final = ("start", "labels", "draw", "case")


class Key(NamedTuple):
    """A test scan as one model sees it."""

    start: str
    labels: int
    draw: int
    case: str


Rows = dict[Key, dict[str, float]]  # Dice by structure; what was not scored is left out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curves", type=Path, nargs="*")
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    file = asked.output.with_suffix(".csv")
    rows = rows_of(file.read_text()) if file.exists() else {}
    for folder in asked.curves:
        rows |= measured(folder)
    curves = joined(rows)
    write_text(file, as_csv(rows, curves))
    write_text(file.with_suffix(".svg"), render("curve.svg", plot=make_plot(curves.marks())))
    print(table(curves), *(f"- {sentence}" for sentence in curves.verdict()), sep="\n")


def measured(folder: Path) -> Rows:
    """What a curve scored; draws counted from seed 0."""
    seed = read_json(folder / "record.json")["config"]["seed"]
    found: Rows = {}
    for line in csv.DictReader(io.StringIO((folder / TABLE).read_text())):
        key = Key(line["start"], int(line["labels"]), seed + int(line["draw"]), line["case"])
        found.setdefault(key, {})[line["structure"]] = float(line["dice"])
    return found


def rows_of(text: str) -> Rows:
    """The rows of a table that `as_csv` wrote."""
    return {
        Key(line["start"], int(line["labels"]), int(line["draw"]), line["case"]): {
            name: float(dice) for name, dice in line.items() if name not in KEY and dice
        }
        for line in csv.DictReader(io.StringIO(text))
    }


def as_csv(rows: Rows, curves: Curves) -> str:
    """A line per row, start by start, and a column per structure of three digits."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*KEY, *curves.structures])
    for key, dice in sorted(rows.items(), key=lambda row: (curves.starts.index(row[0][0]), row[0])):
        cells = (f"{dice[name]:.3f}" if name in dice else "" for name in curves.structures)
        lines.writerow([*key, *cells])
    return text.getvalue()


def joined(rows: Rows) -> Curves:
    """The rows as the curves of one command; the first start is that of the first row."""
    starts = tuple(dict.fromkeys(key.start for key in rows))
    labels = tuple(sorted({key.labels for key in rows}))
    draws = sorted({key.draw for key in rows})
    cases = tuple(sorted({key.case for key in rows}))
    structures = tuple(dict.fromkeys(name for dice in rows.values() for name in dice))
    found = np.full([len(axis) for axis in (starts, labels, draws, cases, structures)], np.nan)
    for key, dice in rows.items():
        axes = zip((starts, labels, draws, cases), key, strict=True)
        place = tuple(axis.index(at) for axis, at in axes)
        found[place] = [dice.get(name, np.nan) for name in structures]
    return Curves(starts, labels, cases, structures, found, seed=0)


def table(curves: Curves) -> str:
    """A line per number of labels, a column per start."""
    marks = {(mark.start, mark.labels): mark for mark in curves.marks()}
    lines = ["| labels | draws | " + " | ".join(curves.starts) + " |"]
    lines += ["|--:|--:|" + "---|" * len(curves.starts)]
    for labels in curves.labels:
        some = [marks.get((start, labels)) for start in curves.starts]
        draws = sorted({int(np.isfinite(one.draws).sum()) for one in some if one})
        cells = [one.dice.in_words() if one else "" for one in some]
        lines.append(f"| {labels} | {' to '.join(map(str, draws))} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
