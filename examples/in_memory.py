"""Arrays instead of files: a task from a labelled array, used on another array.

    python examples/in_memory.py run/

Needs the folder of a pretrained run. The arrays are two phantoms here; put yours in their place.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import mass3d
from mass3d.io.phantom import STRUCTURES, draw_phantom
from mass3d.metrics.overlap import dice
from mass3d.transfer.incontext import encode_reference, predict, to_labels
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.preparation import prepare_label, prepare_volume
from mass3d.volume.resample import resample_probabilities
from mass3d.volume.volume import Volume


def make_task(
    trained: TrainedModel, scan: Volume, label: Volume, structures: dict[str, int]
) -> Task:
    """What `trained` makes of one labelled scan."""
    prepared = prepare_volume(scan, trained.preparation)
    shown = prepare_label(label, prepared.grid)
    tokens, present = encode_reference(trained, prepared, shown, list(structures.values()))
    return Task(
        tokens=tokens[None],  # one reference
        present=present[None],
        structures=structures,
        references=("in memory",),
        model=trained.fingerprint,
        run="",
    )


def segment(trained: TrainedModel, scan: Volume, task: Task) -> NDArray[np.uint16]:
    """Label map (D, H, W) on the grid of `scan`."""
    prepared = prepare_volume(scan, trained.preparation)
    probabilities = predict(trained, prepared, task, overlap=0.5).numpy()
    fine = resample_probabilities(probabilities, prepared.grid, scan.grid)
    return to_labels(fine, list(task.structures.values()))


def volume(array: NDArray[Any], affine: NDArray[np.float64], dtype: Any = np.float32) -> Volume:
    """An array in file order (i, j, k) with its affine (to RAS+ mm) as a volume.

    An array that is (D, H, W) already is `Volume.from_array(array, spacing_mm=(d, h, w))`.
    """
    shape = (array.shape[0], array.shape[1], array.shape[2])
    source = SourceGrid.nearest(shape, affine)
    voxels = np.ascontiguousarray(source.to_canonical(array), dtype=dtype)
    return Volume(voxels, source.grid, source)


def main(run: Path) -> NDArray[np.uint16]:
    """Show one phantom, segment another, print the Dice of every structure."""
    trained = mass3d.load(run)
    example, new = (draw_phantom(seed=7, index=index) for index in (0, 2))
    task = make_task(
        trained,
        volume(example.image, example.affine),
        volume(example.label, example.affine, np.uint16),
        STRUCTURES,
    )
    found = segment(trained, volume(new.image, new.affine), task)
    truth = volume(new.label, new.affine, np.uint16).voxels
    for name, value in STRUCTURES.items():
        Console().print(f"{name}: Dice {dice(found == value, truth == value):.3f}")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
