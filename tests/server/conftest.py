"""A project of three small scans, and a browser before it."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mass3d.server.site import Site
from servers import client_of, site_of, write_scan

NAMES = ("a", "b", "c <&> d")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for seed, name in enumerate(NAMES):
        write_scan(tmp_path / "scans" / f"{name}.nii.gz", seed=seed)
    return tmp_path / "scans"


@pytest.fixture
def site(scans: Path, tmp_path: Path) -> Site:
    return site_of(tmp_path / "project", scans)


@pytest.fixture
def client(site: Site) -> TestClient:
    return client_of(site)
