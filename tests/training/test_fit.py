from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mass3d.errors import ConfigError, Interrupted, ModelError
from mass3d.execution.signals import STOPS
from mass3d.training import checkpoint, update
from mass3d.training.fit import FitConfig, Progress, StepContext, StepOutcome, fit
from mass3d.training.job import FitState, Job
from mass3d.training.processor import has_16_bits
from mass3d.training.resume import read_record
from mass3d.training.run_files import METRICS, RESUME, WEIGHTS
from mass3d.training.sharding import drop_unless_finite
from mass3d.training.step import Step
from oracles import training as oracle

CONFIG = FitConfig(
    steps=40, optimizer="adamw", lr=5e-2, log_every=5, save_every=10, precision="32-true"
)
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
    with pytest.raises(ConfigError, match="'a line' there"):
        fit(network(), batches, step, CONFIG, run=tmp_path, facts={"what": "a circle"})


def test_a_loss_that_is_not_finite_stops_and_names_the_case(tmp_path: Path) -> None:
    def broken(model: nn.Module, batch: tuple[Tensor, Tensor], context: StepContext) -> StepOutcome:
        return StepOutcome(model(batch[0]).mean() * float("nan"), {}, ("case_7",))

    with pytest.raises(ModelError, match=r"at step 1, in batch 0; .* case_7"):
        fit(network(), batches, broken, CONFIG, run=tmp_path, facts=FACTS)
    assert not (tmp_path / WEIGHTS).exists()


def bad_at(number: int, *, loss: bool) -> Step[tuple[Tensor, Tensor]]:
    """A step that goes wrong in one batch: in the loss, or in the gradient alone."""
    bad = batches(number, torch.device("cpu"))[0]

    def taken(model: nn.Module, batch: tuple[Tensor, Tensor], context: StepContext) -> StepOutcome:
        found = step(model, batch, context)
        if not torch.equal(batch[0], bad):
            return found
        root = (next(model.parameters()) * 0).sum().sqrt()  # 0, and its slope is infinite
        worse = found.loss * float("nan") if loss else found.loss + root
        return found._replace(loss=worse, case_ids=("case_bad",))

    return taken


def test_of_several_batches_the_one_without_a_finite_loss_is_named(tmp_path: Path) -> None:
    two = CONFIG.model_copy(update={"accumulate": 2})
    with pytest.raises(ModelError, match="at step 3, in batch 5; ") as caught:
        fit(network(), batches, bad_at(5, loss=True), two, run=tmp_path, facts=FACTS)
    assert "case_bad;" in caught.value.fix
    with pytest.raises(ModelError, match="at step 3, in batches 4, 5; ") as caught:
        fit(network(), batches, bad_at(5, loss=False), two, run=tmp_path, facts=FACTS)
    assert "case_1, case_bad;" in caught.value.fix


@pytest.mark.parametrize("loss", [True, False])
@pytest.mark.parametrize(("at", "saved"), [(3, 0), (12, 10)])
def test_where_rows_are_looked_at_nothing_is_saved_past_the_bad_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, saved: int, loss: bool
) -> None:
    def as_on_a_gpu(job: Job[Any], state: FitState) -> None:
        del job
        parameters = list(state.model.parameters())
        norm = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).norm()
        drop_unless_finite(parameters, norm)

    monkeypatch.setattr(update, "require_finite", as_on_a_gpu)
    model, rarely = network(), CONFIG.model_copy(update={"log_every": 1000})
    with pytest.raises(ModelError, match=f"at step {at + 1}, in batch {at}; .* case_bad"):
        fit(model, batches, bad_at(at, loss=loss), rarely, run=tmp_path, facts=FACTS)
    record = read_record(tmp_path)
    assert (record.step if record else 0) == saved
    assert all(p.isfinite().all() for p in model.parameters())


def test_the_delivered_weights_are_the_average(tmp_path: Path) -> None:
    model = network()
    averaged = fit(model, batches, step, CONFIG, run=tmp_path, facts=FACTS)
    tensors, _, _ = checkpoint.load(tmp_path / WEIGHTS, kind="weights")
    assert all(torch.equal(tensors[k], v) for k, v in averaged.state_dict().items())
    assert not torch.equal(tensors["0.weight"], model.state_dict()["0.weight"])


@pytest.mark.skipif(not has_16_bits(), reason="this processor must imitate 16 bits")
def test_a_probe_stands_for_the_model_in_the_first_try_of_16_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mass3d.training.precision.is_faster_in_16_bits", lambda: True)
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


# --- stopping -------------------------------------------------------------------------------

ENDLESS = """
import signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # not so in the background
if sys.argv[3] == "nohup":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
from training.test_fit import ENDLESS_CONFIG, FACTS, batches, network, step
from mass3d.errors import Interrupted
from mass3d.training.fit import fit
try:
    fit(network(), batches, step, ENDLESS_CONFIG, run=Path(sys.argv[2]), facts=FACTS)
except Interrupted as error:
    sys.exit(f"{error.exit_code} {error}")
"""
ENDLESS_CONFIG = CONFIG.model_copy(update={"steps": 10**6, "save_every": 10**6, "prefetch": 0})


def endless(run: Path, how: str = "") -> subprocess.Popen[str]:
    """A process that has begun a run without end and has saved nothing."""
    tests = str(Path(__file__).parents[1])
    words = [sys.executable, "-c", ENDLESS, tests, str(run), how]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    until((run / METRICS).exists, child)
    return child


def until(true: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    while not true():
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("number", STOPS)
def test_every_usual_stop_saves_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    child = endless(tmp_path)
    child.send_signal(number)
    _, told = child.communicate()
    assert f"{128 + number} {tmp_path}: found {number.name} after step" in told
    assert "All is saved: the same command goes on from there." in told
    record = read_record(tmp_path)
    assert record is not None
    assert record.step >= 5
    assert f"after step {record.step};" in told  # not a step was lost


@pytest.mark.parametrize("at", [15, 17, 40])
def test_who_asks_for_the_end_does_not_wait_for_hooks(tmp_path: Path, at: int) -> None:
    """They may validate for minutes. Those that are due are called when the run goes on."""
    called: list[Progress] = []
    dies = False

    def hook(averaged: nn.Module, now: Progress) -> None:
        del averaged
        if dies:
            raise KilledError
        called.append(now)

    def stopped(
        model: nn.Module, batch: tuple[Tensor, Tensor], context: StepContext
    ) -> StepOutcome:
        if context.step == at - 1:
            signal.raise_signal(signal.SIGTERM)
        return step(model, batch, context)

    whole, run = tmp_path / "whole", tmp_path / "run"
    fit(network(), batches, step, CONFIG, run=whole, facts=FACTS, hooks=(hook,))
    undisturbed = [(now.step, now.figures, now.before) for now in called]
    called.clear()
    with pytest.raises(Interrupted, match=f"SIGTERM after step {at};"):
        fit(network(), batches, stopped, CONFIG, run=run, facts=FACTS, hooks=(hook,))
    assert [now.step for now in called] == list(range(5, at, 5))
    record = read_record(run)
    assert record is not None
    assert (record.step, record.told) == (at, at if at % 5 else at - 1)
    dies = True  # while the hooks that were due are called
    with pytest.raises(KilledError):
        fit(network(), batches, step, CONFIG, run=run, facts=FACTS, hooks=(hook,))
    dies = False
    fit(network(), batches, step, CONFIG, run=run, facts=FACTS, hooks=(hook,))
    assert [(now.step, now.figures, now.before) for now in called] == undisturbed
    assert content(run) == content(whole)


def test_a_run_that_has_ended_but_for_its_row_is_delivered_in_spite_of_a_signal(
    tmp_path: Path,
) -> None:
    def stopped(
        model: nn.Module, batch: tuple[Tensor, Tensor], context: StepContext
    ) -> StepOutcome:
        if context.step == CONFIG.steps - 1:
            signal.raise_signal(signal.SIGTERM)
        return step(model, batch, context)

    fit(network(), batches, stopped, CONFIG, run=tmp_path, facts=FACTS)
    assert (tmp_path / WEIGHTS).exists()
    assert not (tmp_path / RESUME).exists()


def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path: Path) -> None:
    child = endless(tmp_path, "nohup")
    child.send_signal(signal.SIGHUP)
    rows = (tmp_path / METRICS).stat().st_size
    until(lambda: (tmp_path / METRICS).stat().st_size > rows + 1000, child)
    child.terminate()
    assert "found SIGTERM" in child.communicate()[1]


def test_a_run_is_saved_by_time_too(tmp_path: Path) -> None:
    def dying(number: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if number == 9:
            raise KilledError
        return batches(number, device)

    often = CONFIG.model_copy(
        update={"save_every": 1000, "save_minutes": 1e-9, "log_every": 1000, "prefetch": 0}
    )
    with pytest.raises(KilledError):
        fit(network(), dying, step, often, run=tmp_path, facts=FACTS)
    record = read_record(tmp_path)
    assert record is not None
    assert record.step == 9


@pytest.mark.parametrize("clip", [1e9, 0.05])
def test_the_loop_is_the_plain_loop(clip: float, tmp_path: Path) -> None:
    settings = CONFIG.model_copy(update={"steps": 25, "weight_decay": 0.3, "clip": clip})
    averaged = fit(network(), batches, step, settings, run=tmp_path, facts=FACTS)

    def loss_of(model: nn.Module, number: int) -> Tensor:
        x, y = batches(number, torch.device("cpu"))
        return (model(x) - y).square().mean()

    plain = oracle.train(
        network(),
        loss_of,
        steps=25,
        peak=settings.lr,
        decay=0.3,
        clip=clip,
        ema_decay=settings.ema_decay,
    )
    for ours, theirs in zip(averaged.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [2, 5])
def test_several_small_batches_are_one_large_batch(parts: int, tmp_path: Path) -> None:
    def large(number: int, device: torch.device) -> tuple[Tensor, Tensor]:
        taken = [batches(number * parts + part, device) for part in range(parts)]
        return torch.cat([x for x, _ in taken]), torch.cat([y for _, y in taken])

    small = CONFIG.model_copy(update={"accumulate": parts})
    ours = fit(network(), batches, step, small, run=tmp_path / "small", facts=FACTS)
    theirs = fit(network(), large, step, CONFIG, run=tmp_path / "large", facts=FACTS)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    rows = [
        [json.loads(line) for line in (tmp_path / name / METRICS).read_text().splitlines()]
        for name in ("small", "large")
    ]
    for small_row, large_row in zip(*rows, strict=True):
        assert small_row["step"] == large_row["step"]
        assert small_row["loss"] == pytest.approx(large_row["loss"], rel=1e-3)
        assert small_row["grad_norm"] == pytest.approx(large_row["grad_norm"], rel=1e-3)


def test_prefetching_changes_no_byte(tmp_path: Path) -> None:
    for makers, ahead in enumerate((0, 3, 3)):
        settings = CONFIG.model_copy(update={"prefetch": ahead, "makers": makers or "auto"})
        fit(network(), batches, step, settings, run=tmp_path / str(makers), facts=FACTS)
    assert content(tmp_path / "0") == content(tmp_path / "1") == content(tmp_path / "2")


def test_hooks_get_the_averaged_model_and_the_figures_of_the_row(tmp_path: Path) -> None:
    seen: list[tuple[nn.Module, Progress]] = []

    def hook(model: nn.Module, now: Progress) -> None:
        assert not model.training
        seen.append((copy.deepcopy(model), now))

    settings = CONFIG.model_copy(update={"steps": 12, "batch_size": 16, "accumulate": 2})
    averaged = fit(network(), batches, step, settings, run=tmp_path, facts=FACTS, hooks=(hook,))
    assert [(now.step, now.steps) for _, now in seen] == [(5, 12), (10, 12), (12, 12)]
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [{"step": now.step, **now.figures} for _, now in seen] == rows
    assert all(now.samples_per_s > 0 for _, now in seen)
    for ours, theirs in zip(seen[-1][0].parameters(), averaged.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(next(seen[0][0].parameters()), next(seen[1][0].parameters()))


class Growing(nn.Module):
    """Weights that grow by the rate at every step, close below what a float can hold."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 1), start))

    def forward(self, x: Tensor) -> Tensor:
        return x.abs() @ (self.weight - self.weight.detach())


def downhill(model: nn.Module, batch: tuple[Tensor, Tensor], context: StepContext) -> StepOutcome:
    return StepOutcome(-model(batch[0]).mean(), {}, ("case_3",))


@pytest.mark.parametrize(
    ("steps", "start", "found"),
    [(1, 3.2e38, "after the last update"), (4, 3.0e38, "after step 2")],
)
def test_weights_that_are_not_finite_are_never_delivered(
    steps: int, start: float, found: str, tmp_path: Path
) -> None:
    values = {"lr": 3e37, "weight_decay": 0.0, "save_every": 2, "schedule": "constant"}
    settings = CONFIG.model_copy(update={"steps": steps, **values})
    with pytest.raises(ModelError, match=f"weights that are not finite {found}"):
        fit(Growing(start), batches, downhill, settings, run=tmp_path, facts=FACTS)
    assert not (tmp_path / WEIGHTS).exists()
    assert not (tmp_path / RESUME).exists()


def test_a_bad_step_saves_what_was_good_before_it(tmp_path: Path) -> None:
    def broken(model: nn.Module, batch: tuple[Tensor, Tensor], context: StepContext) -> StepOutcome:
        outcome = step(model, batch, context)
        return outcome._replace(loss=outcome.loss * float("inf")) if context.step == 7 else outcome

    with pytest.raises(ModelError, match=r"a loss of inf .* at step 8") as error:
        fit(network(), batches, broken, CONFIG, run=tmp_path, facts=FACTS)
    assert error.value.setting == "fit.lr"
    assert "float32" not in str(error.value)
    assert checkpoint.read_facts(tmp_path / RESUME, kind="resume")["step"] == 7


def test_of_a_bad_step_in_16_bits_these_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)

    def broken(model: nn.Module, batch: tuple[Tensor, Tensor], context: StepContext) -> StepOutcome:
        outcome = step(model, batch, context)
        return outcome._replace(loss=outcome.loss * float("inf"))

    settings = CONFIG.model_copy(update={"precision": "bf16-mixed"})
    with pytest.raises(ModelError, match=r"in float32: fit\.precision=32-true"):
        fit(network(), batches, broken, settings, run=tmp_path, facts=FACTS)


def test_a_run_in_another_thread_is_the_same_run(tmp_path: Path) -> None:
    def work() -> None:
        fit(network(), batches, step, CONFIG, run=tmp_path / "thread", facts=FACTS)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    fit(network(), batches, step, CONFIG, run=tmp_path / "main", facts=FACTS)
    assert content(tmp_path / "thread") == content(tmp_path / "main")


def test_the_first_try_of_auto_changes_no_byte(tmp_path: Path) -> None:
    for precision in ("auto", "32-true"):
        settings = CONFIG.model_copy(update={"precision": precision})
        fit(network(), batches, step, settings, run=tmp_path / precision, facts=FACTS)
    facts = checkpoint.read_facts(tmp_path / "auto" / WEIGHTS, kind="weights")
    if facts["precision"] == "32-true":  # on processors without 16 bits
        assert content(tmp_path / "auto") == content(tmp_path / "32-true")
