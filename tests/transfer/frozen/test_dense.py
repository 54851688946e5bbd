from pathlib import Path

import nibabel as nib
import numpy as np

from mass3d.transfer.frozen.dense import write_dense
from mass3d.volume.geometry import Grid


def test_cells_lie_over_the_voxels_that_they_are_made_of(tmp_path: Path) -> None:
    affine = np.array([[0, 0, 3.0, -10], [0, 3, 0, 20], [3, 0, 0, 5], [0, 0, 0, 1]])
    grid = Grid.make((8, 6, 10), affine)
    cells = np.random.default_rng(0).normal(size=(7, 4, 3, 5)).astype(np.float32)
    write_dense(tmp_path / "x.nii.gz", cells, grid, stride=2)
    image = nib.load(tmp_path / "x.nii.gz")
    voxels = np.asarray(image.dataobj)
    assert voxels.shape == (5, 3, 4, 7)
    d, h, w = 3, 1, 2
    np.testing.assert_array_equal(voxels[w, h, d], cells[:, d, h, w])
    block = np.array(
        [[2 * d + i, 2 * h + j, 2 * w + k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    )
    middle = (affine @ block.T).mean(axis=1)
    np.testing.assert_allclose(image.affine @ [w, h, d, 1], middle)
