"""Jobs: verbs that run as processes of their own, one at a time, and what became of them.

A job is a file in `jobs/`, written at every change, and a log beside it. What a job has finished is
what its verb has written, so nothing is lost with the server, and the same command goes on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import psutil
from pydantic import TypeAdapter

from mass3d.config import Config
from mass3d.errors import Mass3dError
from mass3d.execution.summary import counted
from mass3d.files import read_json, write_json
from mass3d.server.commands import Commands, typed
from mass3d.server.keeper import GRACE_S, end
from mass3d.server.project import JOBS, Project
from mass3d.server.refusal import conflict, unknown
from mass3d.server.rounds import FAULTS, Rounds

Kind = Literal["task", "segment", "both"]
KIND: Final[TypeAdapter[Kind]] = TypeAdapter(Kind)
LIVE: Final = ("queued", "running")
RESUMABLE: Final = ("cancelled", "failed", "interrupted")
LINE: Final = re.compile(r"segment (\d+)/(\d+)(?:  (.*))?")  # as progress tells it in a file
TAIL: Final = 2**16  # bytes of a log that are looked at
NICE: Final = 5  # so that the page answers while a job takes all cores


class Job(Config):
    """jobs/<id>.json."""

    id: int
    kind: Kind
    round: int
    state: Literal["queued", "running", "done", "failed", "cancelled", "interrupted"] = "queued"
    commands: tuple[tuple[str, ...], ...]
    """Words of each, one after the other."""
    step: int = 0
    """The one that runs now."""
    done: int = 0
    """Scans that were segmented."""
    total: int
    started: str | None = None
    ended: str | None = None
    error: str | None = None
    process: tuple[int, float] | None = None
    """Number and start of the process, while it runs."""


@dataclass
class _Running:
    process: subprocess.Popen[bytes] | None = None
    asked: str = ""  # the state that somebody wants it to end in


@dataclass
class Jobs:
    """The jobs of a project; one runs, and none waits."""

    project: Project
    rounds: Rounds
    commands: Commands
    cases: Sequence[str]
    grace_s: float = GRACE_S
    program: tuple[str, ...] = (sys.executable, "-m", "mass3d")
    _jobs: dict[int, Job] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _running: _Running = field(default_factory=_Running)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        for path in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValueError):  # a damaged one says nothing
                job = Job.model_validate(read_json(path))
                self._jobs[job.id] = job

    @property
    def _folder(self) -> Path:
        return self.project.folder / JOBS

    def recover(self, *, resume: bool) -> None:
        """After a server that died: end what still runs of its job, and go on where asked."""
        for job in list(self._jobs.values()):
            if job.state in LIVE:
                _end_orphan(job, self.grace_s)
                self._put(job, state="interrupted", process=None, ended=_now())
        newest = self._newest()
        if resume and newest is not None and newest.state == "interrupted":
            self.resume(newest.id)

    def all(self) -> list[dict[str, Any]]:
        """Every job as the page is told it, the newest first."""
        with self._lock:
            jobs = sorted(self._jobs.values(), key=lambda job: -job.id)
        return [self.told(job) for job in jobs]

    def told(self, job: Job) -> dict[str, Any]:
        """A job as the page is told it."""
        done, words = self._progress(job) if job.state in LIVE else (job.done, "")
        return {
            "id": job.id,
            "kind": job.kind,
            "round": job.round,
            "state": job.state,
            "done": done,
            "total": job.total,
            "told": words,
            "command": " && ".join(map(typed, job.commands)),
            "started": job.started,
            "ended": job.ended,
            "error": job.error,
        }

    def start(self, kind: Kind) -> Job:
        """Begin a job. Raises `Refused` (409) where one runs, or there is nothing to do."""
        with self._lock, self.project.lock:
            self._require_idle()
            state, newest = self.project.state(), self.rounds.newest()
            stale = self.rounds.is_stale(newest, state)
            if kind == "both" and not stale:
                kind = "segment"
            number = newest.number if newest else 0
            commands = []
            if kind != "segment":
                self._require_references(state.references, stale=stale)
                number += 1
                self.rounds.begin(number, state)
                self.project.change(round=number)
                commands.append(self.commands.task(state, self.rounds.folder(number)))
            if kind != "task":
                if kind == "segment":
                    self._require_left()
                commands.append(self.commands.segment(state, self.rounds.folder(number)))
            job = Job(
                id=max(self._jobs, default=0) + 1,
                kind=kind,
                round=number,
                commands=tuple(commands),
                total=1 if kind == "task" else len(self.cases),
            )
            return self._begin(job)

    def cancel(self, job_id: int) -> Job:
        """Ask a job to end; what is finished is kept. Raises `Refused`."""
        with self._lock:
            job = self._job(job_id)
            if job.state not in LIVE:
                raise conflict(f"a job that is {job.state}", "one that runs", "Nothing is to do.")
            self._running.asked = "cancelled"
            self._ask_to_end()
            return job

    def resume(self, job_id: int) -> Job:
        """The same commands again, from where they were. Raises `Refused`."""
        with self._lock:
            job = self._job(job_id)
            self._require_idle()
            if job.state not in RESUMABLE:
                raise conflict(
                    f"a job that is {job.state}",
                    "one that was cancelled, has failed or was interrupted",
                    "Start a new one.",
                )
            if job is not self._newest():
                raise conflict("a job before the newest", "the newest", "Start a new one.")
            return self._begin(job.model_copy(update={"error": None, "ended": None}))

    def close(self) -> None:
        """End what runs, as the server ends; it is interrupted and can be resumed."""
        with self._lock:
            self._running.asked = self._running.asked or "interrupted"
            self._ask_to_end()
        if self._thread is not None:
            self._thread.join()

    def _job(self, job_id: int) -> Job:
        if job_id not in self._jobs:
            raise unknown("job of this number")
        return self._jobs[job_id]

    def _newest(self) -> Job | None:
        return self._jobs[max(self._jobs)] if self._jobs else None

    def _require_idle(self) -> None:
        live = next((job for job in self._jobs.values() if job.state in LIVE), None)
        if live is not None:
            raise conflict("a job that runs", "one at a time", "Wait for it, or cancel it.")

    def _require_references(self, references: Sequence[str], *, stale: bool) -> None:
        if not references:
            raise conflict(
                "no reference", "at least one scan whose label map is used", "Draw a structure."
            )
        if not stale:
            raise conflict("a task that is up to date", "something new", "Segment with it.")

    def _require_left(self) -> None:
        newest = self.rounds.newest()
        if newest is None:
            raise conflict("no task", "a task to segment with", "Make a task first.")
        if self.rounds.results(newest).keys() >= set(self.cases):
            raise conflict(
                "all scans segmented with the newest task", "scans that are left", "Correct one."
            )

    def _begin(self, job: Job) -> Job:
        self._running = running = _Running()
        job = self._put(job, state="queued", started=job.started or _now())
        self._thread = threading.Thread(target=self._run, args=(job.id, running), daemon=True)
        self._thread.start()
        return job

    def _put(self, job: Job, **values: Any) -> Job:
        """Note a change of a job, in memory and on disk."""
        with self._lock:
            job = job.model_copy(update=values)
            self._jobs[job.id] = job
            write_json(self._folder / f"{job.id}.json", job.plain())
            return job

    def _run(self, job_id: int, running: _Running) -> None:
        """Run what is left of a job, in a thread of its own."""
        try:
            state, error = self._run_commands(job_id, running)
        except (Mass3dError, OSError) as broken:  # a full disk, say
            state, error = "failed", str(broken)
        job = self._jobs[job_id]
        done = self._progress(job)[0] if job.kind != "task" else int(state == "done")
        with suppress(Mass3dError):
            self._put(job, state=state, error=error, done=done, process=None, ended=_now())

    def _run_commands(self, job_id: int, running: _Running) -> tuple[Any, str | None]:
        job = self._jobs[job_id]
        error = None
        for step in range(job.step, len(job.commands)):
            if running.asked:
                return running.asked, None
            code, log = self._run_one(self._jobs[job_id], step, running)
            if running.asked and code != 0:
                return running.asked, None
            faults = faults_in(log, self.cases)
            if job.commands[step][0] == "segment":
                write_json(self.rounds.folder(job.round) / FAULTS, faults)
            if code != 0 and not faults:
                return "failed", reason_in(log, code)
            if faults:
                error = f"{counted(len(faults), 'scan')} could not be segmented"
        return "done", error

    def _run_one(self, job: Job, step: int, running: _Running) -> tuple[int, str]:
        """Run a verb to its end: the exit code, and what it has said."""
        log = self._folder / f"{job.id}.log"
        words = job.commands[step]
        with log.open("ab") as stream:
            start = stream.tell()
            stream.write(f"$ {typed(words)}\n".encode())
            stream.flush()
            with _Kept([*self.program, *words], stream.fileno()) as process:
                with self._lock:
                    running.process = process
                    began = _began(process.pid)
                    self._put(job, state="running", step=step, process=(process.pid, began))
                    if running.asked:
                        self._ask_to_end()
                code = process.wait()
            running.process = None
        with log.open("rb") as told:
            told.seek(start)
            return code, told.read().decode("utf-8", "replace")

    def _ask_to_end(self) -> None:
        """End the process of the job that runs, in a thread, as that takes its time."""
        process = self._running.process
        if process is not None:
            end_it = threading.Thread(
                target=end,
                args=(process.pid,),
                kwargs={"grace_s": self.grace_s, "gone": lambda: process.returncode is not None},
                daemon=True,
            )
            end_it.start()

    def _progress(self, job: Job) -> tuple[int, str]:
        """How many scans are done, and what the verb says of the time left."""
        tail = _tail(self._folder / f"{job.id}.log").rpartition("\n$ ")[2]  # of the last start
        if job.commands[job.step][0] == "task":
            return 0, "making the task"
        said = [found for line in tail.splitlines() if (found := LINE.fullmatch(line.strip()))]
        of_round = self.rounds.of(job.round)
        finished = len(self.rounds.results(of_round)) if of_round else 0
        counted_by_verb = int(said[-1][1]) if said else 0
        words = (said[-1][3] or "") if said else ""
        return min(job.total, max(finished, counted_by_verb)), words


class _Kept:
    """A verb as a process of its own group, that ends when this process does, however that ends."""

    def __init__(self, words: Sequence[str], log: int) -> None:
        self._words, self._log = words, log

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "mass3d.server.keeper"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError:
            self._let_go()
            raise
        self._tell(f"{self._process.pid}\n")
        with suppress(psutil.Error):
            psutil.Process(self._process.pid).nice(max(NICE, os.nice(0)))
        return self._process

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:  # nobody would wait for it any more
            end(self._process.pid, grace_s=0)
            self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        """Tell the keeper that the job has ended."""
        self._tell("ended\n")
        assert self._keeper.stdin is not None, "it was asked for"
        with suppress(OSError):
            self._keeper.stdin.close()
        self._keeper.wait()

    def _tell(self, line: str) -> None:
        assert self._keeper.stdin is not None, "it was asked for"
        with suppress(OSError):  # somebody has ended it
            self._keeper.stdin.write(line.encode())
            self._keeper.stdin.flush()


def faults_in(log: str, cases: Sequence[str]) -> dict[str, str]:
    """Case -> message, as a report shows its faults on lines of their own."""
    found = {}
    by_length = sorted(cases, key=len, reverse=True)  # an id may begin as another one does
    for line in log.splitlines():
        case = next((one for one in by_length if line.startswith(f"  {one}: ")), None)
        if case is not None:
            found[case] = line[len(case) + 4 :]
    return found


def reason_in(log: str, code: int) -> str:
    """Why a verb has failed, in its own words where it has said something."""
    if code < 0:
        return f"it was ended by signal {-code}, most likely for want of memory"
    lines = [line for line in log.splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1])
    return told.removeprefix("error: ")[:2000]


def _end_orphan(job: Job, grace_s: float) -> None:
    """End the process of a job whose server has died, if it is still the same one."""
    if job.process is None:
        return
    number, began = job.process
    if _began(number) == began:
        end(number, grace_s=grace_s)


def _began(number: int) -> float:
    """When a process was started; 0 where there is none."""
    try:
        return float(psutil.Process(number).create_time())
    except psutil.Error:
        return 0.0


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - TAIL))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
