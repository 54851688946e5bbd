"""What settings of the training come to."""

from __future__ import annotations

import pytest

from mass3d.apps.pretrain import PretrainConfig
from mass3d.config import resolve
from mass3d.transfer.finetuned.settings import FinetuneConfig


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((), ("muon", 0.01, 3.0)),
        (("fit.optimizer=muon",), ("muon", 0.01, 3.0)),
        (("fit.optimizer=adamw",), ("adamw", 0.002, 0.01)),
        (("fit.optimizer=adamw", "fit.lr=0.1"), ("adamw", 0.1, 0.01)),
        (("preset=base",), ("lamb", 0.002, 1e-5)),
        (("preset=base", "fit.optimizer=muon"), ("muon", 0.01, 0.01)),
    ],
)
def test_another_optimiser_brings_its_own_rates(
    given: tuple[str, ...], wanted: tuple[str, float, float]
) -> None:
    config = resolve(PretrainConfig, assignments=["store=s", "output=o", *given])
    assert (config.fit.optimizer, config.fit.lr, config.fit.weight_decay) == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((), ("muon", 0.01, 0.01)),
        (("fit.optimizer=lamb",), ("lamb", 0.002, 1e-5)),
        (("fit.optimizer=adamw", "fit.weight_decay=0"), ("adamw", 0.002, 0.0)),
    ],
)
def test_so_it_does_in_finetuning(given: tuple[str, ...], wanted: tuple[str, float, float]) -> None:
    config = resolve(FinetuneConfig, assignments=['images=["s"]', "model=m", "output=o", *given])
    assert (config.fit.optimizer, config.fit.lr, config.fit.weight_decay) == wanted
