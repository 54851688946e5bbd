"""Reports opened from file:// in a browser: with the viewer, without WebGL, and without scripts.

Screenshots go to $MASS3D_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import browser
from mass3d.apps import evaluate, masks
from mass3d.io.datasets.regions import Targets
from mass3d.io.read import read_label, read_volume
from mass3d.pages.segment import write_segment_page
from mass3d.pages.viewed import show_found
from mass3d.transfer.evaluation.report import PAGE as EVALUATION
from mass3d.transfer.results import Entry, Index, ResultsFolder

CASES = ("ct_000", "mr_001")
NAMES = {'liver <b>&"': 1, "kidneys": 2, "aorta": 3}
NASTY = '"><img src=x onerror=alert(1)>'
SETTLED_MS = 600
WAIT_MS = 60_000
BUTTON = "Look through the slices of "

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def segmented(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `segment` over two phantoms and their true labels."""
    folder = ResultsFolder(
        tmp_path_factory.mktemp("found"), Index(task="t", overlap=0.5, alignment=True)
    )
    for name in CASES:
        scan = read_volume(cohort / "imagesTr" / f"{name}_0000.nii.gz")
        label = read_label(cohort / "labelsTr" / f"{name}.nii.gz", like=scan).voxels
        case_id = name if name == CASES[0] else NASTY
        entry = Entry(source="s", result="r", volumes_ml=dict.fromkeys(NAMES, 1.0))
        folder.entries[case_id] = entry
        show_found(folder, case_id, entry, scan=scan, labels=label, targets=Targets(NAMES))
    return write_segment_page(folder, Targets(NAMES), None, summary="", alone=(), faults=())


class Reader:
    """A browser that reads a report, what went wrong in it, and what it asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def look(self, case_id: str) -> bytes:
        """Open a case, and wait until it is there."""
        self.page.get_by_role("button", name=BUTTON + case_id, exact=True).click()
        self.page.get_by_role("heading", name=case_id, exact=True, level=2).wait_for()
        self.page.locator(".waiting").wait_for(state="hidden")
        return self.seen()

    def seen(self) -> bytes:
        """The picture, once it is drawn."""
        self.page.wait_for_timeout(SETTLED_MS)
        picture: bytes = self.page.locator("canvas").screenshot()
        return picture

    def require_quiet(self, folder: Path) -> None:
        """Nothing went wrong, and nothing was asked for that does not lie beside the page."""
        assert self.wrong == []
        inside = folder.resolve().as_uri()
        assert all(address.startswith((inside, "data:", "blob:")) for address in self.asked)
        assert not any(urlsplit(address).netloc for address in self.asked)


@pytest.fixture
def reader() -> Iterator[Reader]:
    with browser.new_page() as page:
        yield Reader(page)


def test_a_report_is_looked_through_from_a_folder(
    segmented: Path, reader: Reader, tmp_path: Path
) -> None:
    page, pictures = reader.page, browser.pictures_folder(tmp_path)
    page.goto(segmented.as_uri())
    assert page.locator(".look button").count() == len(CASES)
    assert not any("/viewer/" in one and "viewer.js" not in one for one in reader.asked)
    first = reader.look(CASES[0])
    assert page.locator(".structures .choice").all_inner_texts() == list(NAMES)
    assert "liver" in page.locator(".place").inner_text()  # the largest is gone to
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    moved = reader.seen()
    assert moved != first
    page.get_by_role("button", name="aorta").first.click()
    assert "aorta" in page.locator(".place").inner_text()
    with_aorta = reader.seen()
    page.get_by_role("button", name="Show aorta").click()
    assert reader.seen() != with_aorta
    page.get_by_label("Window", exact=True).select_option("Lung")
    for width, height in browser.WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        reader.seen()
        page.screenshot(path=pictures / f"report-segment-{width}.png")
    page.keyboard.press("k")  # to the one before, whatever it is called
    page.get_by_role("heading", name=NASTY, exact=True, level=2).wait_for()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="hidden")
    page.screenshot(path=pictures / "report-page-1920.png")
    reader.require_quiet(segmented.parent)


def test_an_evaluation_and_masks_are_looked_through_too(
    cohort: Path, store: Path, reader: Reader, tmp_path: Path
) -> None:
    page, pictures = reader.page, browser.pictures_folder(tmp_path)
    label = read_label(cohort / "labelsTr" / f"{CASES[0]}.nii.gz")
    shifted = label.with_voxels(np.roll(label.voxels, 3, axis=1))
    shifted.save(tmp_path / "found" / f"{CASES[0]}.nii.gz")
    scored = evaluate.run(
        evaluate.EvaluateConfig(
            predictions=tmp_path / "found", labels=cohort / "labelsTr", output=tmp_path / "scores"
        )
    )
    page.goto((scored.output / EVALUATION).resolve().as_uri())
    drawn = {reader.look(CASES[0])}
    for name in ("Label", "Missed", "Extra"):
        page.get_by_label("Labels", exact=True).select_option(name)
        drawn.add(reader.seen())
    assert len(drawn) == 4
    page.screenshot(path=pictures / "report-evaluate-1280.png")
    reader.require_quiet(scored.output)

    reader.asked.clear()
    measured = masks.run(masks.MasksConfig(store=store, output=tmp_path / "quality"))
    page.goto(measured.page.resolve().as_uri())
    large = reader.look(next(iter(measured.cases)))
    page.get_by_label("Labels", exact=True).select_option("Small masks")
    assert reader.seen() != large
    page.screenshot(path=pictures / "report-masks-1280.png")
    reader.require_quiet(measured.page.parent)


@pytest.mark.parametrize("missing", ["scripts", "webgl", "viewer"])
def test_without_the_viewer_the_pictures_are_there(
    segmented: Path, tmp_path: Path, missing: str
) -> None:
    with browser.new_page(
        webgl=missing != "webgl", java_script_enabled=missing != "scripts"
    ) as page:
        reader = Reader(page)
        if missing == "viewer":
            page.route("**/viewer.js", lambda route: route.abort())
        page.goto(segmented.as_uri())
        pictures = page.locator("table.cases img")
        assert pictures.count() == len(CASES)
        for number in range(len(CASES)):
            pictures.nth(number).scroll_into_view_if_needed()
            box = pictures.nth(number).bounding_box()
            assert box["width"] > 300
            shot = pictures.nth(number).screenshot()
            assert len(set(shot)) > 100  # not one colour
        assert page.locator(".look button").count() == 0
        if missing == "webgl":
            reader.require_quiet(segmented.parent)


def test_a_volume_that_is_gone_is_told(segmented: Path, reader: Reader, tmp_path: Path) -> None:
    copy = tmp_path / "moved.html"  # without the folder beside it, but for the viewer
    copy.write_bytes(segmented.read_bytes())
    (tmp_path / "viewer").mkdir()
    (tmp_path / "viewer" / "viewer.js").write_bytes(
        (segmented.parent / "viewer" / "viewer.js").read_bytes()
    )
    reader.page.goto(copy.as_uri())
    reader.page.get_by_role("button", name=BUTTON + CASES[0], exact=True).click()
    reader.page.get_by_text("It belongs beside this page.").wait_for()
