"""Cases on processes of dask: new ones of this machine, or those of a cluster that runs already.

Every worker has one thread, and no more cases are handed out than there are threads. So no case
dies but the one that its worker was at, and 100,000 of them need no more memory than a few.
"""

from __future__ import annotations

import errno
import logging
import os
import pickle
import platform
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import dask
from dask.system import cpu_count
from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Worker,
    get_worker,
)
from distributed.core import Status
from distributed.utils import silence_logging_cmgr

from mass3d.errors import ConfigError
from mass3d.execution.free import GIB, available_bytes
from mass3d.files import VERSION

J = TypeVar("J")
R = TypeVar("R")
Task = Callable[[str, J], R]  # takes the name of a case and what is needed for it
Send = Callable[[str, J], "Future[R]"]
Tell = Callable[[str], None]

POLL_S = 2.0  # between looks at which workers there are
ANSWER_S = 10.0  # within which a scheduler answers
START_S = 60.0  # within which a dead process of this machine is replaced
LOCAL = {
    "distributed.scheduler.allowed-failures": 0,  # what comes then is decided here
    "distributed.scheduler.worker-ttl": None,  # compiled code may keep a worker from answering
    "distributed.worker.memory.target": False,  # results are small: there is nothing to spill
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.profile.enabled": False,
}
# In every new process: Ctrl+C is for the parent, and dask tells nothing, also while it closes,
# when it no longer keeps to `silence_logs`.
PRELOAD = """
import logging, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
logging.getLogger("distributed").setLevel(logging.CRITICAL)
"""


@dataclass(frozen=True)
class WorkerDied:
    """What becomes of a case whose workers die, as often as it is tried."""


Ended = Generator[tuple[str, R | WorkerDied], None, None]


def on_this_machine(task: Task[J, R], jobs: Mapping[str, J], *, workers: int) -> Ended[R]:
    """Work on all jobs in new processes that share the free memory.

    One that outgrows its share, or dies otherwise, is replaced. Its job waits until the others are
    done, and is then tried once more with all the memory for itself.
    """
    suspects: dict[str, J] = {}
    with _processes(workers) as client:
        for name, result in _hand_out(client, _sender(client, task), jobs, without=_give_up):
            if isinstance(result, WorkerDied):
                suspects[name] = jobs[name]
            else:
                yield name, result
    if suspects:
        with _processes(1) as client:
            yield from _hand_out(client, _sender(client, task), suspects, without=_give_up)


def on_scheduler(
    task: Task[J, R], jobs: Mapping[str, J], *, address: str, folder: Path | None, tell: Tell
) -> Ended[R]:
    """Work on all jobs where a running dask scheduler sends them, as if its workers stood here.

    Relative paths mean the same there. Workers may come and go; the job of a dead one goes to
    another, as often as the scheduler allows it. folder: what the task writes into. Raises
    `ConfigError` when nobody answers, or a worker is of another version, has several threads or
    does not see the files.
    """

    def wait(seconds: float) -> None:
        if seconds == 0:
            tell(f"waiting for a worker at {address}")

    def send(name: str, job: J) -> Future[R]:
        return client.submit(_as_if_here, origin, pickle.dumps((task, name, job)), pure=False)

    with _connected(address) as client, _token(folder) as token:
        origin = Origin(VERSION, _python(), Path.cwd(), token)
        workers = _require_fit_workers(client, origin)
        if workers:
            tell(f"{_workers_in_words(workers)}: at {address}")
        try:
            yield from _hand_out(client, send, jobs, without=wait)
        except (OSError, CancelledError):
            raise ConfigError(
                "scheduler",
                found=f"no answer any more from {address}",
                expected="a scheduler that lives until the last case",
                fix="Start it again, and give the same command: it goes on where it was.",
                setting="scheduler",
            ) from None


# --- how many -------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkerPlan:
    """How many processes of this machine work, and why not more."""

    workers: int
    reason: str

    def __str__(self) -> str:
        return f"{_workers_in_words(self.workers)}: {self.reason}"


def plan_workers(num_jobs: int, *, asked: int | None, bytes_each: float) -> WorkerPlan:
    """As many workers as are asked for, else as cores and memory allow; at most one for each job,
    and at least one.
    """
    alone = "one for each case"
    if asked is not None:
        few = num_jobs < asked
        return WorkerPlan(max(1, num_jobs) if few else asked, alone if few else "as asked")
    free = available_bytes()
    needed = f"memory for {bytes_each / GIB:.1f} GiB each, of {free / GIB:.1f} GiB free"
    limits = {
        alone: num_jobs,
        "as many as cores": cpu_count(),
        needed: int(free // max(bytes_each, 1.0)),
    }
    reason = min(limits, key=lambda reason: limits[reason])
    return WorkerPlan(max(1, limits[reason]), reason)


def _workers_in_words(workers: int) -> str:
    return f"{workers} worker" if workers == 1 else f"{workers} workers"


# --- where ----------------------------------------------------------------------------------


@contextmanager
def _processes(count: int) -> Iterator[Client]:
    """A client of new processes that share the memory; they end with the block or with this one."""
    with (
        _environment_kept(),
        TemporaryDirectory(prefix="mass3d-") as scratch,
        dask.config.set(LOCAL | {"temporary-directory": scratch}),
        _local_cluster(count) as cluster,
    ):
        try:
            with Client(cluster, set_as_default=False) as client:
                yield client
            _kill(cluster, starting=True)
        except BaseException:  # Ctrl+C above all: do not wait for cases under way
            _kill(cluster, starting=False)
            raise


def _kill(cluster: LocalCluster, *, starting: bool) -> None:
    """Kill all processes, or those alone that still start in the place of dead ones.

    Asked to close, one that starts would end in a traceback.
    """
    for nanny in cluster.workers.values():
        nanny.close_gracefully()  # that is: replace no process
        ready = nanny.process is not None and nanny.process.status == Status.running
        if nanny.pid and not (starting and ready):
            os.kill(nanny.pid, signal.SIGKILL)


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Undo what dask writes into the environment of this very process for its workers.

    OMP_NUM_THREADS=1 is among it, which would keep whatever trains after this on one core.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _local_cluster(count: int) -> LocalCluster:
    try:
        return LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            memory_limit=available_bytes() // count,
            dashboard_address="127.0.0.1:0",  # any free port: 8787 may be another command's
            scheduler_kwargs={"dashboard": False},
            preload=PRELOAD,
            silence_logs=logging.CRITICAL,
        )
    except RuntimeError as error:
        reason = (
            'no process could be started; a script calls from under `if __name__ == "__main__"`'
        )
        raise ChildProcessError(errno.ECHILD, reason) from error


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    with silence_logging_cmgr(logging.CRITICAL):  # what matters is told by errors
        try:
            client = Client(address, timeout=ANSWER_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigError(
                "scheduler",
                found=f"{address}, where nobody answers ({error})",
                expected="the address of a running dask scheduler, such as tcp://node1:8786",
                fix="Start `dask scheduler`, and give the address that it prints.",
                setting="scheduler",
            ) from None
        with client:
            yield client


@contextmanager
def _token(folder: Path | None) -> Iterator[Path | None]:
    """A new file in a folder, by which others know that they see that folder and no other."""
    if folder is None:
        yield None
        return
    token = folder / f".partial-{uuid4().hex}"
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


# --- what a worker elsewhere must be --------------------------------------------------------


class Unfit(NamedTuple):
    """Why cases cannot be sent to a worker."""

    found: str
    expected: str
    fix: str


@dataclass(frozen=True)
class Origin:
    """Where cases come from, and what a worker elsewhere must share with it."""

    mass3d: str
    python: str
    folder: Path  # where relative paths begin
    token: Path | None  # a file in the folder for the results

    def require(self, dask_worker: Worker) -> None:
        """Raise `ConfigError` when this process, a worker, is not fit for the cases."""
        unfit = self.unfit(dask_worker.state.nthreads)
        if unfit is not None:
            raise ConfigError(f"scheduler, worker {dask_worker.address}", **unfit._asdict())

    def unfit(self, threads: int) -> Unfit | None:
        """What is wrong with this process, if it is a worker of so many threads."""
        if (VERSION, _python()) != (self.mass3d, self.python):
            return Unfit(
                f"mass3d {VERSION} on Python {_python()}",
                f"mass3d {self.mass3d} on Python {self.python}, as here",
                "Start the worker in the same environment.",
            )
        if threads != 1:
            return Unfit(
                f"{threads} threads",
                "one, for a case takes a process for itself",
                "Start it with --nthreads 1, and with --nworkers for more of them.",
            )
        for place in (self.folder, self.token and self.folder / self.token):
            if place and not place.exists():
                return Unfit(
                    f"no {place}",
                    "the same files in the same places as here",
                    "Work in a folder of a file system that all machines share.",
                )
        return None


def _require_fit_workers(client: Client, origin: Origin) -> int:
    """Look at the workers that are there, and count them; others are looked at with each case."""
    found = client.run(origin.require, on_error="return")
    for worker, error in found.items():
        if isinstance(error, ConfigError):
            raise error
        if error is not None:
            raise _cannot(f"scheduler, worker {worker}", error)
    return len(found)


def _as_if_here(origin: Origin, packed: bytes) -> Any:
    """Do a task elsewhere. What it takes is unpacked late, for it may not fit another version."""
    origin.require(get_worker())
    with chdir(origin.folder):
        task, name, job = pickle.loads(packed)
        return task(name, job)


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


# --- handing out ----------------------------------------------------------------------------


def _sender(client: Client, task: Task[J, R]) -> Send[J, R]:
    return lambda name, job: client.submit(task, name, job, pure=False)


def _hand_out(
    client: Client,
    send: Send[J, R],
    jobs: Mapping[str, J],
    *,
    without: Callable[[float], None],
) -> Ended[R]:
    """Send every thread one job after the other; yields each as it ends.

    without: told at every look how many seconds there has been no worker.
    """
    left = deque(jobs.items())
    under_way: dict[object, str] = {}  # key -> name
    ended: Queue[Future[R]] = Queue()
    threads = _threads(client, without)
    while left or under_way:
        for _ in range(min(len(left), next(threads) - len(under_way))):
            name, job = left.popleft()
            future = send(name, job)
            under_way[future.key] = name
            future.add_done_callback(ended.put)
        try:
            future = ended.get(timeout=POLL_S)
        except Empty:
            continue
        result = _result(future)  # before its worker gets another job that keeps it from answering
        yield under_way.pop(future.key), result


def _threads(client: Client, without: Callable[[float], None]) -> Iterator[int]:
    """How many threads the workers have, as of a few seconds ago."""
    number, checked, gone = 0, -POLL_S, None
    while True:
        now = time.monotonic()
        if now - checked >= POLL_S:
            number, checked = sum(client.nthreads().values()), now
            gone = None if number else gone or now
            if gone:
                without(now - gone)
        yield number


def _give_up(seconds: float) -> None:
    if seconds > START_S:
        raise ChildProcessError(errno.ECHILD, "the processes died and no other could be started")


def _result(future: Future[R]) -> R | WorkerDied:
    """What a job returned, or that it cannot be done."""
    try:
        return future.result()
    except KilledWorker:
        return WorkerDied()
    except (ConfigError, CancelledError):
        raise
    except Exception as error:
        raise _cannot("scheduler", error) from error


def _cannot(where: str, error: Exception) -> ConfigError:
    return ConfigError(
        where,
        found=f"a worker that cannot take a case ({type(error).__name__}: {error})",
        expected=f"mass3d {VERSION} on Python {_python()}, as here",
        fix="Start the workers in the same environment.",
    )
