"""Scans that lie any way in the world, and where their voxels are, one voxel at a time."""

from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Affine = NDArray[np.float64]


def orientations() -> list[NDArray[np.float64]]:
    """The 48 ways (3 x 3) in which the axes of a file can lie along the axes of the world."""
    return [
        np.diag(signs) @ np.eye(3)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]


def affine(
    axes: NDArray[np.float64],
    *,
    spacing_mm: tuple[float, float, float] = (1.0, 2.5, 0.7),
    origin_mm: tuple[float, float, float] = (-31.0, 12.5, 400.25),
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Affine:
    """File index -> RAS+ mm: axes (3 x 3), turned by `tilt_deg` about x, y and z of the world."""
    turned = Rotation.from_euler("xyz", tilt_deg, degrees=True).as_matrix() @ axes
    matrix = np.eye(4)
    matrix[:3, :3] = turned * np.array(spacing_mm)
    matrix[:3, 3] = origin_mm
    return matrix


def positions(shape: tuple[int, int, int], matrix: Affine) -> NDArray[np.float64]:
    """World position (*shape, 3) in mm of every voxel."""
    found = np.empty((*shape, 3))
    for index in np.ndindex(*shape):
        found[index] = (matrix @ np.array([*index, 1.0]))[:3]
    return found
