"""Three slices of a scan, and of its dense features as colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mass3d.pages.pictures import Rgb, grey_range, three_views, write_jpeg
from mass3d.transfer.frozen.colours import Colouring
from mass3d.transfer.frozen.folder import EmbeddingsFolder
from mass3d.transfer.frozen.scan import SeenScan

SIZE: Final = 160  # pixels of a slice


def write_seen_picture(path: Path, seen: SeenScan) -> None:
    """The slices of a prepared scan that its feature pictures show."""
    raw = seen.scan.intensity.undo(seen.scan.image)
    picture = three_views(
        raw,
        slices=seen.slices,
        spacing_mm=seen.scan.grid.spacing_mm,
        grey=grey_range(raw),
        size=SIZE,
    )
    write_jpeg(path, picture)


def write_feature_pictures(folder: EmbeddingsFolder) -> None:
    """The same slices of every scan of a folder in the colours of its features.

    The colours are those of all scans together, so that like features have like colours.
    """
    cases = sorted(folder.entries)
    colouring = Colouring.fit(_body_cells(folder, case) for case in cases)
    for case in cases:
        views = [colouring.paint(plane, shown) for plane, shown in _planes(folder, case)]
        write_jpeg(folder.feature_picture(case), _side_by_side(views))


def _planes(folder: EmbeddingsFolder, case: str) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Features (C, rows, columns) and where the body is, across each axis."""
    kept = folder.arrays(case)
    return [(kept[f"plane_{axis}"], kept[f"shown_{axis}"].astype(bool)) for axis in range(3)]


def _body_cells(folder: EmbeddingsFolder, case: str) -> NDArray[Any]:
    """(n, C), of all three slices; all of their cells where none is body."""
    planes = _planes(folder, case)
    inside = [plane[:, shown].T for plane, shown in planes]
    whole = [plane.reshape(len(plane), -1).T for plane, _ in planes]
    return np.concatenate(inside if sum(map(len, inside)) else whole)


def _side_by_side(views: Sequence[Rgb]) -> Rgb:
    """Pictures of cubic cells as `three_views` places its slices."""
    canvas = np.zeros((SIZE, 3 * SIZE, 3), np.uint8)
    for number, view in enumerate(views):
        rows, columns = view.shape[:2]
        width = max(1, round(SIZE * min(1.0, columns / rows)))
        height = min(SIZE, max(1, round(width * rows / columns)))
        image = Image.fromarray(np.ascontiguousarray(view[::-1, ::-1]))
        drawn = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
        top, left = (SIZE - height) // 2, number * SIZE + (SIZE - width) // 2
        canvas[top : top + height, left : left + width] = drawn
    return canvas
