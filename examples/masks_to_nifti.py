"""Look at proposed masks: write one layer of a case as a label map, to be overlaid on its scan.

    python examples/masks_to_nifti.py store/ case_001 masks.nii.gz --layer 0 --largest-ml 50

The masks of a layer are nested. Written are the largest ones of at most `--largest-ml`, each with
its own number; masks inside them are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mass3d.io.write import write_label
from mass3d.store.reader import Store, StoredCase
from mass3d.volume.resample import resample_label


def disjoint_masks(case: StoredCase, layer: int, *, most_vox: float) -> list[int]:
    """Rows of the largest masks of a layer that have at most `most_vox` voxels."""
    table = case.table
    chosen: list[int] = []
    for row in np.flatnonzero(table.layer == layer):  # parents stand before their children
        around = table.parent[row]
        small = table.voxels[row] <= most_vox
        if small and (around < 0 or table.voxels[around] > most_vox):
            chosen.append(int(row))
    return chosen


def main(argv: Sequence[str] | None = None) -> None:
    """Write the label map on the grid of the scan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("case")
    parser.add_argument("output", type=Path)
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--largest-ml", type=float, default=50.0)
    given = parser.parse_args(argv)
    case = Store.open(given.store).case(given.case)
    voxel_ml = float(np.prod(case.grid.spacing_mm)) / 1000
    masks = case.masks()
    labels = np.zeros(case.shape, np.uint16)
    rows = disjoint_masks(case, given.layer, most_vox=given.largest_ml / voxel_ml)
    for number, row in enumerate(rows, start=1):
        box = masks.table.slices(row)
        labels[box][masks.inside(row, box)] = number
    write_label(given.output, resample_label(labels, case.grid, case.source.grid), case.source)


if __name__ == "__main__":
    main()
