"""Processes that share the weights of a run give what one process gives that has them all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.torch_version import TorchVersion

import sharding_jobs
import training_jobs
from mass3d.errors import ConfigError
from mass3d.execution.processes import Processes
from mass3d.training import checkpoint
from mass3d.training.fabric import make_fabric
from mass3d.training.fit import fit
from mass3d.training.resume import read_record
from mass3d.training.run_files import METRICS, RESUME, WEIGHTS
from several import TORCHRUN, require_killed, run_to_end
from training_jobs import FACTS, batches, network, settings, step

SHARED = {"accumulate": 4, "optimizer": "lamb", "sharding": "full"}


def shared(
    run: Path, *, dies: int = -1, device: str = "cpu", job: str = "wide", **given: Any
) -> subprocess.CompletedProcess[str]:
    words = (str(run), str(dies), job, device, json.dumps(SHARED | given))
    return run_to_end([*TORCHRUN, training_jobs.__file__, *words])


def alone(run: Path, *, stops: int = -1, device: str = "cpu") -> None:
    """The run of one process; `stops`: the batch that it is interrupted at."""

    def made(number: int, where: torch.device) -> tuple[torch.Tensor, int]:
        if number == stops:
            raise KeyboardInterrupt
        return batches(number, where)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    where = torch.device(device)
    fit(network("wide"), made, step, settings(**SHARED), run=run, facts=FACTS, device=where)
    torch.set_num_threads(threads)


def require_alike(run: Path, other: Path, *, within: float = 1e-5) -> None:
    """The same weights and the same rows, but for rounding."""
    ours, theirs = (checkpoint.load(one / WEIGHTS, kind="weights")[0] for one in (run, other))
    for name in ours.keys() | theirs.keys():
        if name != "seen":  # each process counts for itself
            torch.testing.assert_close(ours[name], theirs[name], rtol=within, atol=within)
    rows: list[list[dict[str, Any]]] = [
        [json.loads(line) for line in (one / METRICS).read_text().splitlines()]
        for one in (run, other)
    ]
    for one, another in zip(*rows, strict=True):
        assert one == pytest.approx(another, rel=within)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone")
    alone(run)
    return run


@pytest.fixture(scope="module")
def undisturbed_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("two")
    ended = shared(run)
    assert ended.returncode == 0, ended.stderr
    assert "each of 2 processes keeps 0.00 GiB" in ended.stderr
    return run


@pytest.mark.slow
def test_what_is_shared_is_what_one_process_has(undisturbed: Path, undisturbed_two: Path) -> None:
    assert not (undisturbed_two / RESUME).exists()
    require_alike(undisturbed_two, undisturbed)


@pytest.mark.slow
def test_a_killed_run_of_two_processes_goes_on_in_two(
    undisturbed_two: Path, tmp_path: Path
) -> None:
    require_killed(shared(tmp_path, dies=17), tmp_path)  # the second process, in the fifth step
    ended = shared(tmp_path)
    assert ended.returncode == 0, ended.stderr
    for name in (WEIGHTS, METRICS):
        assert (tmp_path / name).read_bytes() == (undisturbed_two / name).read_bytes(), name


@pytest.mark.slow
def test_a_killed_run_goes_on_in_one_process(undisturbed: Path, tmp_path: Path) -> None:
    ended = shared(tmp_path, dies=17)  # of the second process, in the fifth step
    require_killed(ended, tmp_path)
    assert "another process of the run that ended" in ended.stderr
    alone(tmp_path)
    require_alike(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two(undisturbed: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        alone(tmp_path, stops=18)
    record = read_record(tmp_path)
    assert record is not None
    assert record.step in (2, 4)
    ended = shared(tmp_path)
    assert ended.returncode == 0, ended.stderr
    require_alike(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_loss_that_is_no_number_in_one_process_stops_both_with_what_is_good(
    tmp_path: Path,
) -> None:
    ended = shared(tmp_path, job="bad", accumulate=2)
    assert ended.returncode == 1
    for rank in (0, 1):
        assert f"{rank}: {tmp_path}: found a loss of nan" in ended.stderr, ended.stderr
    assert "case_8" not in ended.stderr  # of the first process, and innocent
    assert ended.stderr.count("at step 5, in batch 9 of process 1; expected") == 2
    assert ended.stderr.count("Look at the cases case_9; or") == 2
    record = read_record(tmp_path)
    assert record is not None
    assert record.step == 4


@pytest.mark.slow
def test_optimisers_and_networks_see_whole_tensors() -> None:
    ended = run_to_end([*TORCHRUN, sharding_jobs.__file__])
    assert ended.stdout.count("all well") == 2, ended.stderr


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two GPUs are wanted")
def test_two_gpus_share_a_run(tmp_path: Path) -> None:
    runs = tmp_path / "two", tmp_path / "one"
    ended = shared(runs[0], device="cuda")
    assert ended.returncode == 0, ended.stderr
    alone(runs[1], device="cuda")
    require_alike(*runs, within=1e-3)


def test_a_torch_that_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.6.1"))
    with pytest.raises(ConfigError, match=r"torch 2\.6\.1") as refused:
        make_fabric(torch.device("cpu"), Processes(0, 2), "full")
    assert refused.value.setting == "fit.sharding"
