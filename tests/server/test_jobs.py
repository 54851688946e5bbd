"""Jobs: one at a time, as processes that end with the server and can be resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mass3d.server.jobs import Job, Jobs, faults_in, reason_in
from mass3d.server.refusal import Refused
from mass3d.server.site import Site
from mass3d.transfer.results import Entry
from server.test_rounds import draw, made, results

# What stands in for a verb: makes the task that it is asked for, says how far it is, may wait.
VERB = """
import pathlib, sys, time
verb, words = sys.argv[1], sys.argv[2:]
out = pathlib.Path(words[words.index("-o") + 1])
out.parent.mkdir(parents=True, exist_ok=True)
if verb == "task":
    out.write_bytes(b"task")
print(f"{verb} 1/3  about 5 s left", flush=True)
while pathlib.Path("wait").exists():
    time.sleep(0.02)
"""
DEAF = "import signal; signal.signal(15, signal.SIG_IGN)\n" + VERB
BROKEN = "import sys\nprint('error: x: found y; expected z.')\nsys.exit(1)"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ready(site: Site) -> Iterator[Site]:
    """A project with a reference, whose verbs are quick."""
    site.set_structures([{"name": "liver"}])
    draw(site, "a", 1)
    site.use_reference("a", use=True)
    site.jobs.program = (sys.executable, "-S", "-c", VERB)
    site.jobs.grace_s = 0.5
    yield site
    site.jobs.close()


def until(true: Callable[[], object]) -> None:
    stop = time.monotonic() + 30
    while not true():
        assert time.monotonic() < stop
        time.sleep(0.02)


def ended(jobs: Jobs) -> dict[str, object]:
    until(lambda: jobs.all()[0]["state"] not in ("queued", "running"))
    jobs.close()
    return jobs.all()[0]


def running(jobs: Jobs) -> Job:
    log = jobs.project.folder / "jobs" / "1.log"
    until(lambda: log.exists() and "1/3" in log.read_text())
    return jobs._job(1)


def refused(action: Callable[[], object], told: str, *, status: int = 409) -> None:
    with pytest.raises(Refused, match=told) as caught:
        action()
    assert caught.value.status == status


def test_a_task_and_a_cohort_are_done_one_after_the_other(ready: Site) -> None:
    ready.jobs.start("both")
    job = ended(ready.jobs)
    assert (job["state"], job["kind"], job["round"], job["error"]) == ("done", "both", 1, None)
    assert (job["done"], job["total"]) == (1, 3)  # as many as the verb has told
    task, segment = str(job["command"]).split(" && ")
    assert task.startswith("mass3d task -i ")
    assert segment.startswith("mass3d segment ")
    log = (ready.project.folder / "jobs" / "1.log").read_text()
    assert [line for line in log.splitlines() if line.startswith("$ ")] == [
        f"$ {task}",
        f"$ {segment}",
    ]
    kept = json.loads((ready.project.folder / "jobs" / "1.json").read_text())
    assert Job.model_validate(kept).state == "done"
    assert ready.rounds.newest() is not None
    assert Jobs(ready.project, ready.rounds, ready.commands, ["a"]).all() == ready.jobs.all()


def test_what_cannot_be_done_is_refused(site: Site, ready: Site) -> None:
    ready.use_reference("a", use=False)
    refused(lambda: site.jobs.start("task"), "no reference")
    refused(lambda: site.jobs.start("segment"), "no task")
    refused(lambda: site.jobs.start("both"), "no task")
    ready.use_reference("a", use=True)
    refused(lambda: site.jobs.start("segment"), "no task")
    one = made(site, 1, "a", liver=1)
    refused(lambda: site.jobs.start("task"), "up to date")
    results(one, **{name: Entry(source="s", result="r") for name in site.scans.cases})
    refused(lambda: site.jobs.start("segment"), "all scans segmented")
    refused(lambda: site.jobs.start("both"), "all scans segmented")
    refused(lambda: site.jobs.cancel(1), "no job of this number", status=404)
    refused(lambda: site.jobs.resume(7), "no job of this number", status=404)


def test_where_the_task_is_up_to_date_only_the_cohort_is_segmented(ready: Site) -> None:
    one = made(ready, 1, "a", liver=1)
    ready.jobs.start("both")
    job = ended(ready.jobs)
    assert (job["kind"], job["round"]) == ("segment", 1)
    draw(ready, "b", 1)
    ready.use_reference("b", use=True)
    assert one.number == 1
    ready.jobs.start("task")
    job = ended(ready.jobs)
    assert (job["kind"], job["round"], job["done"], job["total"]) == ("task", 2, 1, 1)
    assert [one["id"] for one in ready.jobs.all()] == [2, 1]


def test_one_job_runs_and_says_how_far_it_is(ready: Site) -> None:
    Path("wait").touch()
    made(ready, 1, "a", liver=1)
    ready.jobs.start("segment")
    running(ready.jobs)
    job = ready.jobs.all()[0]
    assert (job["done"], job["total"], job["told"]) == (1, 3, "about 5 s left")
    refused(lambda: ready.jobs.start("segment"), "a job that runs")
    refused(lambda: ready.jobs.resume(1), "a job that runs")
    Path("wait").unlink()
    assert ended(ready.jobs)["state"] == "done"
    refused(lambda: ready.jobs.cancel(1), "a job that is done")
    refused(lambda: ready.jobs.resume(1), "a job that is done")


@pytest.mark.parametrize("code", [VERB, DEAF])
def test_a_job_can_be_cancelled_and_resumed(ready: Site, code: str) -> None:
    ready.jobs.program = (sys.executable, "-S", "-c", code)
    Path("wait").touch()
    ready.jobs.start("both")
    process = running(ready.jobs).process
    assert process is not None
    assert ready.jobs.all()[0]["told"] == "making the task"
    ready.jobs.cancel(1)
    job = ended(ready.jobs)
    assert (job["state"], job["error"], job["done"]) == ("cancelled", None, 0)
    assert not psutil.pid_exists(process[0])
    Path("wait").unlink()
    ready.jobs.resume(1)
    job = ended(ready.jobs)
    assert (job["state"], job["done"]) == ("done", 1)
    refused(lambda: ready.jobs.resume(1), "a job that is done")


def test_only_the_newest_job_is_resumed(ready: Site) -> None:
    ready.jobs.program = (sys.executable, "-S", "-c", BROKEN)
    for _ in range(2):
        ready.jobs.start("task")
        job = ended(ready.jobs)
        assert (job["state"], job["error"]) == ("failed", "x: found y; expected z.")
    refused(lambda: ready.jobs.resume(1), "a job before the newest")


def test_a_server_that_ends_interrupts_its_job(ready: Site) -> None:
    Path("wait").touch()
    ready.jobs.start("both")
    running(ready.jobs)
    ready.jobs.close()
    assert ready.jobs.all()[0]["state"] == "interrupted"
    Path("wait").unlink()
    again = Jobs(ready.project, ready.rounds, ready.commands, ["a"], program=ready.jobs.program)
    again.recover(resume=False)
    assert again.all()[0]["state"] == "interrupted"
    again.recover(resume=True)
    assert ended(again)["state"] == "done"
    again.close()


def test_a_job_of_a_server_that_was_killed_is_ended_and_goes_on(ready: Site) -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "import time; time.sleep(60)"], start_new_session=True
    ) as orphan:
        began = psutil.Process(orphan.pid).create_time()
        job = Job(
            id=1,
            kind="segment",
            round=1,
            state="running",
            commands=(ready.commands.segment(ready.project.state(), Path("rounds/1")),),
            total=3,
            process=(orphan.pid, began),
        )
        folder = ready.project.folder / "jobs"
        folder.mkdir()
        (folder / "1.json").write_text(job.model_dump_json())
        (folder / "2.json").write_text("damaged")
        jobs = Jobs(ready.project, ready.rounds, ready.commands, ["a"], grace_s=0.2)
        jobs.recover(resume=False)
        assert orphan.wait() == -signal.SIGTERM
        assert jobs.all()[0]["state"] == "interrupted"
    # the number belongs to another process by now
    other = job.model_copy(update={"process": (os.getpid(), began)})
    (folder / "1.json").write_text(other.model_dump_json())
    jobs = Jobs(ready.project, ready.rounds, ready.commands, ["a"], program=ready.jobs.program)
    jobs.recover(resume=True)
    assert ended(jobs)["state"] == "done"


def test_a_process_that_was_killed_is_a_failure_that_says_so(ready: Site) -> None:
    Path("wait").touch()
    ready.jobs.start("task")
    process = running(ready.jobs).process
    assert process is not None
    os.killpg(process[0], signal.SIGKILL)
    job = ended(ready.jobs)
    assert job["state"] == "failed"
    assert "signal 9" in str(job["error"])


def test_what_cannot_be_started_is_a_failure(ready: Site) -> None:
    ready.jobs.program = ("/no/such/program",)
    ready.jobs.start("task")
    job = ended(ready.jobs)
    assert job["state"] == "failed"
    assert "No such file" in str(job["error"])


def test_scans_that_failed_are_known_by_case_and_the_job_is_done(ready: Site) -> None:
    told = "print('  c <&> d: found <b>; expected c.'); print('  a: x')\nraise SystemExit(1)"
    ready.jobs.program = (sys.executable, "-S", "-c", told)
    one = made(ready, 1, "a", liver=1)
    ready.jobs.start("segment")
    job = ended(ready.jobs)
    assert (job["state"], job["error"]) == ("done", "2 scans could not be segmented")
    assert ready.rounds.faults(one) == {"c <&> d": "found <b>; expected c.", "a": "x"}


def test_faults_and_reasons_are_read_off_a_log() -> None:
    log = "  a: b: broken\n  a: older\n a: no\n  unknown: x\nend"
    assert faults_in(log, ["a", "a: b"]) == {"a: b": "broken", "a": "older"}
    assert reason_in("some\nTraceback\nValueError: x\n\n", 1) == "ValueError: x"
    assert reason_in("error: why\nmore", 2) == "why"
    assert "signal 9" in reason_in("", -9)
