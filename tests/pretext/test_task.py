"""What each kind of network is shown, and what a step asks of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import small_resenc
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS, IrisPreset, ResEncPreset
from mass3d.pretext.matching import MATCH_WEIGHT
from mass3d.pretext.task import ALIGNMENTS, TASKS, Cohort
from mass3d.store.reader import Store, StoredCase
from mass3d.training.step import StepContext
from mass3d.views.draw import ViewConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cases(store: Path) -> list[StoredCase]:
    opened = Store.open(store)
    return [opened.case(case_id) for case_id in opened.case_ids]


def batch(cases: list[StoredCase], kind: str, run: Path, **changes: object) -> Any:
    views = ViewConfig.model_validate({**TASKS[kind].views, "alignments": 4, **changes})
    return TASKS[kind].batches(Cohort(cases, (32, 32, 32), 2, 0, run, 1), views)(3, CPU)


def context(net: torch.nn.Module) -> StepContext:
    return StepContext(3, torch.Generator().manual_seed(7), net)


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_a_step_teaches_every_weight_and_shows_its_figure(
    kind: str, cases: list[StoredCase], tmp_path: Path
) -> None:
    preset = next(preset for preset in PRESETS.values() if preset.kind == kind)
    if isinstance(preset, IrisPreset):
        preset = IrisPreset(channels=(2, 4, 32, 32, 32), position_edge=32)
    if isinstance(preset, ResEncPreset):
        preset = small_resenc()
    net = build_network(preset, seed=0)
    shown = batch(cases, kind, tmp_path)
    outcome = TASKS[kind].step(net, shown, context(net))
    assert TASKS[kind].figure in outcome.figures
    assert outcome.case_ids == shown.case_ids
    outcome.loss.backward()
    untaught = [
        name
        for name, parameter in net.named_parameters()
        if (parameter.grad is None or not parameter.grad.any())
        and not (kind == "resenc" and name.endswith(".conv.bias"))  # a norm takes it away
    ]
    assert untaught == []


def test_updates_make_matching_better(cases: list[StoredCase], tmp_path: Path) -> None:
    net = build_network(PRESETS["tiny"], seed=0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    shown = batch(cases, "correspondence", tmp_path)
    losses = []
    for _ in range(12):
        outcome = TASKS["correspondence"].step(net, shown, context(net))
        figures = outcome.figures
        whole = figures["bce"] + MATCH_WEIGHT * figures["match"]
        torch.testing.assert_close(outcome.loss.detach(), whole)
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
        losses.append((float(figures["bce"]), float(figures["match"])))
    assert losses[-1][0] < losses[0][0]
    assert losses[-1][1] < 0.9 * losses[0][1]


def test_alignments_are_found_once(cases: list[StoredCase], tmp_path: Path) -> None:
    first = batch(cases, "correspondence", tmp_path, across_share=1.0)
    assert first.across.any()
    kept = tmp_path / ALIGNMENTS
    written = kept.read_bytes(), kept.stat().st_mtime_ns
    again = batch(cases, "correspondence", tmp_path, across_share=1.0)
    assert (kept.read_bytes(), kept.stat().st_mtime_ns) == written
    assert torch.equal(first.query.prior, again.query.prior)


@pytest.mark.parametrize("changes", [{"across_share": 0.0}, {"alignments": 0}])
def test_without_mates_nothing_is_aligned(
    changes: dict[str, object], cases: list[StoredCase], tmp_path: Path
) -> None:
    assert not batch(cases, "correspondence", tmp_path, **changes).across.any()
    assert not list(tmp_path.iterdir())


def test_a_single_scan_is_its_own_mate(cases: list[StoredCase], tmp_path: Path) -> None:
    shown = batch(cases[:1], "correspondence", tmp_path)
    assert shown.case_ids == (cases[0].case_id,)
    assert not shown.across.any()
