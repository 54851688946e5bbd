"""The page of `mass3d serve`: a table of 1,000 cases, a scan of 512x512x300, 20 who ask at once.

The scan is also opened in a browser, where playwright and Debian's chromium are installed.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import ndimage
from support.measure import Row, main

import mass3d
from mass3d.io.read import read_grid
from mass3d.io.write import write_file_order
from mass3d.phantom import write_phantom_cohort

POLLERS: Final = 20
PAUSE_S: Final = 1.0  # between two requests of one of them, as the page has it
CHROMIUM: Final = Path("/usr/bin/chromium")
ARGUMENTS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-background-networking",
    "--use-angle=swiftshader",  # WebGL 2 on the CPU: slower than any graphics card
    "--enable-unsafe-swiftshader",
)
WAIT_MS: Final = 120_000
# Clicks, and hears what the page says that it loads next; then waits for the frame that is drawn.
WATCH: Final = """() => new Promise(done => {
  const place = document.querySelector('.waiting'), begin = performance.now(), at = {}
  const drawn = name => requestAnimationFrame(() => setTimeout(() => {
    at[name] ??= performance.now() - begin
    if (at.first && at.whole) { heard.disconnect(); done([at.first, at.whole]) }
  }))
  const heard = new MutationObserver(() => {
    if (place.textContent.includes('whole')) drawn('first')
    if (place.textContent.includes('labels')) drawn('whole')
  })
  heard.observe(place, { childList: true, characterData: true, subtree: true })
  document.querySelector('.rows [role=row]').click()
})"""
ADDRESS: Final = re.compile(r"Open http://([\d.]+):(\d+)/\?token=([\w-]+)")


def measure(small: bool) -> Sequence[Row]:
    """Times on the clock, over HTTP on this machine."""
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        seen = [*scan(top, small), *in_browser(top / "one")]
        return [*table(top, 10 if small else 1000), *seen, *polled(top, small)]


class Server:
    """What `mass3d serve` has said of itself."""

    def __init__(self, process: subprocess.Popen[str], said: str) -> None:
        found = ADDRESS.search(said)
        assert found, said
        self.process, self.host, self.port = process, found[1], int(found[2])
        self.token = found[3]
        self.headers = {"Authorization": f"Bearer {self.token}", "X-Mass3d": "1"}

    def ask(self, path: str, method: str = "GET", body: Any = None) -> bytes:
        """The content of an answer that is no error."""
        connection = http.client.HTTPConnection(self.host, self.port)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content if body else None, self.headers)
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        assert answer.status < 300, told
        return told

    def seconds(self, path: str) -> float:
        """How long an answer takes, to its last byte."""
        return timed(lambda: self.ask(path))


def timed(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


@contextmanager
def served(top: Path, model: Path, scans: Path, *, name: str = "") -> Iterator[Server]:
    """A server with a project of its own."""
    project = top / f"project-{name or scans.name}"
    words = [str(model), str(scans), "-o", str(project), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mass3d", "serve", *words, "--device", "cpu"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        try:
            yield Server(process, process.stderr.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def no_model(top: Path) -> Path:
    """A file that no job is asked to read."""
    (top / "no-model").touch()
    return top / "no-model"


def table(top: Path, cases: int) -> Iterator[Row]:
    scans = top / "many"
    voxels = np.random.default_rng(0).integers(0, 1000, (64, 64, 32)).astype(np.int16)
    write_file_order(scans / "0000.nii.gz", voxels, np.eye(4))
    content = (scans / "0000.nii.gz").read_bytes()
    for number in range(1, cases):
        (scans / f"{number:04}.nii.gz").write_bytes(content)
    with served(top, no_model(top), scans) as server:
        first = server.seconds("/api/cases")
        again = min(server.seconds("/api/cases") for _ in range(3))
    with served(top, no_model(top), scans) as server:
        restarted = server.seconds("/api/cases")
    yield Row(f"table of {cases} cases, every header read", first, "s", budget="<= 1 s")
    yield Row("the same after a restart", restarted, "s")
    yield Row("the same again", again, "s")


def scan(top: Path, small: bool) -> Iterator[Row]:
    shape = (64, 64, 40) if small else (512, 512, 300)
    noise = np.random.default_rng(0).standard_normal([-(-n // 4) for n in shape])
    coarse = ndimage.gaussian_filter(noise, 3) * 4000
    voxels = coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2)[tuple(map(slice, shape))]
    fine = np.random.default_rng(1).integers(-20, 20, shape, np.int16)
    affine = np.diag([-0.8, -0.8, 1.5, 1.0])
    write_file_order(top / "one" / "a.nii.gz", voxels.astype(np.int16) + fine, affine)
    told = "x".join(map(str, shape))
    with served(top, no_model(top), top / "one") as server:
        server.ask("/api/cases")
        first = server.seconds("/api/cases/a/image.nii?level=small")
        again = min(server.seconds("/api/cases/a/image.nii?level=small") for _ in range(3))
        full = min(server.seconds("/api/cases/a/image.nii?level=full") for _ in range(3))
        picture = server.seconds("/api/cases/a/thumbnail.jpg")
    yield Row(f"small image of {told} int16, the scan being read", first, "s")
    yield Row("the same again", again, "s", budget="<= 1 s")
    yield Row("the whole image, to its last byte", full, "s", budget="<= 2 s")
    yield Row("its thumbnail", picture, "s")


def in_browser(scans: Path) -> Iterator[Row]:
    """From the click on the only scan of a folder to its pictures; nothing where no browser is."""
    if find_spec("playwright") is None or not CHROMIUM.is_file():
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  not installed everywhere

    told = "x".join(map(str, read_grid(next(scans.iterdir())).source.shape))
    top = scans.parent
    with (
        served(top, no_model(top), scans, name="browser") as server,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(WAIT_MS)
        # a table that is looked at has read the scan for its small picture; not so here
        page.route("**/thumbnail.jpg*", lambda route: route.abort())
        page.goto(f"http://{server.host}:{server.port}/?token={server.token}")
        first, whole = clicked(page)
        page.get_by_role("button", name="‹ Cohort", exact=True).click()
        again, _ = clicked(page)
        browser.close()
    yield Row(f"click to picture of {told}, the scan being read", first, "s", budget="<= 2 s")
    yield Row("click to the whole scan in its place", whole, "s")
    yield Row("click to picture again", again, "s", budget="<= 1 s")


def clicked(page: Any) -> tuple[float, float]:
    """Click the first row; seconds until the small volume was drawn, and the whole one."""
    page.locator(".rows [role=row]").first.wait_for()
    first, whole = page.evaluate(WATCH)
    return float(first) / 1000, float(whole) / 1000


def polled(top: Path, small: bool) -> Iterator[Row]:
    """The slowest answer to some who ask while a task is made and a cohort segmented."""
    cohort = write_phantom_cohort(top / "cohort", cases=2 if small else 6, test_cases=1, seed=0)
    model = no_model(top) if small else trained(top, cohort)
    names = sorted(path.name.removesuffix(".nii.gz") for path in (cohort / "labelsTr").iterdir())
    slowest: list[float] = []
    with served(top, model, cohort / "imagesTr") as server:
        server.ask("/api/structures", "PUT", [{"name": str(value)} for value in range(1, 5)])
        label = (cohort / "labelsTr" / f"{names[0]}.nii.gz").read_bytes()
        server.ask(f"/api/cases/{names[0]}/labels", "PUT", label)
        server.ask(f"/api/cases/{names[0]}/reference", "PUT", {"use": True})
        server.ask("/api/jobs", "POST", {"kind": "both"})
        ended = threading.Event()
        pollers = [
            threading.Thread(target=poll, args=(server, ended, slowest)) for _ in range(POLLERS)
        ]
        for poller in pollers:
            poller.start()
        while json.loads(server.ask("/api/jobs"))[0]["state"] in ("queued", "running"):
            time.sleep(PAUSE_S)
        ended.set()
        for poller in pollers:
            poller.join()
    yield Row(
        f"slowest of {len(slowest)} answers to {POLLERS} who ask while a job runs",
        max(slowest),
        "s",
        budget="<= 1 s",
    )
    yield Row("the median of the same", float(np.median(slowest)), "s")


def poll(server: Server, ended: threading.Event, slowest: list[float]) -> None:
    """Ask for jobs and the table in turns, as the page does."""
    while not ended.wait(PAUSE_S):
        slowest.extend(server.seconds(path) for path in ("/api/jobs", "/api/cases", "/api/project"))


def trained(top: Path, cohort: Path) -> Path:
    """A run of a few steps; how well it segments does not matter here."""
    mass3d.prepare(inputs=[cohort / "imagesTr"], output=top / "store", spacing_mm=7.0)
    mass3d.pretrain(
        store=[top / "store"],
        output=top / "run",
        fit={"steps": 4, "batch_size": 2},
        views={"crop_vox": (32, 32, 32)},
    )
    return top / "run"


if __name__ == "__main__":
    main(__file__, measure)
