"""Resume states: what they hold, and what they are refused for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mass3d.errors import ConfigError, ModelError
from mass3d.training import checkpoint, resume
from mass3d.training.fit import FitConfig, StepContext, StepOutcome, fit
from mass3d.training.resume import read_record, require_same_run
from mass3d.training.run_files import RESUME

FACTS = {"seed": 3, "fit": {"lr": 0.25, "steps": 8}, "crop_vox": [16, 32, 16]}


class KilledError(Exception):
    """Stands for the end of the process."""


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 1))


def batches(number: int, device: torch.device) -> Tensor:
    return torch.randn(9, 5, generator=torch.Generator().manual_seed(number)).to(device)


def step(model: nn.Module, batch: Tensor, context: StepContext) -> StepOutcome:
    noise = torch.rand(batch.shape, generator=context.generator)
    loss = (model(batch + noise) - batch.sum(1, keepdim=True)).square().mean()
    return StepOutcome(loss, {"noise": noise.mean()}, ("one",))


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    kill(tmp_path / "run", before=6)
    return tmp_path / "run"


def kill(run: Path, *, before: int, **settings: object) -> None:
    """A run that ends before it takes a batch."""

    def dying(number: int, device: torch.device) -> Tensor:
        if number == before:
            raise KilledError
        return batches(number, device)

    with pytest.raises(KilledError):
        fit(network(), dying, step, config(**settings), run=run, facts=FACTS)


def config(**settings: object) -> FitConfig:
    values = {"steps": 8, "log_every": 3, "save_every": 4, "precision": "32-true", "prefetch": 0}
    return FitConfig.model_validate(values | settings)


def test_a_state_says_where_the_run_was(unfinished: Path) -> None:
    record = read_record(unfinished)
    assert record is not None
    assert (record.step, record.precision, record.run) == (4, "32-true", FACTS)
    assert read_record(unfinished.parent) is None


def test_a_long_time_without_a_state_makes_one(tmp_path: Path) -> None:
    kill(tmp_path, before=3, save_every=1000, save_minutes=1e-9)
    record = read_record(tmp_path)
    assert record is not None
    assert record.step == 3


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "muon"])
@pytest.mark.parametrize("killed_at", [5, 13])
def test_any_optimiser_goes_on_with_the_same_bytes(
    optimizer: str, killed_at: int, tmp_path: Path
) -> None:
    """Buffers, dropout, drawn numbers and parts of a step included."""
    settings = {"optimizer": optimizer, "accumulate": 2, "save_every": 2}
    kill(tmp_path / "killed", before=killed_at, **settings)
    for name in ("killed", "whole"):
        fit(network(), batches, step, config(**settings), run=tmp_path / name, facts=FACTS)
    files = {
        name: {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("killed", "whole")
    }
    assert files["killed"] == files["whole"]


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "muon"])
def test_kernels_go_on_with_the_same_bytes(optimizer: str, tmp_path: Path) -> None:
    """Whose moments lie in memory as they do: LAMB sums over them."""

    def images(number: int, device: torch.device) -> Tensor:
        if number == 5 and not (tmp_path / "killed" / "dead").exists():
            (tmp_path / "killed" / "dead").touch()
            raise KilledError
        return torch.randn(2, 5, 6, 7, 8, generator=torch.Generator().manual_seed(number))

    def fold(model: nn.Module, batch: Tensor, context: StepContext) -> StepOutcome:
        del context
        return StepOutcome((model(batch) - batch).square().mean(), {}, ("one",))

    def run(name: str) -> dict[str, bytes]:
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Conv3d(5, 24, 3, padding=1), nn.ReLU(), nn.Conv3d(24, 5, 3, padding=1)
        )
        settings = config(optimizer=optimizer, save_every=2)
        fit(net, images, fold, settings, run=tmp_path / name, facts=FACTS)
        return {one: (tmp_path / name / one).read_bytes() for one in ("model.safetensors",)}

    (tmp_path / "killed").mkdir()
    with pytest.raises(KilledError):
        run("killed")
    assert run("killed") == run("whole")


def test_the_precision_of_a_run_is_kept(unfinished: Path) -> None:
    """`auto` on another machine may come to something else: the run goes on as it began."""
    fit(network(), batches, step, config(precision="auto"), run=unfinished, facts=FACTS)
    facts = checkpoint.read_facts(unfinished / "model.safetensors", kind="weights")
    assert facts["precision"] == "32-true"


def test_each_difference_is_named_with_both_values(unfinished: Path) -> None:
    require_same_run(unfinished, FACTS)
    require_same_run(unfinished.parent, {"anything": 1})  # no run is there
    other = {"seed": 3, "fit": {"lr": 0.5, "steps": 8}, "crop_vox": [16, 32, 32]}
    with pytest.raises(ConfigError) as found:
        require_same_run(unfinished, other)
    assert "crop_vox: [16, 32, 16] there, [16, 32, 32] wanted" in found.value.found
    assert "fit.lr: 0.25 there, 0.5 wanted" in found.value.found
    assert "seed" not in found.value.found
    assert found.value.setting == "output"


def test_a_state_without_its_parts_is_an_error_of_ours(unfinished: Path) -> None:
    path = unfinished / RESUME
    tensors, facts, _ = checkpoint.load(path, kind="resume")
    del facts["optimizer"]
    checkpoint.save(path, tensors, kind="resume", facts=facts)
    with pytest.raises(ModelError, match="optimizer is wrong"):
        fit(network(), batches, step, config(), run=unfinished, facts=FACTS)


@pytest.mark.parametrize(
    "cut", ["model.0.weight", "ema.1.running_mean", "optimizer.0.momentum_buffer"]
)
def test_a_state_without_some_tensor_is_an_error_of_ours(unfinished: Path, cut: str) -> None:
    path = unfinished / RESUME
    tensors, facts, _ = checkpoint.load(path, kind="resume")
    del tensors[cut]
    checkpoint.save(path, tensors, kind="resume", facts=facts)
    with pytest.raises(ModelError, match=r"resume\.safetensors"):
        fit(network(), batches, step, config(), run=unfinished, facts=FACTS)


def test_a_state_of_another_network_is_an_error_of_ours(unfinished: Path) -> None:
    with pytest.raises(ModelError, match=r"resume\.safetensors"):
        fit(nn.Linear(5, 1), batches, step, config(), run=unfinished, facts=FACTS)


def test_too_little_memory_is_not_told_as_another_network(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: nn.Module, tensors: object) -> None:
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(resume, "fill", full)
    with pytest.raises(ConfigError, match="not enough memory"):
        fit(network(), batches, step, config(), run=unfinished, facts=FACTS)
