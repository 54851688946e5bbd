"""Arrays instead of files: make a task from a labelled array, segment another array.

    python examples/in_memory.py run/

Needs the folder of a pretrained run. The arrays are two phantoms here; replace them with yours:
`Volume.from_file_order(array, affine)` takes them as nibabel gives them, and
`Volume.from_array(array, spacing_mm=(d, h, w))` takes (D, H, W).
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

import mass3d
from mass3d.metrics.overlap import dice
from mass3d.phantom import STRUCTURES, draw_phantom
from mass3d.volume.volume import Volume


def main(run: Path) -> Volume:
    """Use one phantom as the example, segment another, print the Dice of every structure."""
    model = mass3d.load(run)
    example, new = (draw_phantom(seed=7, index=index) for index in (0, 2))
    task = model.task(
        [Volume.from_file_order(example.image, example.affine)],
        [Volume.from_file_order(example.label, example.affine)],
        STRUCTURES,
    )
    found = model.segment(Volume.from_file_order(new.image, new.affine), task)
    truth = Volume.from_file_order(new.label, new.affine).voxels
    for name, value in STRUCTURES.items():
        Console().print(f"{name}: Dice {dice(found.voxels == value, truth == value):.3f}")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
