"""Three slices of what was found in a scan, and of how it differs from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.inspection.label import count_values
from mass3d.io.colours import Colour, value_colours
from mass3d.pages.pictures import Rgb, best_slices, grey_range, jpeg_uri, three_views
from mass3d.transfer.evaluation.counting import CountJob
from mass3d.volume.box import Box, box_around, box_shape, whole_box, widened
from mass3d.volume.sample import sample
from mass3d.volume.volume import Volume

SIZE: Final = 220  # pixels of a slice
MARGIN: Final = 0.25  # of the edges of what is shown, around it,
MIN_MARGIN_MM: Final = 20.0  # and at least so much

Label = NDArray[np.integer[Any]]


def found_picture(scan: Volume, label: Label, colours: Mapping[int, Colour]) -> Rgb:
    """The slices of a scan through most of the structures of a label map on its grid (D, H, W)."""
    box, steps = _view(label, scan.spacing_mm)
    seen = _cut(label, box, steps)
    return three_views(
        _cut(scan.voxels, box, steps),
        slices=best_slices(seen),
        spacing_mm=np.multiply(scan.spacing_mm, steps).tolist(),
        grey=grey_range(sample(scan.voxels)),
        label=seen,
        colours=colours,
        size=SIZE,
    )


def compared_uri(job: CountJob, prediction: Volume, truth: Volume) -> str:
    """The `data:` address of `compared_picture`, for `CountJob.draw`."""
    counts = (count_values(one.voxels) for one in (prediction, truth))
    values = {int(value) for one in counts for value in np.flatnonzero(one)} - {0}
    picture = compared_picture(
        prediction.voxels,
        truth.voxels,
        truth.spacing_mm,
        value_colours({*values, *(v for some in job.regions.values() for v in some)}),
        ignored=job.files.ignored,
    )
    return jpeg_uri(picture)


def compared_picture(
    found: Label,
    truth: Label,
    spacing_mm: tuple[float, float, float],
    colours: Mapping[int, Colour],
    *,
    ignored: int | None = None,
) -> Rgb:
    """The slices in which two label maps (D, H, W) differ most: the truth as lines, on black.

    ignored: the value of voxels of the truth that nobody has annotated.
    """
    if ignored is not None:
        found, truth = (np.where(truth == ignored, 0, label) for label in (found, truth))
    box, steps = _view((found > 0) | (truth > 0), spacing_mm)
    found, truth = _cut(found, box, steps), _cut(truth, box, steps)
    differ = found != truth
    return three_views(
        np.zeros(found.shape, np.float32),
        slices=_most(differ) if differ.any() else best_slices(truth),
        spacing_mm=np.multiply(spacing_mm, steps).tolist(),
        grey=(0.0, 1.0),
        label=found,
        outlined=truth,
        colours=colours,
        size=SIZE,
    )


def _view(
    shown: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> tuple[Box, tuple[int, int, int]]:
    """The box of what is shown with a margin, and steps that suit a slice.

    All of the volume where nothing is shown.
    """
    box = box_around(shown) or whole_box(shown.shape)
    margins = [
        round(max(MIN_MARGIN_MM / edge, MARGIN * n))
        for n, edge in zip(box_shape(box), spacing_mm, strict=True)
    ]
    box = widened(box, margins, shown.shape)
    d, h, w = (max(1, n // SIZE) for n in box_shape(box))
    return box, (d, h, w)


def _cut(volume: NDArray[Any], box: Box, steps: tuple[int, int, int]) -> NDArray[Any]:
    d, h, w = steps
    return volume[box][::d, ::h, ::w]


def _most(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Along each axis, the slice that shows most of (D, H, W)."""
    d, h, w = (int(mask.sum(others).argmax()) for others in ((1, 2), (0, 2), (0, 1)))
    return d, h, w
