import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mass3d.errors import ModelError
from mass3d.training import checkpoint
from mass3d.training.fit import (
    METRICS,
    RESUME,
    WEIGHTS,
    FitConfig,
    StepContext,
    StepOutcome,
    fit,
)

CONFIG = FitConfig(steps=40, lr=5e-2, log_every=5, save_every=10, precision="32-true")
FACTS = {"what": "a line"}


class KilledError(Exception):
    """Stands for the end of the process."""


def batches(step: int, device: torch.device) -> tuple[Tensor, Tensor]:
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step)).to(device)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]])


def step(model: nn.Module, batch: tuple[Tensor, Tensor], context: StepContext) -> StepOutcome:
    loss = (model(batch[0]) - batch[1]).square().mean()
    return StepOutcome(loss, {"twice": 2 * loss.detach()}, ("case_1",))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))


def content(run: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(run.iterdir())}


def test_the_loss_falls_and_the_run_is_complete(tmp_path: Path) -> None:
    fit(network(), batches, step, CONFIG, run=tmp_path, facts=FACTS)
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(5, 41, 5))
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    assert rows[0]["twice"] == pytest.approx(2 * rows[0]["loss"])
    assert not (tmp_path / RESUME).exists()
    _, facts, _ = checkpoint.load(tmp_path / WEIGHTS, kind="weights")
    assert facts == {**FACTS, "step": 40, "precision": "32-true"}


@pytest.mark.parametrize("killed_at", [3, 10, 17, 39])
def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path, killed_at: int) -> None:
    undisturbed, killed = tmp_path / "a", tmp_path / "b"
    fit(network(), batches, step, CONFIG, run=undisturbed, facts=FACTS)

    def dying(number: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if number == killed_at:
            raise KilledError
        return batches(number, device)

    with pytest.raises(KilledError):
        fit(network(), dying, step, CONFIG, run=killed, facts=FACTS)
    fit(network(), batches, step, CONFIG, run=killed, facts=FACTS)
    assert content(undisturbed) == content(killed)


def test_a_resume_state_of_another_run_is_refused(tmp_path: Path) -> None:
    def dying(number: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if number == 15:
            raise KilledError
        return batches(number, device)

    with pytest.raises(KilledError):
        fit(network(), dying, step, CONFIG, run=tmp_path, facts=FACTS)
    with pytest.raises(ModelError, match="another what"):
        fit(network(), batches, step, CONFIG, run=tmp_path, facts={"what": "a circle"})


def test_a_loss_that_is_not_finite_stops_and_names_the_case(tmp_path: Path) -> None:
    def broken(model: nn.Module, batch: tuple[Tensor, Tensor], context: StepContext) -> StepOutcome:
        return StepOutcome(model(batch[0]).mean() * float("nan"), {}, ("case_7",))

    with pytest.raises(ModelError, match="case_7"):
        fit(network(), batches, broken, CONFIG, run=tmp_path, facts=FACTS)
    assert not (tmp_path / WEIGHTS).exists()


def test_the_delivered_weights_are_the_average(tmp_path: Path) -> None:
    model = network()
    averaged = fit(model, batches, step, CONFIG, run=tmp_path, facts=FACTS)
    tensors, _, _ = checkpoint.load(tmp_path / WEIGHTS, kind="weights")
    assert all(torch.equal(tensors[k], v) for k, v in averaged.state_dict().items())
    assert not torch.equal(tensors["0.weight"], model.state_dict()["0.weight"])


@pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="16 bits are not tried on this processor"
)
def test_a_probe_stands_for_the_model_in_the_first_try_of_16_bits(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"precision": "auto", "steps": 2})
    probe = network()
    with torch.no_grad():
        next(probe.parameters()).fill_(float("nan"))  # whatever is compared to this differs

    def precision(run: Path, **changes: nn.Module) -> str:
        fit(network(), batches, step, config, run=run, facts=FACTS, **changes)  # type: ignore[arg-type]
        found: str = checkpoint.read_facts(run / WEIGHTS, kind="weights")["precision"]
        return found

    assert precision(tmp_path / "alone") == "bf16-mixed"
    assert precision(tmp_path / "probed", probe=probe) == "32-true"
