"""What each kind of network is shown, and what a step asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import small_resenc
from mass3d.errors import ConfigError
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS, IrisPreset, ResEncPreset
from mass3d.pretext.matching import MATCH_WEIGHT
from mass3d.pretext.task import ALIGNMENTS, OBJECTIVES, TASKS, Cohort, task_of, usual_views
from mass3d.store.reader import Store, StoredCase
from mass3d.training.step import StepContext
from mass3d.views.draw import StrongIntensityConfig, StrongWarpConfig, ViewConfig

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


@pytest.mark.parametrize(
    ("objective", "kind", "name", "value"),
    [
        ("masks", "correspondence", "far_share", 1.0),
        ("masks", "resenc", "negative_share", 0.5),
        ("masks", "iris", "across_share", 0.0),
        ("masks", "incontext", "prior_error_vox", 2.0),
        ("autoencoder", "correspondence", "num_masks", 3),
        ("contrastive", "correspondence", "alignments", 3),
        ("correspondence", "correspondence", "num_masks", 3),
        ("correspondence", "resenc", "prior_error_vox", 2.0),
    ],
)
def test_a_setting_that_decides_nothing_is_refused(
    objective: Any, kind: str, name: str, value: float
) -> None:
    usual = ViewConfig.model_validate(usual_views(objective, kind))
    task_of(objective, kind, usual)  # what a settings file repeats is no change
    with pytest.raises(ConfigError, match="do not use") as error:
        task_of(objective, kind, usual.model_copy(update={name: value}))
    assert error.value.setting == f"views.{name}"


def test_what_is_said_to_decide_nothing_decides_nothing(
    cases: list[StoredCase], tmp_path: Path
) -> None:
    for objective, kinds in OBJECTIVES.items():
        task = kinds["correspondence"]
        usual = ViewConfig.model_validate(task.views)
        unused = {
            "far_share": 0.9, "negative_share": 0.9, "num_masks": 5, "min_overlap": 0.2,
            "min_visible_vox": 100, "across_share": 0.1, "alignments": 1, "prior_error_vox": 3.0,
            "strong": StrongWarpConfig(p=0.0), "strong_intensity": StrongIntensityConfig(p=0.0),
        }  # fmt: skip
        unused = {name: one for name, one in unused.items() if name not in task.uses}
        assert unused
        runs = []
        for number, views in enumerate((usual, usual.model_copy(update=unused))):
            run = tmp_path / f"{objective}-{number}"
            run.mkdir()
            cohort = Cohort(cases, (32, 32, 32), 2, 0, run, 1)
            runs.append(list(tensors(task.batches(cohort, views)(3, CPU))))
        assert runs[0]
        torch.testing.assert_close(runs[0], runs[1], rtol=0, atol=0)


def tensors(batch: Any) -> Iterator[torch.Tensor]:
    """All of a batch, whatever it is made of."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, tuple | list):
        for part in batch:
            yield from tensors(part)
    elif hasattr(batch, "__dataclass_fields__"):
        yield from tensors(list(vars(batch).values()))
