"""Slices of scans with masks over them, as RGB arrays and as PNG text for a page.

Slices are shown as radiologists expect them: front and head up, the patient's right on the left.
"""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mass3d.files import write_bytes
from mass3d.io.colours import Colour
from mass3d.masks.layers import MaskSet

Rgb = NDArray[np.uint8]  # (rows, columns, 3)

VISIBLE = 0.2  # of its largest area, that a structure shows in a slice for an eye to find it
UNEVEN = 1.5  # longest edge of a voxel by its shortest, from which on slices are shown as acquired
MAX_PLANES = 3
FILL = 0.35  # opacity of a structure,
LINE = 0.95  # of the line around it,
FILL_ALONE = 0.6  # and of one without a line
JPEG_QUALITY = 72  # grey slices with outlines still look clean


@dataclass(frozen=True)
class Picture:
    """A rendered slice and the words beneath it."""

    pixels: Rgb
    title: str
    note: str = ""


@dataclass(frozen=True)
class Plane:
    """One slice of a volume (D, H, W): axial on axis 0, coronal on 1, sagittal on 2."""

    axis: int
    index: int

    def cut(self, volume: NDArray[Any]) -> NDArray[Any]:
        """The slice, oriented for viewing."""
        pixels: NDArray[Any] = volume.take(self.index, axis=self.axis)
        return pixels[::-1, ::-1]

    def pixel_mm(self, spacing_mm: Sequence[float]) -> tuple[float, float]:
        """Edges of a pixel of the slice: rows, columns."""
        rows, columns = (s for axis, s in enumerate(spacing_mm) if axis != self.axis)
        return rows, columns


@dataclass(frozen=True)
class Overlay:
    """A region drawn over a slice; later ones lie on top."""

    region: NDArray[np.bool_]  # (rows, columns), as `Plane.cut` gives it
    colour: Colour
    fill: float = FILL  # opacity inside; 0 leaves only the line
    line: float = LINE  # opacity of the outline


def best_plane(label: NDArray[np.integer[Any]], spacing_mm: Sequence[float]) -> Plane:
    """The slice that shows most structures of a label map (D, H, W), and most of them.

    Axial, unless the voxels are much longer along another axis: then the slices as acquired.
    """
    axis = _acquired_axis(spacing_mm)
    return Plane(axis, best_slices(label)[axis])


def covering_planes(
    label: NDArray[np.integer[Any]], spacing_mm: Sequence[float]
) -> tuple[Plane, ...]:
    """Slices that together show every structure of a label map (D, H, W).

    One where a slice along any axis does, the slices as acquired first; else several of these.
    """
    first = _acquired_axis(spacing_mm)
    even = max(spacing_mm) <= UNEVEN * min(spacing_mm)
    shares = _shares(label)
    if not shares:
        return (best_plane(label, spacing_mm),)
    for axis in [first, *(other for other in range(3) if even and other != first)]:
        plane, shown = _fullest(axis, [along[axis] for along in shares])
        if shown.all():
            return (plane,)
    planes: list[Plane] = []
    left = np.ones(len(shares), dtype=bool)
    while left.any() and len(planes) < MAX_PLANES:
        rows = np.flatnonzero(left)
        plane, shown = _fullest(first, [shares[row][first] for row in rows])
        planes.append(plane)
        left[rows[shown]] = False
    return tuple(sorted(planes, key=lambda plane: -plane.index))


def _fullest(axis: int, shares: Sequence[NDArray[np.float64]]) -> tuple[Plane, NDArray[np.bool_]]:
    """The slice that shows most structures, and most of them; and which it shows (S,)."""
    table = np.array(shares)
    seen = table >= VISIBLE
    index = int(np.argmax(seen.sum(0) + np.sqrt(table).sum(0) / len(table)))
    return Plane(axis, index), seen[:, index]


def _acquired_axis(spacing_mm: Sequence[float]) -> int:
    """Across the slices as acquired, where voxels are much longer that way; else axial."""
    return int(np.argmax(spacing_mm)) if max(spacing_mm) > UNEVEN * min(spacing_mm) else 0


def best_slices(label: NDArray[np.integer[Any]]) -> tuple[int, int, int]:
    """Along each axis, the slice that shows most structures of (D, H, W), and most of them.

    The middle where there is none.
    """
    shares = _shares(label)
    scores = [
        sum((np.sqrt(along[axis]) for along in shares), np.zeros(length))
        for axis, length in enumerate(label.shape)
    ]
    d, h, w = (int(np.argmax(score)) if score.any() else len(score) // 2 for score in scores)
    return d, h, w


def _shares(label: NDArray[np.integer[Any]]) -> list[tuple[NDArray[np.float64], ...]]:
    """Of every structure of (D, H, W), along each axis: its area in each slice, of its largest."""
    found = []
    for value, box in enumerate(ndimage.find_objects(label), start=1):
        if box is None:
            continue
        region = label[box] == value
        shares = tuple(np.zeros(length) for length in label.shape)
        for axis, along in enumerate(shares):
            areas = region.sum(axis=tuple(other for other in range(3) if other != axis))
            along[box[axis]] = areas / areas.max()
        found.append(shares)
    return found


def grey_range(image: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Values shown as black and white: soft tissue where air is at -1000 HU, else percentiles."""
    if image.min() < -500:
        return -150.0, 260.0
    low, high = np.percentile(image, (1.0, 99.5))
    return float(low), float(max(high, low + 1e-6))


def draw(
    pixels: NDArray[np.floating[Any]],
    *,
    pixel_mm: tuple[float, float],
    grey: tuple[float, float],
    overlays: Sequence[Overlay] = (),
    width: int = 400,
) -> Rgb:
    """Render a slice (rows, columns) `width` pixels wide, square in millimetres."""
    rows, columns = pixels.shape
    height = max(1, round(width * rows * pixel_mm[0] / (columns * pixel_mm[1])))
    low, high = grey
    shade = np.clip((_enlarge(pixels, (height, width)) - low) / (high - low), 0, 1)
    canvas = np.repeat((255 * shade)[..., None], 3, axis=2)
    for overlay in overlays:
        if not overlay.region.any():
            continue
        soft = _enlarge(overlay.region.astype(np.float32), (height, width))
        colour = np.array(overlay.colour, np.float32)
        inside = np.clip((soft - 0.5) * 8 + 0.5, 0, 1)[..., None]
        canvas += overlay.fill * inside * (colour - canvas)
        canvas += overlay.line * _outline(soft)[..., None] * (colour - canvas)
    return np.asarray(np.clip(canvas, 0, 255), np.uint8)


def three_views(
    image: NDArray[np.floating[Any]],
    *,
    slices: tuple[int, int, int],
    spacing_mm: Sequence[float],
    grey: tuple[float, float],
    label: NDArray[np.integer[Any]] | None = None,
    outlined: NDArray[np.integer[Any]] | None = None,
    colours: Mapping[int, Colour] | None = None,
    size: int = 160,
) -> Rgb:
    """Axial, coronal and sagittal slices of (D, H, W) side by side: (size, 3 * size, 3).

    Each fills a black square, with the structures of the label that have a colour over it. Beside a
    second label, which is drawn as lines, the first is filled alone.
    """
    views = np.zeros((size, 3, size, 3), np.uint8)
    for axis, index in enumerate(slices):
        plane = Plane(axis, index)
        pixels, (down, across) = plane.cut(image), plane.pixel_mm(spacing_mm)
        height_mm, width_mm = pixels.shape[0] * down, pixels.shape[1] * across
        overlays: list[Overlay] = []
        alone = outlined is None
        for shown, fill, line in (
            (label, FILL if alone else FILL_ALONE, LINE if alone else 0.0),
            (outlined, 0.0, LINE),
        ):
            if shown is not None:
                section = plane.cut(shown)
                there = {v: c for v, c in (colours or {}).items() if (section == v).any()}
                overlays += label_overlays(section, there, fill=fill, line=line)
        width = max(1, round(size * min(1.0, width_mm / height_mm)))
        view = draw(pixels, pixel_mm=(down, across), grey=grey, overlays=overlays, width=width)
        view = view[:size]
        top, left = (size - view.shape[0]) // 2, (size - width) // 2
        views[top : top + view.shape[0], axis, left : left + width] = view
    return views.reshape(size, 3 * size, 3)


def _enlarge(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear enlargement to (rows, columns) whose outer edges coincide."""
    axes = [
        np.clip((np.arange(n) + 0.5) * old / n - 0.5, 0, old - 1)
        for n, old in zip(size, pixels.shape, strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    enlarged = ndimage.map_coordinates(pixels.astype(np.float32), grid, order=1)
    return np.asarray(enlarged, np.float32)


def _outline(soft: NDArray[np.float32]) -> NDArray[np.float32]:
    """A line of about two pixels where a soft mask crosses one half."""
    down, across = np.gradient(soft)
    distance = np.abs(soft - 0.5) / np.maximum(np.hypot(down, across), 1e-3)
    return np.asarray(np.clip(1.6 - distance, 0, 1), np.float32)


def label_overlays(
    label: NDArray[np.integer[Any]],
    colours: dict[int, Colour],
    *,
    fill: float = FILL,
    line: float = LINE,
) -> list[Overlay]:
    """One overlay per structure of a label slice."""
    return [Overlay(label == value, colour, fill, line) for value, colour in colours.items()]


def mask_overlays(masks: MaskSet, rows: Sequence[int], plane: Plane) -> list[Overlay]:
    """Masks of a set on one slice, largest first, in far-apart hues.

    A mask of which more than a tenth is coloured already is left out, so that each can be seen.
    """
    overlays: list[Overlay] = []
    sections = [plane.cut(ranks) for ranks in masks.ranks]
    taken = np.zeros_like(sections[0] if sections else (), dtype=bool)
    table = masks.table
    for row in sorted(rows, key=lambda row: -int(table.voxels[row])):
        region = table.inside(row, sections[table.layer[row]])
        if (region & taken).sum() <= 0.1 * region.sum() and region.any():
            overlays.append(Overlay(region, far_hue(len(overlays)), fill=0.45, line=0.9))
            taken |= region
    return overlays


def far_hue(position: int) -> Colour:
    """Colours that stay apart however many are drawn: steps of the golden angle."""
    red, green, blue = colorsys.hls_to_rgb((0.08 + position * 0.381966) % 1.0, 0.62, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def png_uri(picture: Rgb) -> str:
    """The picture as a `data:` address, to be written into a page."""
    return _data_uri(picture, "png")


def jpeg_uri(picture: Rgb) -> str:
    """The same in a tenth of the bytes, for pages with hundreds of pictures."""
    return _data_uri(picture, "jpeg", quality=JPEG_QUALITY)


def _data_uri(picture: Rgb, kind: str, **options: int) -> str:
    coded = base64.b64encode(_coded(picture, kind, **options)).decode()
    return f"data:image/{kind};base64,{coded}"


def write_jpeg(path: Path, picture: Rgb) -> None:
    """The picture as a file beside a page, written whole or not at all."""
    write_bytes(path, _coded(picture, "jpeg", quality=JPEG_QUALITY))


def _coded(picture: Rgb, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format=kind, **options)
    return buffer.getvalue()


def css(colour: Colour) -> str:
    """A colour in the words of a style sheet."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
