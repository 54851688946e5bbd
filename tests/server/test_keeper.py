"""Ends a job whose server has died."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time

import pytest

from mass3d.server.keeper import end, keep

SLEEP = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"


def process(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-S", "-c", code], start_new_session=True, stdout=subprocess.PIPE
    )


def test_a_job_that_has_ended_is_left_alone() -> None:
    assert not keep(io.StringIO("999999999\nended\n"))
    for told in ("", "\n", "x\n", "-1\n"):
        assert not keep(io.StringIO(told))


def test_a_group_is_asked_to_end_and_killed_if_it_does_not() -> None:
    for code, number in ((SLEEP, signal.SIGTERM), (DEAF, signal.SIGKILL)):
        with process(code) as one:
            if code is DEAF:
                assert one.stdout is not None
                one.stdout.readline()
            before = time.monotonic()
            end(one.pid, grace_s=0.3, gone=lambda one=one: one.poll() is not None)
            assert one.wait() == -number
            assert time.monotonic() - before < 10
    end(one.pid, grace_s=0)  # there is none any more


@pytest.mark.parametrize("told", [b"", b"ended\n"])
def test_it_ends_the_job_when_its_input_ends_before_the_job_does(told: bytes) -> None:
    with process(SLEEP) as job:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "mass3d.server.keeper"], stdin=subprocess.PIPE
        )
        assert keeper.stdin is not None
        keeper.stdin.write(f"{job.pid}\n".encode() + told)
        keeper.stdin.close()
        if told:
            assert keeper.wait() == 0
            assert job.poll() is None
            os.killpg(job.pid, signal.SIGKILL)
        assert job.wait() == -(signal.SIGKILL if told else signal.SIGTERM)
        assert keeper.wait() == 0
