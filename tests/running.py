"""Servers as processes of their own, and what is asked of them without any help of a library."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADDRESS = re.compile(rb"Open http://([\d.]+):(\d+)/\?token=([\w-]+)")


@dataclass
class Server:
    """A process that answers."""

    process: subprocess.Popen[bytes]
    words: tuple[str | Path, ...]
    host: str
    port: int
    token: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and content of an answer; the path is sent as it is."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        given = {"Authorization": f"Bearer {self.token}", "X-Mass3d": "1", **headers}
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def raw(self, path: str) -> bytes:
        status, content = self.ask("GET", path)
        assert status == 200, content
        return content

    def get(self, path: str) -> Any:
        return json.loads(self.raw(path))

    def put(self, path: str, body: Any) -> Any:
        return self._sent("PUT", path, body)

    def post(self, path: str, body: Any) -> Any:
        return self._sent("POST", path, body)

    def _sent(self, method: str, path: str, body: Any) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self.ask(method, path, content)
        assert status in (200, 202), answer
        return json.loads(answer)

    def ended(self, *, within_s: float = 300) -> Any:
        """The newest job, once it has ended."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            job = self.get("/api/jobs")[0]
            if job["state"] not in ("queued", "running"):
                return job
            time.sleep(0.2)
        raise AssertionError(job)


@contextmanager
def started(model: Path, scans: Path, project: Path, *further: str) -> Iterator[Server]:
    """`mass3d serve` on a free port; killed at the end where it still runs."""
    words = (model, scans, "-o", project, "--port", "0", *further)
    process = subprocess.Popen(
        [sys.executable, "-m", "mass3d", "serve", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield _answering(process, words)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def _answering(process: subprocess.Popen[bytes], words: tuple[str | Path, ...]) -> Server:
    assert process.stderr is not None
    said = b""
    while line := process.stderr.readline():
        said += line
        found = ADDRESS.search(line)
        if found:
            return Server(process, words, found[1].decode(), int(found[2]), found[3].decode())
    raise AssertionError(said.decode())
