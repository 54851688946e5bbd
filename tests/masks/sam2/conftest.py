"""Checkpoints and a scan for the tests of the engine; the hub is out of reach."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants as hub
import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_models import MEAN, STD, bright_sam2, random_edgetam, random_sam2, save


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))


@pytest.fixture(scope="session")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SAM2 that finds what is bright."""
    return save(bright_sam2(), tmp_path_factory.mktemp("bright"))


@pytest.fixture(scope="session")
def random(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SAM2 whose weights are drawn."""
    return save(random_sam2(), tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="session")
def edgetam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An EdgeTAM whose weights are drawn."""
    return save(random_edgetam(), tmp_path_factory.mktemp("edgetam"))


@pytest.fixture(scope="session")
def balls() -> tuple[NDArray[np.bool_], ...]:
    """Two balls that share few slices, whichever way a scan is cut, of (36, 40, 48) voxels."""
    d, h, w = np.indices((36, 40, 48))
    return (
        (d - 11) ** 2 + (h - 14) ** 2 + (w - 15) ** 2 < 7**2,
        (d - 24) ** 2 + (h - 25) ** 2 + (w - 32) ** 2 < 8**2,
    )


@pytest.fixture(scope="session")
def scan(balls: tuple[NDArray[np.bool_], ...]) -> NDArray[np.float32]:
    """A CT as it is stored: a cylinder of water in air, with two bright balls."""
    d, h, w = np.indices(balls[0].shape)
    raw = np.where((h - 19.5) ** 2 + (w - 23.5) ** 2 < 19**2, 0.0, -991.0) + 0.0 * d
    raw[balls[0] | balls[1]] = 400
    raw += np.random.default_rng(0).normal(0, 5, raw.shape)
    return ((np.clip(raw, -991, 500) - MEAN) / STD).astype(np.float32)
