from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from distributed import Client

import mass3d
from mass3d.apps import inspect, prepare
from mass3d.apps.inspect import InspectConfig
from mass3d.apps.prepare import PrepareConfig
from mass3d.errors import ConfigError
from mass3d.execution import cluster
from mass3d.execution.cluster import Origin
from mass3d.execution.pool import run_cases
from mass3d.files import VERSION
from mass3d.phantom import write_phantom_cohort
from pool_jobs import work

MASS3D = "from mass3d.cli import main; main()"
ENV = os.environ | {
    "PYTHONPATH": os.pathsep.join(
        str(path.resolve())
        for path in (Path(mass3d.__file__).parents[1], Path(__file__).parents[1])
    )
}
Found = TypeVar("Found")
SECONDS = 300  # within which everything here happens, on a busy machine too


def until(happened: Callable[[], Found], *, every_s: float = 0.02) -> Found:
    """What is found, once there is something to find."""
    deadline = time.monotonic() + SECONDS
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(every_s)
    return found


@dataclass
class Site:
    """A scheduler in a process of its own, and workers that are told to join it."""

    folder: Path
    address: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """A worker of one process, which stands in another folder than the test."""
        given = ("--nthreads", "1", "--no-nanny", "--no-dashboard", *options)
        worker = dask("worker", self.address, *given, folder=self.folder)
        self.started.append(worker)
        return worker

    def stop(self) -> None:
        while self.started:
            stop(self.started.pop())


def dask(*words: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", *words]
    with (folder / f"{words[0]}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=ENV, stdout=log, stderr=log)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    file = folder / "scheduler.json"
    where = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
    scheduler = dask("scheduler", "--scheduler-file", str(file), *where, folder=folder)
    try:
        yield Site(folder, address_in(file))
    finally:
        stop(scheduler)


def address_in(file: Path) -> str:
    """The scheduler's address, once dask has written it: the file is there while still empty."""
    return until(
        lambda: re.findall(r"tcp://[\d.:]+", file.read_text()) if file.exists() else list[str]()
    )[0]


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    yield running
    running.stop()


def send(site: Site, job: int, folder: Path) -> object:
    """What becomes of one job at the site."""
    found = run_cases(
        work,
        {"a": job},
        workers=None,
        title="test",
        bytes_each=1,
        scheduler=site.address,
        folder=folder,
    )
    return found["a"]


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def writers(store: Path) -> list[int]:
    """Processes that are writing a case just now."""
    names = [path.name.split("-") for path in store.glob("cases/.partial-*")]
    return [int(words[1]) for words in names]


def test_a_killed_worker_of_a_running_cluster_changes_no_byte(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scans = write_phantom_cohort(Path("cohort"), cases=5, test_cases=1, seed=0) / "imagesTr"
    (scans / "text.nii").write_text("not an image")
    given = ["prepare", str(scans), "--spacing", "7", "-o", "store", "--scheduler", site.address]
    with Path("log").open("wb") as log:
        client = subprocess.Popen([sys.executable, "-c", MASS3D, *given], env=ENV, stderr=log)
    until(lambda: "waiting for a worker" in Path("log").read_text())
    workers = {worker.pid: worker for worker in (site.add_worker(), site.add_worker())}
    until(lambda: writers(Path("store")), every_s=0)
    killed = workers.pop(writers(Path("store"))[0])
    stop(killed)
    assert client.wait(timeout=SECONDS) == 1
    expected = prepare.run(
        PrepareConfig(inputs=(scans,), output=Path("expected"), spacing_mm=7.0, workers=1)
    )
    assert [fault.where for fault in expected.faults] == ["text"]
    assert len(expected.prepared) == 5
    assert contents(Path("store")) == contents(Path("expected"))
    facts = {
        name: inspect.run(InspectConfig.model_validate({"inputs": (scans,), name: value}))
        for name, value in (("workers", 1), ("scheduler", site.address))
    }
    assert facts["scheduler"] == facts["workers"]


def test_a_worker_that_cannot_do_the_same_as_this_process_is_refused_by_name(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add_worker("--nthreads", "2")
    with Client(site.address, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=SECONDS)
        (worker,) = client.nthreads()
    with pytest.raises(ConfigError, match=f"worker {worker}: found 2 threads; expected one"):
        send(site, 1, tmp_path)
    monkeypatch.setattr(cluster, "VERSION", "0.0")
    with pytest.raises(ConfigError, match=rf"{VERSION} on Python .* expected mass3d 0\.0"):
        send(site, 1, tmp_path)
    assert not list(tmp_path.iterdir())  # the token is gone


def test_a_worker_must_see_the_same_files(tmp_path: Path) -> None:
    def reason(folder: Path, token: Path | None) -> str | None:
        found = Origin(VERSION, platform.python_version().rpartition(".")[0], folder, token).unfit(
            1
        )
        return found and found.found

    token = tmp_path / "token"
    assert reason(tmp_path, None) is None
    assert reason(tmp_path, token) == f"no {token}"
    token.touch()
    assert reason(tmp_path, token) is None
    assert reason(tmp_path, Path("token")) is None  # as seen from the folder
    assert reason(tmp_path / "elsewhere", token) == f"no {tmp_path / 'elsewhere'}"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://node"])
def test_an_address_where_nobody_answers_is_named(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_S", 0.2)
    with pytest.raises(ConfigError, match=f"found {address}, where nobody answers"):
        send(Site(tmp_path, address), 1, tmp_path)
