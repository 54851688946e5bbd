"""The whole pipeline with files: pretrain without labels, give one example, segment new scans.

    python examples/one_shot.py scans/ a.nii.gz a_label.nii.gz new_scans/ out/

If it is killed, the same command continues where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import mass3d


def main(argv: Sequence[str] | None = None) -> None:
    """Run every step and print its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path, help="folder of scans to pretrain on")
    parser.add_argument("example", type=Path, help="one scan")
    parser.add_argument("label", type=Path, help="its label map")
    parser.add_argument("new", type=Path, help="folder of scans to segment")
    parser.add_argument("output", type=Path, help="folder for everything")
    parser.add_argument("--steps", type=int, default=3000, help="pretraining steps")
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


if __name__ == "__main__":  # cases are processed in new processes that import this file
    main()
