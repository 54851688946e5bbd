"""Features of scans from a pretrained network: similar scans, and prediction of labels.

    python examples/frozen_features.py scans/ labels.csv run/ out/

labels.csv has a column `case` with the names of the scans, and a column for each target.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

import mass3d


def main(argv: Sequence[str] | None = None) -> None:
    """Embed the scans once, then predict every column of the labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path, help="folder of scans")
    parser.add_argument("labels", type=Path, help="CSV file")
    parser.add_argument("run", type=Path, help="run folder of the pretrained model")
    parser.add_argument("output", type=Path, help="folder for everything")
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args(argv)
    console, embedded = Console(), given.output / "embedded"

    report = mass3d.embed(inputs=[given.scans], model=given.run, output=embedded, untrained=True)
    report.show(console)
    with np.load(embedded / "embeddings.npz") as rows:  # for classifiers of your own
        console.print("scans and features:", rows["features"].shape)
    for case, near in report.neighbours.items():
        console.print(case, "is most like", near[0].case)

    probed = mass3d.probe(
        inputs=[embedded], labels=given.labels, output=given.output / "probed", folds=given.folds
    )
    probed.show(console)
    for target, result in probed.results.items():
        for head in result.heads:
            scores = {name: score.in_words() for name, score in head.scores.items()}
            console.print(target, head.source, head.head, scores)


if __name__ == "__main__":
    main()
