"""DICOM segmentations, read back by highdicom and, frame by frame, by SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from mass3d.io.formats.label_table import LabelName
from mass3d.volume.volume import Volume


def by_highdicom(path: Path, names: list[LabelName], like: Volume) -> NDArray[np.uint16]:
    """Canonical labels, placed by the geometry that highdicom reads."""
    hd = pytest.importorskip("highdicom")
    found = hd.seg.segread(path).get_volume(combine_segments=True)
    index = np.stack(np.nonzero(found.array), -1)  # of (slices, rows, columns)
    lps = index @ found.affine[:3, :3].T + found.affine[:3, 3]
    back = np.linalg.inv(like.grid.affine)
    places = np.rint((lps * [-1, -1, 1]) @ back[:3, :3].T + back[:3, 3]).astype(int)
    values = np.array([0, *(one.value for one in names)], np.uint16)
    out = np.zeros(like.grid.shape, np.uint16)
    out[tuple(places.T)] = values[found.array[tuple(index.T)]]
    return out


def by_simpleitk(path: Path, names: list[LabelName], like: Volume) -> NDArray[np.uint16]:
    """Canonical labels of frames as SimpleITK decodes them; their headers say what they are of."""
    frames = sitk.GetArrayFromImage(sitk.ReadImage(path))
    header = pydicom.dcmread(path, stop_before_pixels=True)
    out, back = np.zeros(like.source.shape, np.uint16), np.linalg.inv(like.source.affine)
    values = [one.value for one in names]
    for frame, said in zip(frames, header.PerFrameFunctionalGroupsSequence, strict=True):
        lps = np.array(said.PlanePositionSequence[0].ImagePositionPatient, float)
        place = round(float((back[:3, :3] @ (lps * [-1, -1, 1]) + back[:3, 3])[2]))
        number = said.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        out[:, :, place][frame.T > 0] = values[number - 1]
    return like.source.to_canonical(out)
