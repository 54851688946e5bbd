"""Slices of a prepared scan with its masks in colour, in three groups by size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mass3d.masks.layers import MaskSet
from mass3d.pages.pictures import Overlay, Picture, Plane, Rgb, draw, grey_range, mask_overlays
from mass3d.store.reader import StoredCase

GAP = 4  # black columns between slices that stand side by side


def proposal_pictures(
    case: StoredCase, *, axes: Sequence[int] = (0, 1, 2), height: int | None = 200
) -> tuple[Picture, ...]:
    """Middle slices of a prepared scan: bare, then with its large, medium and small masks.

    Each picture shows the slice of every axis side by side, so many pixels high; one slice may
    also have the width of a page's column (None).
    """
    image, masks = case.read_image(), case.masks()
    scale = case.record.intensity
    low, high = ((x - scale.mean) / scale.std for x in grey_range(image * scale.std + scale.mean))
    planes = [Plane(axis, image.shape[axis] // 2) for axis in axes]

    def slices(rows: Sequence[int] = ()) -> Rgb:
        return beside([view(plane, mask_overlays(masks, rows, plane)) for plane in planes])

    def view(plane: Plane, overlays: Sequence[Overlay]) -> Rgb:
        pixels, (down, across) = plane.cut(image), plane.pixel_mm(case.grid.spacing_mm)
        size = {}
        if height is not None:
            size["width"] = round(height * pixels.shape[1] * across / (pixels.shape[0] * down))
        edges = (down, across)
        return draw(pixels, pixel_mm=edges, grey=(low, high), overlays=overlays, **size)

    pictures = [Picture(slices(), "A scan without labels", case.case_id)]
    voxel_ml = case.grid.voxel_ml
    for name, smallest, largest in size_groups(masks, voxel_ml):
        volume = masks.table.voxels * voxel_ml
        rows = np.flatnonzero((volume >= smallest) & (volume < largest))
        limits = f"over {millilitres(smallest)}"
        if largest < math.inf:
            limits = f"under {millilitres(largest)}"
        pictures.append(Picture(slices(rows.tolist()), name, f"{len(rows)} in the scan, {limits}"))
    return tuple(pictures)


def beside(views: Sequence[Rgb]) -> Rgb:
    """Pictures in a row on black, the lower ones in the middle."""
    height = max(view.shape[0] for view in views)
    width = sum(view.shape[1] for view in views) + GAP * (len(views) - 1)
    row = np.zeros((height, width, 3), np.uint8)
    left = 0
    for view in views:
        top = (height - view.shape[0]) // 2
        row[top : top + view.shape[0], left : left + view.shape[1]] = view
        left += view.shape[1] + GAP
    return row


def millilitres(volume: float) -> str:
    """A volume in words."""
    return f"{volume:.0f} ml" if volume >= 10 else f"{volume:.2g} ml"


def size_groups(masks: MaskSet, voxel_ml: float) -> list[tuple[str, float, float]]:
    """Titles and limits (ml) of three groups that share the range of log sizes equally."""
    volume = masks.table.voxels * voxel_ml
    if not len(volume):
        return []
    low, high = np.log(volume.min()), np.log(volume.max())
    first, second = (float(np.exp(low + share * (high - low))) for share in (1 / 3, 2 / 3))
    return [
        ("Large masks", second, math.inf),
        ("Medium masks", first, second),
        ("Small masks", 0.0, first),
    ]
