"""Images that a program already holds: nibabel's and SimpleITK's, as if they had been read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from mass3d.errors import DataError
from mass3d.io.formats.checks import Raw, not_grey, placed, require_mm, spatial_shape
from mass3d.io.formats.text_header import LPS_TO_RAS, world

LENGTHS = {"meter": "metres", "micron": "micrometres"}  # nibabel's words for other units than mm


def raw_image(image: Any) -> tuple[Path, Raw]:
    """The voxels and grid of an image of nibabel or SimpleITK, and what to call it in messages.

    Raises `DataError` for what is no volume of one number per voxel, `TypeError` for an object of
    another kind.
    """
    if isinstance(image, nib.spatialimages.SpatialImage):
        return _raw_nibabel(image)
    if type(image).__module__.startswith("SimpleITK"):
        return Path("SimpleITK image"), _raw_itk(image)
    raise TypeError(
        f"found {type(image).__name__}; expected a path, a mass3d Volume, or an image of nibabel "
        "or SimpleITK. An array has no place in the world: Volume.from_file_order gives it one."
    )


def _raw_nibabel(image: Any) -> tuple[Path, Raw]:
    path = Path(image.get_filename() or "nibabel image")
    if image.affine is None:
        raise DataError(
            path,
            found="an image without an affine",
            expected="the place of the voxels in mm",
            fix="Make the image with the affine of its scan.",
        )
    shape, repairs = spatial_shape(path, image.shape)
    units = getattr(image.header, "get_xyzt_units", lambda: ("mm",))()
    require_mm(path, LENGTHS.get(units[0], ""))
    voxels = np.asarray(image.dataobj).copy().reshape(shape)  # reading repairs voxels in place
    if voxels.dtype.fields is not None or voxels.dtype.kind == "c":
        raise not_grey(path, "colour or complex voxels")
    fit = placed(path, shape, np.asarray(image.affine, np.float64))
    return path, Raw(voxels, fit, repairs + fit.notes)


def _raw_itk(image: Any) -> Raw:
    import SimpleITK as sitk  # noqa: PLC0415  slow to load, and already loaded by who has an image

    path = Path("SimpleITK image")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise not_grey(path, f"{image.GetNumberOfComponentsPerPixel()} numbers per voxel")
    shape, repairs = spatial_shape(path, image.GetSize())
    voxels = sitk.GetArrayFromImage(image).T.reshape(shape)
    if voxels.dtype.kind == "c":
        raise not_grey(path, "colour or complex voxels")
    n = image.GetDimension()
    directions = np.reshape(image.GetDirection(), (n, n))[:3, :3] * image.GetSpacing()[:3]
    fit = placed(path, shape, world(directions, np.array(image.GetOrigin()[:3]), LPS_TO_RAS))
    return Raw(voxels, fit, repairs + fit.notes)
