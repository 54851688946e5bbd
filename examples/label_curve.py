"""How many labels are enough, and what pretraining is worth: Dice on held-out scans.

    python examples/label_curve.py run/ Dataset001/ out/ --labels 1 5 20% all

If it is killed, the same command continues where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import mass3d


def main(argv: Sequence[str] | None = None) -> None:
    """Finetune with each number of labels, pretrained and from scratch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder of the pretrained model")
    parser.add_argument("data", type=Path, help="labelled scans, as a dataset of nnU-Net")
    parser.add_argument("output", type=Path, help="folder for everything")
    parser.add_argument("--labels", nargs="+", default=["1", "5", "all"])
    parser.add_argument("--validation", type=int, help="number of scans to hold out")
    parser.add_argument("--steps", type=int, default=600, help="steps of each finetuning")
    given = parser.parse_args(argv)
    console = Console()
    for number in given.labels:
        for start in ("pretrained", "scratch"):
            report = mass3d.finetune(
                images=[given.data],
                model=given.run,
                output=given.output / f"{number.rstrip('%')}-{start}",
                labels=number,
                start="pretrained" if start == "pretrained" else "scratch",
                validation=given.validation,
                fit={"steps": given.steps},
            )
            if report.scores is None:
                raise SystemExit("No scan was held out: set their number with --validation.")
            told = f"Dice {report.scores.mean}, 95 % interval {report.scores.ci95}"
            console.print(f"{len(report.training)} labels, {start}: {told}", soft_wrap=True)


if __name__ == "__main__":
    main()
