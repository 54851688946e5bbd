"""A run of several processes is the run of one that takes the batches of all in each step."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

import training_jobs
from mass3d.errors import ConfigError, ModelError
from mass3d.execution.processes import ALONE, Processes
from mass3d.objective.contrastive import Contrastive
from mass3d.pretext.contrastive import contrast_step
from mass3d.pretext.correspondence import correspondence_step
from mass3d.training import checkpoint
from mass3d.training.config import FitConfig
from mass3d.training.fabric import lay_gradients_as_weights, lost_process_told, make_fabric
from mass3d.training.fit import fit
from mass3d.training.resume import batches_per_step, read_record
from mass3d.training.run_files import METRICS, RESUME, WEIGHTS
from several import ONE_THREAD, TORCHRUN, require_killed, run_to_end, slurm_to_end
from training_jobs import CONFIG, FACTS, RANK, batches, matches, network, settings, step, views


def two_processes(
    run: Path, *, dies: int = -1, job: str = "narrow", settings: str = "{}"
) -> subprocess.CompletedProcess[str]:
    words = (training_jobs.__file__, str(run), str(dies), job, "cpu", settings)
    return run_to_end([*TORCHRUN, *words])


def alone(run: Path, accumulate: int | str = 2) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = FitConfig.model_validate(CONFIG.model_dump() | {"accumulate": accumulate})
    fit(network(), batches, step, settings, run=run, facts=FACTS)
    torch.set_num_threads(threads)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(run / WEIGHTS, kind="weights")[0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone")
    alone(run)
    return run


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batches(tmp_path: Path, undisturbed: Path) -> None:
    ended = two_processes(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / RESUME).exists()
    assert (tmp_path / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()
    rows = [
        [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
        for run in (tmp_path, undisturbed)
    ]
    assert [row["step"] for row in rows[0]] == [3, 6, 7]  # written once, not by each
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sharding"), [("interactive", "none"), ("train", "full")])
def test_srun_is_enough_however_the_job_is_called(
    tmp_path: Path, undisturbed: Path, name: str, sharding: str
) -> None:
    told = json.dumps({"sharding": sharding})
    words = [sys.executable, training_jobs.__file__, str(tmp_path), "-1", "narrow", "cpu", told]
    for ended in slurm_to_end(words, 2, SLURM_JOB_NAME=name):  # and no SLURM_NTASKS_PER_NODE
        assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / RESUME).exists()
    assert len((tmp_path / METRICS).read_text().splitlines()) == 3  # written once, not by each
    for key, tensor in weights(undisturbed).items():
        torch.testing.assert_close(weights(tmp_path)[key], tensor, rtol=1e-6, atol=1e-6)
    if sharding == "none":
        assert (tmp_path / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_processes_that_see_other_folders_are_refused_by_all(tmp_path: Path) -> None:
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
    step = require_killed(two_processes(tmp_path / "0", dies=9), tmp_path / "0").step
    ended = two_processes(tmp_path / RANK)
    assert ended.returncode != 0
    for rank in (0, 1):
        told = re.search(
            rf"^{rank}: {tmp_path}/{rank}: found processes that do not see the same (.*)$",
            ended.stderr,
            re.MULTILINE,
        )
        assert told is not None, ended.stderr
        assert f"process 0 on {socket.gethostname()}: a run after step {step} (" in told[1]
        assert f"process 1 on {socket.gethostname()}: no run, stores and settings" in told[1]
        assert "Put them where every machine sees them under the same path" in told[1]
    assert not list((tmp_path / "1").iterdir())


@pytest.mark.slow
def test_a_state_that_one_process_cannot_read_ends_all(tmp_path: Path) -> None:
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
    (tmp_path / "1" / RESUME).write_text("torn")
    ended = two_processes(tmp_path / RANK)
    assert ended.returncode != 0
    for rank in (0, 1):
        assert f"{rank}: {tmp_path}/1/{RESUME}: found an unreadable file" in ended.stderr
    assert f" in process 1 on {socket.gethostname()}; expected a mass3d safetensors" in ended.stderr


@pytest.mark.slow
def test_a_run_that_lost_a_process_says_so_and_goes_on_in_one(
    tmp_path: Path, undisturbed: Path
) -> None:
    ended = two_processes(tmp_path, dies=9)  # of the second process, in the fifth step
    record = require_killed(ended, tmp_path)
    assert "0: " in ended.stderr
    assert "another process of the run that ended" in ended.stderr
    assert "the same command goes on from there" in ended.stderr
    assert record.batches_per_step == 2
    alone(tmp_path, "auto")  # with the batches that the run began with
    for name, tensor in weights(undisturbed).items():
        assert torch.equal(weights(tmp_path)[name], tensor)


@pytest.mark.slow
def test_two_processes_go_on_where_two_were_killed(tmp_path: Path, undisturbed: Path) -> None:
    require_killed(two_processes(tmp_path, dies=9), tmp_path)
    ended = two_processes(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_torchrun_that_is_told_to_stop_lets_the_run_be_saved(tmp_path: Path) -> None:
    endless = {"steps": 10**6, "save_every": 10**6, "save_minutes": 100}
    words = (training_jobs.__file__, str(tmp_path), "-1", "narrow", "cpu", json.dumps(endless))
    starter = subprocess.Popen(
        [*TORCHRUN, *words],
        env=os.environ | ONE_THREAD | {training_jobs.DISK: "slow"},
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 200
    while not (tmp_path / METRICS).exists() and time.monotonic() < until:
        assert starter.poll() is None, starter.communicate()
        time.sleep(0.1)
    starter.terminate()
    told = starter.communicate(timeout=100)[1]
    record = read_record(tmp_path)
    assert record is not None, told
    assert record.step >= 3
    for rank in (0, 1):
        assert f"{rank}: {tmp_path}: found SIGTERM after step {record.step};" in told
        # who ends before all is saved would have srun --kill-on-bad-exit end the one that writes
        assert f"{rank} leaves {sorted([RESUME, WEIGHTS])}" in told
    assert "All is saved: the same command goes on from there." in told


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_end_is_told_by_all(tmp_path: Path) -> None:
    words = [sys.executable, training_jobs.__file__, str(tmp_path), "-1", "narrow", "cpu"]
    rarely = json.dumps({"save_every": 1000, "save_minutes": 100})
    first, other = slurm_to_end([*words, rarely], 2, MASS3D_TEST_DISK="full")
    assert first.returncode == other.returncode == 1, (first.stderr, other.stderr)
    assert f"0: {tmp_path}: found no space left; expected" in first.stderr
    where = f"in process 0 on {socket.gethostname()}"
    assert f"1: {tmp_path}: found no space left {where}; expected" in other.stderr
    assert "Traceback" not in first.stderr + other.stderr


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_the_queue_of_earlier_views_is_that_of_one_process(tmp_path: Path, sharding: str) -> None:
    runs = tmp_path / "two", tmp_path / "one"
    told = json.dumps({"accumulate": 4, "sharding": sharding, "lr": 1e-3})
    ended = two_processes(runs[0], job="contrast", settings=told)
    assert ended.returncode == 0, ended.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = FitConfig.model_validate(CONFIG.model_dump() | json.loads(told))
    learned = fit(network("contrast"), views, contrast_step, settings, run=runs[1], facts=FACTS)
    torch.set_num_threads(threads)
    rows = [[json.loads(line) for line in (run / METRICS).read_text().splitlines()] for run in runs]
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for name, tensor in weights(runs[1]).items():
        torch.testing.assert_close(weights(runs[0])[name], tensor, rtol=1e-5, atol=1e-5)
    kept = cast("Contrastive", learned).owners.tolist()  # the queue, of 7 steps of 4 batches of 3
    assert kept[84 - 64 : 64] == [n % 7 for n in range(84 - 64, 64)]
    assert kept[: 84 - 64] == [n % 7 for n in range(64, 84)]


@pytest.mark.slow
def test_a_process_without_any_match_goes_on_with_the_others(tmp_path: Path) -> None:
    runs = tmp_path / "two", tmp_path / "one"
    ended = two_processes(runs[0], job="match")
    assert ended.returncode == 0, ended.stderr
    assert "Grad strides" not in ended.stderr  # of kernels of one voxel
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    both = settings(accumulate=2)
    fit(network("match"), matches, correspondence_step, both, run=runs[1], facts=FACTS)
    torch.set_num_threads(threads)
    for name, tensor in weights(runs[1]).items():
        torch.testing.assert_close(weights(runs[0])[name], tensor, rtol=1e-5, atol=1e-5)


def test_gradients_lie_as_their_kernels_do_and_are_the_same() -> None:
    torch.manual_seed(3)
    image = torch.randn(2, 1, 4, 4, 4)
    found = []
    for laid in (False, True):
        torch.manual_seed(4)
        net = nn.Sequential(nn.Conv3d(1, 6, 3), nn.Conv3d(6, 4, 1), nn.Flatten(), nn.Linear(32, 3))
        net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # stubs
        if laid:
            lay_gradients_as_weights(net.parameters())
        net(image).square().mean().backward()
        gradients = [(p, p.grad) for p in net.parameters()]
        found.append([gradient for _, gradient in gradients if gradient is not None])
    assert all(p.stride() == g.stride() for p, g in gradients if g is not None)
    assert len(found[0]) == len(found[1]) == 6
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_batches_that_processes_cannot_share_are_refused(tmp_path: Path) -> None:
    three = FitConfig(accumulate=3)
    assert batches_per_step(three, tmp_path, ALONE) == 3
    assert batches_per_step(three, tmp_path, Processes(2, 3)) == 3
    assert batches_per_step(FitConfig(), tmp_path, Processes(1, 4)) == 4
    with pytest.raises(ConfigError, match="3 batches per step for 2 processes") as refused:
        batches_per_step(three, tmp_path, Processes(0, 2))
    assert refused.value.setting == "fit.accumulate"


def test_makers_of_batches_are_shared_by_the_processes_of_a_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Processes] = []

    def one(device: torch.device, processes: Processes) -> int:
        told.append(processes)
        return 1

    monkeypatch.setattr("mass3d.training.fit.makers_for", one)
    first = Processes(0, 16, machines=8)
    alone = make_fabric(torch.device("cpu"))
    short = settings(steps=1, accumulate=16)
    fit(network(), batches, step, short, run=tmp_path, facts=FACTS, processes=first, fabric=alone)
    assert told == [first]
    assert told[0].per_machine == 2


def test_a_finished_run_tells_its_batches(tmp_path: Path) -> None:
    for facts, expected in (({"fit": {"accumulate": 6}}, 6), ({}, 1)):
        checkpoint.save(tmp_path / WEIGHTS, {}, kind="weights", facts=facts)
        assert batches_per_step(FitConfig(), tmp_path, ALONE) == expected


def test_only_the_loss_of_a_process_is_told_as_one() -> None:
    run = Path("run")
    with (
        pytest.raises(ModelError, match="another process of the run that ended"),
        lost_process_told(run, Processes(0, 2)),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    for error, processes in (("gloo", ALONE), ("shapes differ", Processes(0, 2))):
        with pytest.raises(RuntimeError, match=error), lost_process_told(run, processes):
            raise RuntimeError(error)
