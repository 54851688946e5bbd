"""Fixtures that every room's tests may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# a busy machine is no defect: a property test may take its time
settings.register_profile("mass3d", deadline=None)
settings.load_profile("mass3d")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real scans: $MASS3D_TEST_DATA, or shared/data beside the checkout."""
    named = os.environ.get("MASS3D_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real scans: {folder} is not a folder; set MASS3D_TEST_DATA to one")
    return folder
