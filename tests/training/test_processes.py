"""A run of several processes is the run of one that takes the batches of all in each step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from mass3d.training import checkpoint
from mass3d.training.fit import METRICS, RESUME, WEIGHTS, fit
from training_jobs import CONFIG, batches, network, step, train


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batches(tmp_path: Path) -> None:
    several, alone = tmp_path / "several", tmp_path / "alone"
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn", precision="32-true")
    fabric.launch(train, several)  # type: ignore[arg-type]  # it takes what follows, too
    settings = CONFIG.model_copy(update={"accumulate": 2})
    fit(network(), batches, step, settings, run=alone, facts={"of": "two"})

    assert not (several / RESUME).exists()
    ours, theirs = (checkpoint.load(run / WEIGHTS, kind="weights")[0] for run in (several, alone))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-5)
    rows = [
        [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
        for run in (several, alone)
    ]
    assert [row["step"] for row in rows[0]] == [3, 6, 7]  # written once, not by each
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
