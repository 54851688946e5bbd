"""Debian's chromium, where it is installed: what tests of pages are driven in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
# Nothing of the browser's own asks the network; WebGL 2 is drawn by the CPU.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BY_CPU = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WIDTHS = {1280: 800, 1920: 1080}


def pictures_folder(folder: Path) -> Path:
    """Where screenshots go: $MASS3D_SCREENSHOTS, or a folder of the test's own."""
    pictures = Path(os.environ.get("MASS3D_SCREENSHOTS", folder / "screenshots"))
    pictures.mkdir(parents=True, exist_ok=True)
    return pictures


@contextmanager
def new_page(*, webgl: bool = True, **settings: Any) -> Iterator[Any]:
    """A page of a browser of its own; the test is skipped where there is no browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"no browser: {CHROMIUM} is not there")
    drawn = BY_CPU if webgl else ("--disable-gpu", "--disable-3d-apis")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=(*ARGUMENTS, *drawn))
        yield browser.new_page(viewport={"width": 1280, "height": 800}, **settings)
        browser.close()
