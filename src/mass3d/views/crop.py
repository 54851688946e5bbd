"""How large the views of a cohort are."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from mass3d.errors import ConfigError
from mass3d.volume.geometry import Shape
from mass3d.volume.spacing import weighted_median

Edge = Annotated[int, Field(le=2048)]
CropVox = tuple[Edge, Edge, Edge]  # along (D, H, W)


def choose_crop(
    wanted: Shape | None,
    shapes: list[Shape],
    stride: int,
    *,
    max_voxels: int,
    max_edge: int | None = None,
) -> Shape:
    """The wanted crop, checked, or one that fits the scans: (D, H, W), multiples of `stride`.

    The default is the largest multiple of the stride within the median scan along each axis, at
    least two strides and at most `max_edge`, shortened along its longest axis, to one stride if
    need be, to at most `max_voxels`. Every scan counts by its voxels, so that hundreds of small
    crops do not decide for some large scans. Raises `ConfigError` where even one stride is too
    many voxels.
    """
    if wanted is not None:
        if any(edge % stride or edge <= 0 for edge in wanted):
            raise ConfigError(
                "views.crop_vox",
                found=str(list(wanted)),
                expected=f"positive multiples of {stride} along every axis",
                fix=f"Try {[max(stride, round(edge / stride) * stride) for edge in wanted]}.",
                setting="views.crop_vox",
            )
        if max_edge is not None and max(wanted) > max_edge:
            raise ConfigError(
                "views.crop_vox",
                found=str(list(wanted)),
                expected=f"at most {max_edge} along every axis, which is what the network can see",
                fix=f"Try {[min(edge, max_edge) for edge in wanted]}.",
                setting="views.crop_vox",
            )
        return wanted
    if stride**3 > max_voxels:
        raise ConfigError(
            "channels",
            found=f"a network that halves scans to 1/{stride}, so that crops have at least {stride}"
            " voxels along every axis",
            expected=f"crops of at most {max_voxels} voxels in all, unless they are given",
            fix=f"Give fewer widths, or the crop: views.crop_vox={[stride] * 3}.",
            setting="channels",
        )
    voxels = np.prod(np.array(shapes, float), axis=1)
    median = np.array([weighted_median(along, voxels) for along in np.transpose(shapes)])
    edges = np.maximum(median // stride, 2).astype(int) * stride
    if max_edge is not None:
        edges = np.minimum(edges, max_edge // stride * stride)
    while edges.prod() > max_voxels:
        edges[edges.argmax()] -= stride
    return int(edges[0]), int(edges[1]), int(edges[2])
