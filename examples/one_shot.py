"""The whole path by files: learn from scans without labels, show one example, segment new scans.

    python examples/one_shot.py scans/ a.nii.gz a_label.nii.gz new_scans/ out/

Killed at any moment, the same line goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import mass3d


def main(argv: Sequence[str] | None = None) -> None:
    """Do every step and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path, help="folder of scans to learn from")
    parser.add_argument("example", type=Path, help="one scan")
    parser.add_argument("label", type=Path, help="its label map")
    parser.add_argument("new", type=Path, help="folder of scans to segment")
    parser.add_argument("output", type=Path, help="folder for everything")
    parser.add_argument("--steps", type=int, default=3000, help="steps of pretraining")
    parser.add_argument("--spacing", default="auto", help="edge of the cubic voxels in mm")
    given = parser.parse_args(argv)
    console, out = Console(), given.output

    prepared = mass3d.prepare(inputs=[given.scans], output=out / "store", spacing_mm=given.spacing)
    prepared.show(console)  # the summary, then every scan that could not be prepared

    mass3d.pretrain(store=out / "store", output=out / "run", fit={"steps": given.steps}).show(
        console
    )

    mass3d.task(
        images=[given.example], labels=[given.label], model=out / "run", output=out / "one.task"
    ).show(console)

    found = mass3d.segment(inputs=[given.new], task=out / "one.task", output=out / "found")
    found.show(console)
    for case, volumes in found.volumes_ml.items():
        console.print(case, volumes)


if __name__ == "__main__":  # cases are worked on in fresh processes that import this file
    main()
