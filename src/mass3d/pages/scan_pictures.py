"""Three slices of a scan with its label over them, small enough for a page of hundreds."""

from __future__ import annotations

from mass3d.inspection.case import Measured
from mass3d.io.colours import value_colours
from mass3d.pages.pictures import (
    Rgb,
    best_slices,
    grey_range,
    three_views,
)
from mass3d.volume.box import Box


def scan_picture(measured: Measured) -> Rgb:
    """Slices through most structures of the label, else through the middle of the body."""
    scan, label, sample = measured.scan, measured.label, measured.sample
    box, slices = sample.body_box(scan.grid.shape)
    shown = None if label is None or label.facts.empty else label
    if shown:
        slices = best_slices(shown.voxels)
        box = _with(box, slices)
    return three_views(
        scan.voxels[box],
        slices=_in(box, slices),
        spacing_mm=scan.spacing_mm,
        grey=grey_range(sample.voxels),
        label=shown.voxels[box] if shown else None,
        colours=value_colours(shown.values.values()) if shown else None,
    )


def _with(box: Box, slices: tuple[int, int, int]) -> Box:
    """The smallest box around a box and one voxel."""
    d, h, w = (
        slice(min(a.start, at), max(a.stop, at + 1)) for a, at in zip(box, slices, strict=True)
    )
    return d, h, w


def _in(box: Box, slices: tuple[int, int, int]) -> tuple[int, int, int]:
    d, h, w = (at - a.start for a, at in zip(box, slices, strict=True))
    return d, h, w
