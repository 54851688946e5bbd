"""`make docs` builds a site whose links lead somewhere and that fetches nothing from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import mass3d

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow
FETCHED = {("img", "src"), ("script", "src"), ("iframe", "src"), ("link", "href")}


class Page(HTMLParser):
    """The ids of a page, and what it links to and fetches."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)
            if (tag, name) in FETCHED and value:
                self.fetched.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning would have failed it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def inner(page: Page) -> Iterator[tuple[str, str]]:
    """File and anchor of every link that stays on the site."""
    for link in page.links:
        if not re.match(r"[a-z]+:|//", link):
            name, _, anchor = unquote(link).partition("#")
            yield name, anchor


def test_every_link_of_the_site_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of a server
            continue
        for name, anchor in inner(page):
            target = (path.parent / name).resolve() if name else path
            assert target.is_relative_to(site.resolve()), f"{path.name}: {name}"
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.name}: {name}"
            if anchor and target in pages and not anchor.startswith("__"):
                assert anchor in pages[target].ids, f"{path.name}: {name}#{anchor}"


def test_the_site_fetches_nothing_from_outside(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        outside = [link for link in page.fetched if re.match(r"[a-z]+:|//", link)]
        assert not [link for link in outside if not link.startswith("data:")], path.name


def test_every_room_has_its_page_with_the_docstrings(pages: dict[Path, Page], site: Path) -> None:
    api = [page for path, page in pages.items() if path.parent.name == "api"]
    known = set().union(*(page.ids for page in api))
    assert {"mass3d.volume.volume.Volume", "mass3d.errors.Mass3dError"} <= known
    rooms = {path.stem for path in (site / "api").glob("*.html")}
    here = Path(mass3d.__file__).parent
    assert {path.name for path in here.iterdir() if (path / "__init__.py").is_file()} <= rooms
    views = (site / "api" / "views.html").read_text()
    assert "Masks per pair." in views
