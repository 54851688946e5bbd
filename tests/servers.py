"""Servers of phantoms, with what is sent to them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.testclient import TestClient

from mass3d.io.datasets.cohort import find_cohort
from mass3d.server.access import Guard, names_of
from mass3d.server.routes import application
from mass3d.server.site import Site
from mass3d.volume.nifti import nifti_image

TOKEN = "a-token-of-some-length"
COOKIE = "mass3d_token_1"
ALLOWED = {"Authorization": f"Bearer {TOKEN}", "X-Mass3d": "1"}
STRUCTURES = [{"name": name} for name in ("liver", "spleen", "kidney", "bone")]


def site_of(folder: Path, *scans: Path, **settings: Any) -> Site:
    """What a server of some scans knows; the model is only named."""
    site = Site.of(folder, find_cohort(scans, exclude=folder).cases, scans, **settings)
    site.project.begin(Path("run"), scans)
    return site


def client_of(site: Site, **headers: str) -> TestClient:
    """A browser that has the token, or sends other headers instead."""
    guard = Guard(application(site), TOKEN, names_of("127.0.0.1"), COOKIE)
    return TestClient(
        guard,
        base_url="http://127.0.0.1:1",
        headers=headers or ALLOWED,
        follow_redirects=False,
        raise_server_exceptions=False,
    )


def write_scan(
    path: Path,
    voxels: NDArray[Any] | None = None,
    affine: NDArray[np.float64] | None = None,
    *,
    seed: int = 0,
) -> Path:
    """A small scan of noise, or of these voxels (i, j, k), packed."""
    if voxels is None:
        voxels = np.random.default_rng(seed).integers(-1000, 1000, (9, 8, 7)).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nifti_image(voxels, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine)
    path.write_bytes(gzip.compress(image.to_bytes()))
    return path


def label_bytes(voxels: NDArray[Any], affine: NDArray[np.float64] | None = None) -> bytes:
    """A label map as it is sent, for a scan of `write_scan`."""
    image = nifti_image(voxels, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine)
    return bytes(image.to_bytes())


def a_label(*values: int) -> NDArray[np.uint8]:
    """A label map on the grid of a small scan, with a cube of each value."""
    label = np.zeros((9, 8, 7), np.uint8)
    for number, value in enumerate(values):
        label[2 * number : 2 * number + 2, 2:5, 2:5] = value
    return label
