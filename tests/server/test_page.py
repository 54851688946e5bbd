"""The page of `mass3d serve` in a browser: one example, the cohort, a correction, and again.

Screenshots go to $MASS3D_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from browser import WIDTHS, new_page, pictures_folder
from mass3d.io.read import read_label, require_same_grid
from mass3d.metrics.overlap import dice
from mass3d.phantom import write_phantom_cohort

pytest.importorskip("fastapi", reason="the server is not installed: mass3d[serve]")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

LIVER = 1
NAME = 'liver <b>&"'  # shown as it is, never as markup
FIRST = "ct_000"
SCANS = 11
WAIT_MS = 120_000  # for anything but a job, on a busy machine
JOB_MS = 600_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scan to show the structure in, and ten to find it in."""
    folder = tmp_path_factory.mktemp("scans")
    return write_phantom_cohort(folder, cases=SCANS, test_cases=0, seed=0)


@pytest.fixture
def address(scans: Path, trained: Path, tmp_path: Path) -> Iterator[str]:
    """A server of the phantoms, and the address with its token."""
    command: list[str | Path] = [sys.executable, "-m", "mass3d", "serve"]
    command += [trained, scans / "imagesTr"]
    command += ["-o", tmp_path / "project", "--port", "0"]
    command += ["--set", 'device="cpu"', "--set", "tune=false"]  # for speed
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        told = next((line for line in server.stderr if "http://" in line), "")
        found = re.search(r"http://\S+", told)
        try:
            assert found, "the server told no address"
            yield found[0]
        finally:
            server.terminate()
            server.stderr.read()


class Visitor:
    """A browser on the page, and what went wrong in it."""

    def __init__(self, page: Any, pictures: Path) -> None:
        self.page = page
        self.pictures = pictures
        self.wrong: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def button(self, name: str) -> Any:
        """A button by its whole name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def look(self, name: str) -> None:
        """Screenshots in all widths, in none of which anything lies outside the window."""
        for width, height in WIDTHS.items():
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.wait_for_timeout(500)
            self.page.screenshot(path=self.pictures / f"{name}-{width}.png")
            assert self.page.evaluate(OUTSIDE) == []

    def open(self, case_id: str) -> None:
        """Open a scan from the table and wait until it can be drawn in."""
        self.page.locator(".rows [role=row]").filter(has_text=case_id).click()
        self.page.get_by_role("heading", name=case_id).wait_for()
        playwright.expect(self.button("Brush")).to_be_enabled()

    def to_table(self) -> None:
        self.button("‹ Cohort").click()

    def add_structure(self, name: str) -> None:
        self.page.keyboard.press("n")
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")
        self.button(name).wait_for()

    def rename(self, name: str, to: str) -> None:
        self.button(f"Rename {name}").click()
        self.page.get_by_label("New name").fill(to)
        self.page.keyboard.press("Enter")
        self.button(to).wait_for()

    def expect_ml(self, *, drawn: bool) -> None:
        """The list of structures tells a volume, or none."""
        pattern = re.compile(r"^[\d.]+ ml$" if drawn else "^$")
        playwright.expect(self.page.locator(".structures .ml").first).to_have_text(pattern)

    def stroke(self) -> None:
        """Draw a short line in the large plane, a third from its left."""
        box = self.page.locator("#picture").bounding_box()
        x, y = box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"]
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + 20, y + 5, steps=3)
        self.page.mouse.up()

    def use_as_reference(self, label: Path, button: str) -> None:
        """Load a label map in the place of what is drawn, save it, and use it."""
        self.button("Clear").click()
        self.page.set_input_files("#label-file", label)
        self.page.get_by_text("is in the drawing").wait_for()
        self.expect_ml(drawn=True)
        self.page.keyboard.press("s")
        self.page.get_by_text("Saved.").wait_for()
        self.button(button).click()
        self.page.get_by_text("is a reference now").wait_for()

    def wait_for(self, job: str) -> None:
        """Wait until a job has ended well."""
        self.page.get_by_text(f"{job}: done.").wait_for(timeout=JOB_MS)


# Every element that is shown, and of which a part lies right of or below the window.
OUTSIDE = """[...document.body.children]
  .flatMap(e => [e, ...e.querySelectorAll('button, input, select')])
  .filter(e => e.checkVisibility() && !e.matches('.unseen') && !e.closest('.side, .table'))
  .filter(e => { const box = e.getBoundingClientRect()
                 return box.right > innerWidth + 1 || box.bottom > innerHeight + 1 })
  .map(e => e.outerHTML.slice(0, 200))"""


@pytest.fixture
def visitor(address: str, tmp_path: Path) -> Iterator[Visitor]:
    with new_page() as page:
        page.set_default_timeout(WAIT_MS)
        playwright.expect.set_options(timeout=WAIT_MS)
        visitor = Visitor(page, pictures_folder(tmp_path))
        page.goto(address)
        yield visitor


def truth(scans: Path, case_id: str, folder: Path) -> Path:
    """The liver of a phantom, alone in a file."""
    label = read_label(scans / "labelsTr" / f"{case_id}.nii.gz")
    path = folder / f"{case_id}_liver.nii.gz"
    label.with_voxels((label.voxels == LIVER).astype(np.uint8)).save(path)
    return path


def mean_dice(found: Path, scans: Path) -> float:
    """Mean Dice of all livers found in a round."""
    scores = [
        dice(
            read_label(path).voxels == LIVER,
            read_label(scans / "labelsTr" / path.name).voxels == LIVER,
        )
        for path in sorted(found.glob("*.nii.gz"))
    ]
    assert len(scores) == SCANS
    return float(np.mean(scores))


def test_one_example_becomes_a_cohort_and_a_correction_makes_it_better(
    visitor: Visitor, scans: Path, tmp_path: Path
) -> None:
    page, project = visitor.page, tmp_path / "project"
    rows = page.locator(".rows [role=row]")
    playwright.expect(rows).to_have_count(SCANS)
    visitor.look("1-table")

    visitor.open(FIRST)
    visitor.add_structure("livver")
    visitor.rename("livver", NAME)
    page.keyboard.press("b")
    visitor.stroke()
    visitor.expect_ml(drawn=True)
    visitor.look("2-drawing")
    page.keyboard.press("Control+z")
    visitor.expect_ml(drawn=False)
    visitor.stroke()
    visitor.use_as_reference(truth(scans, FIRST, tmp_path), "Use as reference")
    drawn, given = (
        read_label(path)
        for path in (project / "labels" / f"{FIRST}.nii.gz", tmp_path / f"{FIRST}_liver.nii.gz")
    )
    np.testing.assert_array_equal(drawn.voxels, given.voxels)
    require_same_grid(drawn, given)

    visitor.button("Make task").click()
    visitor.wait_for("Making the task, round 1")
    visitor.look("3-reference")
    visitor.button("Segment the cohort").click()
    visitor.to_table()
    visitor.look("4-running")
    visitor.wait_for("Segmenting the cohort, round 1")
    visitor.look("5-segmented")
    before = mean_dice(project / "rounds" / "1" / "found", scans)

    worst = rows.first.locator(".name").inner_text()
    assert worst != FIRST
    visitor.open(worst)
    visitor.expect_ml(drawn=True)
    visitor.button("Correct this result").click()
    visitor.stroke()  # may change nothing, within what was found
    page.keyboard.press("e")
    visitor.stroke()
    visitor.look("6-correcting")
    page.keyboard.press("j")  # a hand that slips: nothing is lost without a question
    visitor.button("Stay here").click()
    visitor.use_as_reference(truth(scans, worst, tmp_path), "Use as another reference")
    visitor.button("Task and cohort").click()
    visitor.wait_for("Task and cohort, round 2")
    visitor.to_table()
    visitor.look("7-again")
    assert mean_dice(project / "rounds" / "2" / "found", scans) >= before
    assert visitor.wrong == []
    assert visitor.hosts == {urlsplit(page.url).netloc}
