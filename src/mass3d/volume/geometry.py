"""One geometry, written down once: canonical axes (D, H, W) and the grid of the source file.

Canonical axes are world (z, y, x); indices grow towards Superior, Anterior, Right. World
coordinates are RAS+ millimetres everywhere. A scan reaches this frame by swapping and flipping
axes only, so an oblique scan keeps its (oblique) affine and the way back is exact. Axes that a
header has a little off perpendicular are made perpendicular in the canonical grid alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
MAX_MM = 1e9  # from the origin of the world
MIN_EDGE_MM, MAX_EDGE_MM = 1e-5, 1e4  # of a voxel in a record; files may have fewer still
FLOAT32_COSINE = 1e-6  # between axes that are perpendicular but for the rounding of a header


@dataclass(frozen=True)
class Grid:
    """A regular grid of voxels in the world. Equality compares shape and affine exactly."""

    shape: Shape  # voxels along (D, H, W)
    index_to_world: tuple[tuple[float, ...], ...]  # 4 x 4: (d, h, w, 1) -> RAS+ (x, y, z, 1) mm

    @property
    def affine(self) -> NDArray[np.float64]:
        """`index_to_world` as an array."""
        return np.array(self.index_to_world, dtype=np.float64)

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel edge along (D, H, W)."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(d), float(h), float(w)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, in millilitres."""
        return math.prod(self.spacing_mm) / 1000

    @classmethod
    def make(cls, shape: Shape, affine: NDArray[np.float64]) -> Grid:
        """A grid from an array affine."""
        return cls(shape, tuple(tuple(float(x) for x in row) for row in affine))

    def resampled(self, spacing_mm: Spacing) -> Grid:
        """The grid with new voxel edges that covers the same box of the world.

        Edges of the box, not centres of the corner voxels, are kept, so that image, masks and
        labels stay aligned at any ratio. Every axis keeps at least one voxel.
        """
        old = np.array(self.spacing_mm)
        shape = np.maximum(1, np.round(np.array(self.shape) * old / np.array(spacing_mm))).astype(
            int
        )
        scale = np.array(self.shape) / shape  # old voxels per new voxel, exact cover
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] * scale
        affine[:3, 3] = (self.affine @ np.append(0.5 * scale - 0.5, 1.0))[:3]
        return Grid.make((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def plain(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"shape": list(self.shape), "index_to_world": [list(r) for r in self.index_to_world]}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Grid:
        """The inverse of `plain`. Raises `KeyError`, `TypeError` or `ValueError`."""
        return cls.make(_shape(plain["shape"]), _affine(plain["index_to_world"]))


@dataclass(frozen=True)
class SourceGrid:
    """The grid of a file in its own axis order (i, j, k), and how it became (D, H, W).

    `permutation[a]` is the file axis that became canonical axis a; `flips[a]` tells whether
    that axis was then reversed. `affine` maps file indices (i, j, k) to RAS+ millimetres.
    """

    shape: Shape
    affine: tuple[tuple[float, ...], ...]
    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def to_canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """File order (i, j, k) -> canonical (D, H, W); a view where possible."""
        moved = array.transpose(self.permutation)
        return moved[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def from_canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """The exact inverse of `to_canonical`."""
        unflipped = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return unflipped.transpose(tuple(int(a) for a in np.argsort(self.permutation)))

    @property
    def grid(self) -> Grid:
        """The same voxels as a canonical grid, with perpendicular axes."""
        affine = perpendicular(self.shape, np.array(self.affine, dtype=np.float64))
        shape = [self.shape[axis] for axis in self.permutation]
        columns = affine[:3, list(self.permutation)]
        origin = affine[:3, 3].copy()
        for a, flip in enumerate(self.flips):
            if flip:
                origin += columns[:, a] * (shape[a] - 1)
                columns[:, a] = -columns[:, a]
        canonical = np.eye(4)
        canonical[:3, :3], canonical[:3, 3] = columns, origin
        return Grid.make((shape[0], shape[1], shape[2]), canonical)

    @classmethod
    def nearest(cls, shape: Shape, affine: NDArray[np.float64]) -> SourceGrid:
        """Choose the axis swap and flips whose axes lie nearest to world z, y, x.

        The swap is the one of the six that maximises the total alignment, so strongly oblique
        scans still get a valid orientation.
        """
        directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
        z, y, x = 2, 1, 0
        orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
        best = max(
            orders,
            key=lambda o: sum(abs(directions[w, f]) for w, f in zip((z, y, x), o, strict=True)),
        )
        signs = [directions[w, f] < 0 for w, f in zip((z, y, x), best, strict=True)]
        return cls(
            shape,
            tuple(tuple(float(v) for v in row) for row in affine),
            best,
            (bool(signs[0]), bool(signs[1]), bool(signs[2])),
        )

    def plain(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "shape": list(self.shape),
            "affine": [list(row) for row in self.affine],
            "permutation": list(self.permutation),
            "flips": list(self.flips),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> SourceGrid:
        """The inverse of `plain`. Raises `KeyError`, `TypeError` or `ValueError`."""
        affine = _affine(plain["affine"])
        d, h, w = plain["permutation"]
        along_d, along_h, along_w = plain["flips"]
        flips = (along_d, along_h, along_w)
        if sorted((d, h, w)) != [0, 1, 2] or any(type(flip) is not bool for flip in flips):
            raise ValueError("axes that are not swapped and flipped")
        rows = tuple(tuple(float(x) for x in row) for row in affine)
        return cls(_shape(plain["shape"]), rows, (int(d), int(h), int(w)), flips)


def _shape(values: Any) -> Shape:
    d, h, w = (index(value) for value in values)
    if min(d, h, w) < 1:
        raise ValueError(f"a grid of {d} x {h} x {w} voxels")
    return d, h, w


def _affine(rows: Any) -> NDArray[np.float64]:
    """Rows of numbers as an affine map whose voxels have a size that can be."""
    affine = np.array(rows, np.float64)
    if affine.shape != (4, 4) or affine[3].tolist() != [0, 0, 0, 1]:
        raise ValueError("no affine map")
    if not np.isfinite(affine).all() or np.abs(affine).max() > MAX_MM:
        raise ValueError("a grid that lies nowhere")
    edges_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not ((edges_mm >= MIN_EDGE_MM) & (edges_mm <= MAX_EDGE_MM)).all():
        raise ValueError(f"voxel edges of {edges_mm} mm")
    return affine


def perpendicular(shape: Shape, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine with the nearest perpendicular axes, same voxel edges and same centre.

    That is the rotation of the polar decomposition of its directions. Axes that are perpendicular
    but for float32 rounding are kept bit by bit.
    """
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / edges
    if np.abs(directions.T @ directions - np.eye(3)).max() <= FLOAT32_COSINE:
        return affine
    left, _, right = np.linalg.svd(directions)
    squared = affine.copy()
    squared[:3, :3] = (left @ right) * edges
    centre = (np.array(shape) - 1) / 2
    squared[:3, 3] += (affine[:3, :3] - squared[:3, :3]) @ centre
    return squared


def skew_deg(affine: NDArray[np.float64]) -> float:
    """The largest angle between an axis and the normal of the other two: 0 if perpendicular."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    normals = np.cross(np.roll(directions, -1, axis=1).T, np.roll(directions, -2, axis=1).T)
    lengths = np.linalg.norm(normals, axis=1)
    if lengths.min() == 0:  # two axes are parallel
        return 90.0
    sideways = normals / lengths[:, None] - directions.T * np.copysign(
        1.0, np.linalg.det(directions)
    )
    # half the chord, because an arc cosine is blind to small angles
    return float(np.degrees(2 * np.arcsin(min(1.0, np.linalg.norm(sideways, axis=1).max() / 2))))


def moved_vox(shape: Shape, affine: NDArray[np.float64], squared: NDArray[np.float64]) -> float:
    """How far the voxel centres of a box lie apart under two affines, at the worst.

    In voxels of `squared`, along each of its axes.
    """
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    apart = corners @ (affine - squared)[:3, :3].T + (affine - squared)[:3, 3]
    return float(np.abs(np.linalg.solve(squared[:3, :3], apart.T)).max())
