import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mass3d
from helpers import STEPS, pretrain_config
from mass3d.apps import prepare, pretrain
from mass3d.errors import ConfigError, ModelError, StoreError
from mass3d.files import LOCK, only_writer
from mass3d.masks.hierarchy.settings import HierarchyConfig, SelectionConfig
from mass3d.masks.settings import MaskConfig
from mass3d.pages.run import PACE, RUN_PAGE
from mass3d.pages.step import STEP_PAGE
from mass3d.pretext.matching import MATCH_WEIGHT
from mass3d.pretext.task import ALIGNMENTS, TASKS
from mass3d.store.reader import Store
from mass3d.training import checkpoint
from mass3d.training.fit import StepContext, StepOutcome
from mass3d.training.resume import ResumeRecord, read_record
from mass3d.training.run_files import METRICS, RESUME, WEIGHTS
from mass3d.transfer.trained import save_untrained
from mass3d.views.matched import MatchedPairs
from several import TORCHRUN, require_done, slurm_to_end


def content(run: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(run.iterdir())}


def test_a_run_holds_weights_metrics_and_what_made_it(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names == {
        WEIGHTS,
        METRICS,
        "config.toml",
        "record.json",
        ALIGNMENTS,
        STEP_PAGE,
        RUN_PAGE,
        PACE,
        LOCK,
    }
    rows = [json.loads(line) for line in (trained / METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert all(row["masks"] > 1 for row in rows)


def test_the_same_seed_gives_the_same_bytes(trained: Path, store: Path, tmp_path: Path) -> None:
    pretrain.run(pretrain_config(store, tmp_path / "run"))
    for name in (WEIGHTS, METRICS):
        assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes()


def test_another_seed_gives_other_weights(trained: Path, store: Path, tmp_path: Path) -> None:
    pretrain.run(pretrain_config(store, tmp_path / "run", seed=1))
    assert (tmp_path / "run" / WEIGHTS).read_bytes() != (trained / WEIGHTS).read_bytes()


def test_a_finished_run_is_not_done_again(trained: Path, store: Path) -> None:
    before = content(trained)
    report = pretrain.run(pretrain_config(store, trained))
    assert report.step == STEPS
    assert content(trained) == before


def test_a_finished_run_with_other_settings_is_refused(trained: Path, store: Path) -> None:
    with pytest.raises(ConfigError, match="seed: 0 there, 1 wanted"):
        pretrain.run(pretrain_config(store, trained, seed=1))


def test_two_processes_cannot_write_one_run(store: Path, tmp_path: Path) -> None:
    with only_writer(tmp_path, ModelError), pytest.raises(ModelError, match="another mass3d"):
        pretrain.run(pretrain_config(store, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


@pytest.mark.slow
def test_processes_of_torchrun_give_the_run_of_one(store: Path, tmp_path: Path) -> None:
    settings = ["--steps", "2", "--device", "cpu", "--set", "views.crop_vox=[32, 32, 32]"]
    settings += ["--set", "fit={accumulate=2, batch_size=1, precision='auto', log_every=1}"]
    told = []
    shared = ["--set", "fit.sharding=full"]
    for name, starter, more in (
        ("one", (sys.executable,), []),
        ("two", TORCHRUN, []),
        ("shared", TORCHRUN, shared),
    ):
        words = ["pretrain", str(store), "-o", str(tmp_path / name), *settings, *more]
        said = require_done([*starter, "-m", "mass3d", *words], timeout=300)
        told.append(said.replace(str(tmp_path / name), "RUN"))
    assert content(tmp_path / "one").keys() == content(tmp_path / "two").keys()
    for name in (WEIGHTS, METRICS, "config.toml", "record.json", ALIGNMENTS):
        assert content(tmp_path / "one")[name] == content(tmp_path / "two")[name], name
    assert told[0] == told[1]  # the second process is silent
    assert mass3d.load(tmp_path / "shared")
    losses = [
        [json.loads(line)["loss"] for line in content(tmp_path / name)[METRICS].splitlines()]
        for name in ("shared", "one")
    ]
    # in 16 bits, in which kernels of another memory layout round otherwise
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


@pytest.mark.slow
def test_what_ends_one_process_ends_all_of_them(store: Path, tmp_path: Path) -> None:
    """Nobody ends those that wait: srun does so only with --kill-on-bad-exit."""
    run = tmp_path / "run"
    words = [sys.executable, "-m", "mass3d", "pretrain", str(store), "-o", str(run)]
    words += ["--device", "cpu", "--set", "views.crop_vox=[32,32,32]", "--steps", "2"]
    for said, more in (
        (str(tmp_path / "labelled"), ["--validate", str(tmp_path / "labelled")]),
        ("found another mass3d process writing into it", []),
    ):
        with nullcontext() if more else only_writer(run, ModelError):
            first, other = slurm_to_end([*words, *more], 2)
        assert first.returncode == other.returncode == 1, (first.stderr, other.stderr)
        assert said in first.stderr
        assert said in other.stderr
        assert f" in process 0 on {socket.gethostname()}; expected" in other.stderr
    told = (run / "config.toml").read_bytes()
    begun = ResumeRecord(
        step=1, precision="32-true", batches_per_step=2, optimizer={}, run={"seed": 3}
    )
    checkpoint.save(run / RESUME, {}, kind="resume", facts=begun.plain())
    for ended in slurm_to_end(words, 2):
        assert ended.returncode == 2, ended.stderr
        assert "an unfinished run that differs" in ended.stderr
    assert (run / "config.toml").read_bytes() == told


def test_two_halves_of_a_cohort_are_seen_as_one(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = sorted((cohort / "imagesTr").iterdir())
    halves = tmp_path / "odd", tmp_path / "even"
    for number, half in enumerate(halves):
        prepare.run(
            prepare.PrepareConfig(
                inputs=tuple(scans[number::2]), output=half, spacing_mm=7.0, workers=1
            )
        )
    seen: list[str] = []
    usual = TASKS["correspondence"]

    def watched(model: Any, pairs: MatchedPairs, context: StepContext) -> StepOutcome:
        seen.extend(pairs.case_ids)
        return usual.step(model, pairs, context)

    monkeypatch.setitem(TASKS, "correspondence", replace(usual, step=watched))
    config = pretrain_config(halves, tmp_path / "run")
    assert pretrain.run(config).ok
    assert 2 * len(scans) == 2 * STEPS  # every scan is a query twice
    assert sorted(set(seen)) == sorted(
        f"{half.name}/{case_id}" for half in halves for case_id in Store.open(half).case_ids
    )
    turned = pretrain_config(halves[::-1], tmp_path / "run")
    assert pretrain.run(turned).fingerprint == pretrain.run(config).fingerprint  # the same run
    with pytest.raises(ConfigError, match="other content of store"):
        pretrain.run(pretrain_config(halves[0], tmp_path / "run"))


def test_resume_insists_on_something_to_resume(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no resume state"):
        pretrain.run(pretrain_config(store, tmp_path / "run", resume=True))


def test_a_crop_off_the_stride_is_refused_with_one_that_fits(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[32, 32, 48\]"):
        pretrain.run(pretrain_config(store, tmp_path, views={"crop_vox": (30, 33, 50)}))


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        pretrain.run(pretrain_config(tmp_path, tmp_path / "run"))


def test_scans_smaller_than_the_crop_and_too_few_masks_still_train(
    cohort: Path, tmp_path: Path
) -> None:
    few = MaskConfig(hierarchy=HierarchyConfig(selection=SelectionConfig(max_masks=3)))
    scan = cohort / "imagesTr" / "ct_000_0000.nii.gz"
    prepare.run(
        prepare.PrepareConfig(
            inputs=(scan,), output=tmp_path / "store", spacing_mm=7.0, masks=few, workers=1
        )
    )
    views = {"crop_vox": (48, 48, 48), "num_masks": 30}
    fit = {"steps": 1, "batch_size": 1, "log_every": 1, "precision": "32-true"}
    report = pretrain.run(
        pretrain_config(tmp_path / "store", tmp_path / "run", views=views, fit=fit)
    )
    row = json.loads((tmp_path / "run" / METRICS).read_text())
    assert report.step == 1
    assert 1 < row["masks"] <= 18  # three of each of six trees
    assert row["loss"] == pytest.approx(row["bce"] + MATCH_WEIGHT * row["match"], rel=1e-5)


def test_the_untrained_twin_has_the_first_weights(trained: Path, tmp_path: Path) -> None:
    save_untrained(tmp_path, like=trained)
    assert (tmp_path / WEIGHTS).read_bytes() != (trained / WEIGHTS).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.4])
def test_a_run_killed_by_sigkill_ends_with_the_same_bytes(
    store: Path, tmp_path: Path, seconds: float
) -> None:
    fit = {"steps": 12, "batch_size": 1, "log_every": 1, "save_every": 1, "precision": "32-true"}
    whole, killed = (
        pretrain_config(store, tmp_path / name, fit=fit) for name in ("whole", "killed")
    )
    pretrain.run(whole)
    command = (
        "from mass3d.apps.pretrain import run, PretrainConfig;"
        f"run(PretrainConfig.model_validate_json({killed.model_dump_json()!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.DEVNULL)
    while not (tmp_path / "killed" / RESUME).exists():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / "killed" / f".partial-7-{RESUME}").write_text("half a state")
    pretrain.run(killed)
    assert not list((tmp_path / "killed").glob(".partial-*"))
    ours, theirs = content(tmp_path / "whole"), content(tmp_path / "killed")
    for name in (WEIGHTS, METRICS):
        assert ours[name] == theirs[name]
    shutil.rmtree(tmp_path)


CLI = "from mass3d.cli import main; main()"


@pytest.mark.usefixtures("hangups")
@pytest.mark.slow
def test_a_run_whose_terminal_is_closed_is_saved_and_goes_on(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [sys.executable, "-c", CLI, "pretrain", str(store), "-o", str(run), "--steps", "400"]
    for setting in ("fit.batch_size=1", "fit.log_every=1", "views.crop_vox=[32,32,32]"):
        words += ["--set", setting]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(words[0], words)
    told = b""
    while not ((run / METRICS).exists() and (run / METRICS).stat().st_size):
        told += os.read(terminal, 1)  # it stops the child to leave its words unread
        assert b"error" not in told, told
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGHUP
    record = read_record(run)
    assert record is not None
    assert record.step >= 1
    before = (run / "config.toml").read_bytes()
    for change, both in (
        (["--seed", "3"], "seed: 0 there, 3 wanted"),
        (["--set", "views.num_masks=5"], "views.num_masks: 24 there, 5 wanted"),
    ):
        refused = subprocess.run([*words, *change], capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert f"an unfinished run that differs ({both})" in refused.stderr
        assert (run / "config.toml").read_bytes() == before


def test_a_finished_run_names_every_setting_that_differs_and_both_values(
    trained: Path, store: Path
) -> None:
    before = content(trained)
    other = pretrain_config(
        store, trained, seed=7, fit={**pretrain_config(store, trained).fit.plain(), "steps": 9}
    )
    with pytest.raises(ConfigError, match="a finished run that differs") as caught:
        pretrain.run(other)
    assert f"fit.steps: {STEPS} there, 9 wanted" in caught.value.found
    assert "seed: 0 there, 7 wanted" in caught.value.found
    assert content(trained) == before
