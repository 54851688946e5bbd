"""Several stores of unequal size, drawn with weights: the whole verb."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import STEPS, pretrain_config
from mass3d.apps import prepare, pretrain
from mass3d.errors import ConfigError
from mass3d.pretext.task import TASKS
from mass3d.training.fit import StepContext, StepOutcome
from mass3d.training.run_files import METRICS, WEIGHTS
from mass3d.transfer.trained import load_trained, read_run
from mass3d.views.matched import MatchedPairs


@pytest.fixture(scope="module")
def stores(cohort: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Four cases, and one."""
    folder = tmp_path_factory.mktemp("other") / "small"
    scan = sorted((cohort / "imagesTs").iterdir())[0]
    config = prepare.PrepareConfig(inputs=(scan,), output=folder, spacing_mm=7.0, workers=1)
    assert prepare.run(config).ok
    return store, folder


def test_a_killed_run_of_weighted_stores_ends_with_the_bytes_of_one_that_was_not(
    stores: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, seen = TASKS["correspondence"], list[tuple[str, ...]]()

    def watched(model: Any, pairs: MatchedPairs, context: StepContext) -> StepOutcome:
        seen.append(pairs.case_ids)
        if context.step == 3 and len(seen) == 4:
            raise KeyboardInterrupt  # after the state of step 2 was saved
        return usual.step(model, pairs, context)

    draws = {"alpha": 0.0, "stores": {"small": 3.0}, "modalities": {"mr": 0.5}}
    config = pretrain_config(stores, tmp_path / "killed", draws=draws)
    with monkeypatch.context() as patch:
        patch.setitem(TASKS, "correspondence", replace(usual, step=watched))
        with pytest.raises(KeyboardInterrupt):
            pretrain.run(config)
    pretrain.run(config)
    whole = config.model_copy(update={"output": tmp_path / "whole"})
    pretrain.run(whole)
    for name in (WEIGHTS, METRICS, "record.json"):
        assert (whole.output / name).read_bytes() == (config.output / name).read_bytes(), name

    counts = Counter(name.split("/")[0] for names in seen for name in names)
    assert counts["small"] >= 2  # four samples in five
    assert all(len({name.split("/")[0] for name in names}) <= 2 for names in seen)
    told = json.loads((whole.output / "record.json").read_text())["draws"]
    shares = {(part["store"], part["modality"]): part["share"] for part in told}
    assert shares["small", "ct"] == pytest.approx(3 / 3.75, abs=1e-6)
    assert shares["store", "mr"] == pytest.approx(0.25 / 3.75, abs=1e-6)
    assert sum(read_run(whole.output)[0].draws.values()) == 1000
    assert load_trained(whole.output, device="cpu").facts["step"] == STEPS
    with pytest.raises(ConfigError, match=r"draws\.ct of store"):
        pretrain.run(whole.model_copy(update={"draws": pretrain.DrawConfig(alpha=0.3)}))
