"""A part of a scan is what a task finds there, or a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.io.datasets.regions import Targets
from mass3d.transfer.frozen.region import Region
from mass3d.transfer.knowledge import Knowledge
from mass3d.transfer.segmenter import Answer, Segmenter
from mass3d.volume.preparation import PreparationConfig, prepare_volume
from mass3d.volume.volume import Volume


@dataclass(frozen=True)
class Fixed:
    """Answers the same of every scan."""

    labels: NDArray[np.uint16]

    def answer(self, *_: Any) -> Answer:
        return Answer(self.labels, "network")


def region(labels: NDArray[np.uint16], *names: str) -> Region:
    known = Knowledge(
        cast("Segmenter", Fixed(labels)),
        None,
        Targets({"liver": 1, "spleen": 2, "aorta": 3}),
        "abc",
    )
    return Region(known, names)


def test_structures_are_joined_on_the_prepared_grid() -> None:
    rng = np.random.default_rng(0)
    volume = Volume.from_array(rng.normal(100, 9, (8, 8, 8)).astype(np.float32))
    scan = prepare_volume(volume, PreparationConfig(spacing_mm=2.0, modality="mr"))
    labels = np.zeros((8, 8, 8), np.uint16)
    labels[:2], labels[2:4] = 1, 2
    found = region(labels, "liver", "spleen").find(volume, scan)
    assert found.shape == (4, 4, 4)
    assert found[:2].all()
    assert not found[2:].any()
    assert region(labels, "liver", "spleen").fingerprint == "liver, spleen by abc"
    assert region(labels, "spleen").find(volume, scan).sum() == 16
    with pytest.raises(DataError, match="no aorta"):
        region(labels, "aorta").find(volume, scan)
