"""Whether the agreement of references, or the expected Dice, tells good results from bad ones.

    mass3d segment DATA/imagesTs --task several.task -o FOUND
    mass3d evaluate FOUND DATA/labelsTs -o SCORES
    python experiments/agreement.py FOUND SCORES [expected_dice]

Prints Spearman's rank correlation of agreement and Dice: over all scans and structures, and over
the scans for each structure.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.stats import spearmanr

FEWEST = 5  # scans of a structure

Pair = tuple[str, float, float]  # structure, agreement or expected Dice, Dice


def main(found: Path, scores: Path, column: str = "agreement") -> dict[str, float]:
    """The correlations, by structure; "" is all together. column: of volumes.csv."""
    pairs = read_pairs(found, scores, column)
    structures = ["", *sorted({structure for structure, _, _ in pairs})]
    told: dict[str, float] = {}
    for name in structures:
        some = [pair[1:] for pair in pairs if name in ("", pair[0])]
        if len(some) >= FEWEST:
            told[name] = rank_correlation(some)
            Console().print(f"{name or 'all'}: {told[name]:.2f} over {len(some)}")
    return told


def read_pairs(found: Path, scores: Path, column: str) -> list[Pair]:
    """What is known of every structure of every scan that has both."""
    hints = table(found / "volumes.csv", column)
    dice = table(scores / "cases.csv", "dice")
    return [(key[1], hints[key], dice[key]) for key in sorted(hints.keys() & dice.keys())]


def table(file: Path, column: str) -> dict[tuple[str, str], float]:
    """(case, structure) -> a column of numbers, without what is empty."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {(row["case"], row["structure"]): float(row[column]) for row in rows if row[column]}


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Of hints and Dice."""
    columns = np.array(pairs)
    return float(spearmanr(columns[:, 0], columns[:, 1]).statistic)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
