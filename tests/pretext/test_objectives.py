"""Every objective trains the same network by the same loop, and its run says which it was."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import OTHERS, pretrain_config, small_resenc
from mass3d.apps import pretrain
from mass3d.errors import ConfigError, Interrupted
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.model.protocol import network_of
from mass3d.objective.contrastive import NOBODY, Contrastive
from mass3d.pages.step import STEP_PAGE
from mass3d.pretext.task import MASKS, OBJECTIVES, Cohort, ObjectiveName, PretextTask, task_of
from mass3d.store.reader import Store, StoredCase
from mass3d.training import checkpoint
from mass3d.training.run_files import METRICS, RESUME, WEIGHTS
from mass3d.training.step import StepContext
from mass3d.transfer.trained import load_trained, read_run
from mass3d.views.draw import ViewConfig

CPU = torch.device("cpu")
KIND = "correspondence"
# Of the trunk all is taught, of the rest what the objective needs.
TAUGHT = {
    "autoencoder": {"network.trunk", "hidden", "draw"},
    "contrastive": {"network.trunk", "project"},
    "correspondence": {"network.trunk", "network.key", "network.log_temperature"},
}


@pytest.fixture(scope="module")
def cases(store: Path) -> list[StoredCase]:
    opened = Store.open(store)
    return [opened.case(case_id) for case_id in opened.case_ids]


def batch(task: PretextTask, cases: list[StoredCase], run: Path) -> Any:
    views = ViewConfig.model_validate({**task.views, "alignments": 4})
    return task.batches(Cohort(cases, (32, 32, 32), 4, 0, run, 1), views)(3, CPU)


def context(net: torch.nn.Module) -> StepContext:
    return StepContext(3, torch.Generator().manual_seed(7), net)


@pytest.mark.parametrize("objective", OTHERS)
def test_a_step_teaches_all_that_the_objective_needs_and_nothing_else(
    objective: ObjectiveName, cases: list[StoredCase], tmp_path: Path
) -> None:
    task = task_of(objective, KIND)
    network = build_network(PRESETS["tiny"], seed=0)
    model = task.model(network, seed=0)
    assert network_of(model) is network
    shown = batch(task, cases, tmp_path)
    outcome = task.step(model, shown, context(model))
    assert task.figure in outcome.figures
    assert outcome.case_ids == shown.case_ids
    outcome.loss.backward()
    for name, parameter in model.named_parameters():
        taught = any(name.startswith(part) for part in TAUGHT[objective])
        assert parameter.requires_grad == taught, name
        assert (parameter.grad is not None and bool(parameter.grad.any())) == taught, name


@pytest.mark.parametrize("objective", OTHERS)
def test_updates_lower_the_loss_of_a_batch(
    objective: ObjectiveName, cases: list[StoredCase], tmp_path: Path
) -> None:
    task = task_of(objective, KIND)
    model = task.model(build_network(PRESETS["tiny"], seed=0), seed=0)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=2e-3)
    shown, losses = batch(task, cases, tmp_path), []
    for _ in range(12):
        if isinstance(model, Contrastive):
            model.owners.fill_(NOBODY)  # an empty queue: the same question at every step
        outcome = task.step(model, shown, context(model))
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
        losses.append(float(outcome.loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("objective", ["contrastive", "correspondence"])
def test_the_stacks_of_nnunet_are_taught_by_other_objectives(
    objective: ObjectiveName, cases: list[StoredCase], tmp_path: Path
) -> None:
    task = task_of(objective, "resenc")
    model = task.model(build_network(small_resenc(), seed=0), seed=0)
    task.step(model, batch(task, cases, tmp_path), context(model)).loss.backward()
    taught = {name for name, one in model.named_parameters() if one.grad is not None}
    wanted = {name for name, _ in model.named_parameters() if name.startswith("network.trunk.")}
    assert wanted <= taught


def test_the_autoencoder_is_for_our_own_trunk() -> None:
    with pytest.raises(ConfigError, match="a network of the kind resenc"):
        task_of("autoencoder", "resenc")


@pytest.mark.parametrize("objective", OTHERS)
def test_a_run_delivers_the_network_alone_and_says_what_made_it(
    objective: ObjectiveName, objective_runs: dict[str, Path], trained: Path
) -> None:
    record, tensors, _ = read_run(objective_runs[objective])
    assert record.objective == objective
    assert load_trained(objective_runs[objective], device="cpu").objective == objective
    first = build_network(PRESETS["tiny"], seed=0).state_dict()
    assert tensors.keys() == first.keys()
    moved = {name for name in tensors if not torch.equal(tensors[name], first[name])}
    assert {name for name in first if name.startswith("trunk.")} <= moved
    told = json.loads((objective_runs[objective] / "record.json").read_text())
    assert told["config"]["objective"] == objective
    assert not (objective_runs[objective] / STEP_PAGE).exists()
    # that of the default objective says what it always said
    facts = checkpoint.read_facts(trained / WEIGHTS, kind="weights")
    assert "objective" not in facts
    assert read_run(trained)[0].objective == MASKS


@pytest.mark.parametrize("objective", OTHERS)
def test_a_run_that_was_interrupted_ends_with_the_same_bytes(
    objective: ObjectiveName,
    objective_runs: dict[str, Path],
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual, steps = OBJECTIVES[objective][KIND], []

    def step(model: Any, shown: Any, context: StepContext) -> Any:
        steps.append(context.step)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGTERM)
        return usual.step(model, shown, context)

    task = PretextTask(**{**vars(usual), "step": step})
    monkeypatch.setitem(OBJECTIVES[objective], KIND, task)
    config = pretrain_config(store, tmp_path / "run", objective=objective)
    with pytest.raises(Interrupted):
        pretrain.run(config)
    assert (tmp_path / "run" / RESUME).exists()
    pretrain.run(config)
    assert steps == [0, 1, 2, 3]
    for name in (WEIGHTS, METRICS):
        assert (tmp_path / "run" / name).read_bytes() == (
            objective_runs[objective] / name
        ).read_bytes()


@pytest.mark.parametrize("objective", OTHERS)
def test_a_network_of_tokens_is_refused(
    objective: ObjectiveName, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="dense feature map"):
        pretrain.run(pretrain_config(store, tmp_path, objective=objective, preset="tokens"))


def test_one_scan_cannot_be_contrasted(cases: list[StoredCase], tmp_path: Path) -> None:
    task = task_of("contrastive", KIND)
    for some, size in ((cases[:1], 4), (cases, 1)):
        with pytest.raises(ConfigError, match="at least two"):
            task.batches(Cohort(some, (32, 32, 32), size, 0, tmp_path, 1), ViewConfig())


def test_another_objective_is_another_run(objective_runs: dict[str, Path], store: Path) -> None:
    with pytest.raises(ConfigError, match="objective: 'autoencoder' there, None wanted"):
        pretrain.run(pretrain_config(store, objective_runs["autoencoder"]))
