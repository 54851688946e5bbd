"""One resampling rule for everything: images linear and anti-aliased, labels nearest.

Both grids cover the same box of the world with parallel axes (see `Grid.resampled`), so every
operation works along one axis at a time and memory stays near one volume. Only `place_image` and
`place_label` take any two grids.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from mass3d.volume.geometry import Grid

TIE_VOX = 1e-4  # a centre between two voxels goes to the upper one, rounding errors or not
SLAB_VOXELS = 2**23  # voxels of a slab on the way through an axis: bounds the extra memory


def resample_image(voxels: NDArray[Any], old: Grid, new: Grid) -> NDArray[np.float32]:
    """Linear interpolation, each axis averaged with a triangle as wide as the coarser voxel.

    voxels (D, H, W) on `old` -> float32 (D', H', W') on `new`. A constant stays that constant;
    where the new voxels are larger, the triangle widens with them, so nothing is aliased.
    """
    _require_same_box(old, new)
    image = voxels.astype(np.float32, copy=False)
    # shrinking axes first: the later ones then have less to do
    order = sorted(range(3), key=lambda axis: new.shape[axis] / old.shape[axis])
    for axis in order:
        if image.shape[axis] != new.shape[axis]:
            image = _along(image, linear_weights(image.shape[axis], new.shape[axis]), axis)
    return image


def resample_label(voxels: NDArray[Any], old: Grid, new: Grid) -> NDArray[Any]:
    """Nearest voxel centre: (D, H, W) on `old` -> the same type on `new`."""
    _require_same_box(old, new)
    for axis in range(3):
        voxels = voxels.take(nearest(voxels.shape[axis], new.shape[axis]), axis=axis)
    return np.ascontiguousarray(voxels)


def place_label(voxels: NDArray[Any], old: Grid, new: Grid) -> NDArray[Any]:
    """Nearest voxel centre by position: (D, H, W) on `old` -> the same type on `new`, 0 outside.

    The grids may lie in any way to each other; parallel ones are faster.
    """
    to_old = np.linalg.inv(old.affine) @ new.affine
    placed = np.zeros(new.shape, voxels.dtype)
    turned = np.abs(to_old[:3, :3]) * np.array(new.shape)
    np.fill_diagonal(turned, 0)
    if turned.sum() < TIE_VOX:
        rows = [to_old[a, a] * np.arange(new.shape[a]) + to_old[a, 3] for a in range(3)]
        indices = [_index(row) for row in rows]
        inside = [
            np.flatnonzero((index >= 0) & (index < n))
            for index, n in zip(indices, old.shape, strict=True)
        ]
        taken = [index[kept] for index, kept in zip(indices, inside, strict=True)]
        placed[np.ix_(*inside)] = voxels[np.ix_(*taken)]
        return placed
    h, w = np.ogrid[: new.shape[1], : new.shape[2]]
    for d in range(new.shape[0]):
        indices = [_index(row[0] * d + row[1] * h + row[2] * w + row[3]) for row in to_old[:3]]
        within = np.ones(new.shape[1:], bool)
        for index, n in zip(indices, old.shape, strict=True):
            within &= (index >= 0) & (index < n)
        placed[d][within] = voxels[tuple(index[within] for index in indices)]
    return placed


def place_image(voxels: NDArray[np.float32], old: Grid, new: Grid) -> NDArray[np.float32]:
    """Linear interpolation by position: (D, H, W) on `old` -> on `new`; the last voxel outside.

    The grids may lie in any way to each other, but have voxels of about one size: nothing is
    averaged.
    """
    to_old = np.linalg.inv(old.affine) @ new.affine
    placed: NDArray[np.float32] = ndimage.affine_transform(
        voxels,
        to_old[:3, :3],
        to_old[:3, 3],
        new.shape,
        output=np.float32,
        order=1,
        mode="nearest",
    )
    return placed


def linear_weights(old: int, new: int) -> sparse.csr_array:
    """(new, old) weights of one axis; every row sums to one, edges repeat the last voxel."""
    scale = old / new
    half = max(1.0, scale)  # half the base of the triangle, in old voxels
    centres = (np.arange(new) + 0.5) * scale - 0.5
    reach = int(np.ceil(half))
    taps = np.floor(centres)[:, None].astype(np.int64) + np.arange(-reach, reach + 2)
    weights = np.clip(1 - np.abs(taps - centres[:, None]) / half, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(new), taps.shape[1])
    columns = np.clip(taps, 0, old - 1).ravel()
    entries = (weights.ravel().astype(np.float32), (rows, columns))
    matrix: sparse.csr_array = sparse.coo_array(entries, shape=(new, old)).tocsr()
    matrix.eliminate_zeros()
    return matrix


def nearest(old: int, new: int) -> NDArray[np.int64]:
    """(new,) old index whose voxel holds each new centre; the upper one where two share it."""
    # whole numbers, because rounding errors would choose now the lower, now the upper of two
    return (2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new)


def _index(places: NDArray[np.float64]) -> NDArray[np.int64]:
    """The voxels whose centres are nearest to places along one axis."""
    return np.floor(places + (0.5 + TIE_VOX)).astype(np.int64)


def _along(image: NDArray[np.float32], weights: sparse.csr_array, axis: int) -> NDArray[np.float32]:
    """Apply (new, old) weights to one axis, in slabs across another axis."""
    new = weights.shape[0]
    shape = list(image.shape)
    shape[axis] = new
    out = np.empty(shape, np.float32)
    other = 1 if axis == 0 else 0
    thickness = max(1, SLAB_VOXELS * image.shape[other] // max(1, image.size))
    for start in range(0, image.shape[other], thickness):
        box: list[slice] = [slice(None)] * 3
        box[other] = slice(start, start + thickness)
        slab = np.moveaxis(image[tuple(box)], axis, 0)
        flat = np.ascontiguousarray(slab).reshape(slab.shape[0], -1)
        moved = (weights @ flat).reshape(new, *slab.shape[1:])
        out[tuple(box)] = np.moveaxis(moved, 0, axis)
    return out


def _require_same_box(old: Grid, new: Grid) -> None:
    """Fail loudly when a caller mixes grids of different scans."""
    corners = [
        (grid.affine @ np.append(np.array(end) - 0.5, 1.0))[:3]
        for grid in (old, new)
        for end in ((0, 0, 0), grid.shape)
    ]
    tolerance = 1e-3 * max(*old.spacing_mm, *new.spacing_mm)
    assert np.allclose(corners[0], corners[2], atol=tolerance), "grids of different boxes"
    assert np.allclose(corners[1], corners[3], atol=tolerance), "grids of different boxes"
