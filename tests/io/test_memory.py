"""Reading a scan takes a small factor of its size."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

import dicoms
import scans
from mass3d.io.read import read_volume

SHAPE = (160, 150, 70)  # (i, j, k)
PEAK, HELD = 10.0, 4.2  # bytes per voxel
IMAGE = np.random.default_rng(0).integers(0, 2000, SHAPE).astype(np.int16)


def nifti(path: Path, **fields: Any) -> Path:
    def change(header: Any) -> None:
        for name, value in fields.items():
            header[name] = value

    content = scans.nifti_bytes(IMAGE, header=change)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def series(path: Path) -> Path:
    def change(ds: Dataset, number: int) -> None:
        ds.Rows, ds.Columns = SHAPE[1], SHAPE[0]
        ds.PixelData = IMAGE[:, :, number].T.tobytes()

    dicoms.series(path, [float(k) for k in range(SHAPE[2])], change=change)
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "a.nii": nifti,
    "a.nii.gz": nifti,
    "scaled.nii.gz": lambda path: nifti(path, scl_slope=1.5, scl_inter=-1024),
    "a.nrrd": lambda path: scans.write_itk(path, scans.itk_image(IMAGE), packed=True),
    "a.mha": lambda path: scans.write_itk(path, scans.itk_image(IMAGE)),
    "series": series,
}


@pytest.mark.parametrize("name", MAKERS)
def test_reading_takes_ten_bytes_per_voxel_at_the_peak_and_four_at_the_end(
    tmp_path: Path, name: str
) -> None:
    path = MAKERS[name](tmp_path / name)
    tracemalloc.start()
    try:
        volume = read_volume(path)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert volume.voxels.size == IMAGE.size
    assert peak <= PEAK * IMAGE.size
    assert held <= HELD * IMAGE.size
