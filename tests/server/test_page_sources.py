"""What is built and committed is that of the sources, without npm: `make page` renews it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

import mass3d

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
PACKAGE = Path(mass3d.__file__).parent
PAGE = PACKAGE / "server" / "page"
VIEWER = PACKAGE / "pages" / "viewer"  # of reports
# Beside the sources: what is not in the bundle.
ASIDE = {"README.md", ".npmrc"}
NOT_OURS = ("node_modules", "tests")


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path from the folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def told(folder: Path) -> dict[str, dict[str, str]]:
    """What the build says of itself."""
    found: dict[str, dict[str, str]] = json.loads((folder / "sources.json").read_text())
    return found


@pytest.mark.parametrize("folder", [PAGE, VIEWER])
def test_it_was_built_from_the_sources(folder: Path) -> None:
    sources = {
        name: digest
        for name, digest in hashes(WEB).items()
        if name not in ASIDE and not name.startswith(NOT_OURS)
    }
    assert sources == told(folder)["sources"], "run `make page`"


@pytest.mark.parametrize("folder", [PAGE, VIEWER])
def test_it_is_what_was_built(folder: Path) -> None:
    built = hashes(folder)
    del built["sources.json"]
    assert built == told(folder)["built"], "run `make page`"


def test_the_page_names_only_its_own_files_and_runs_no_script_of_its_own() -> None:
    html = (PAGE / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(name == "data:," or (PAGE / name.lstrip("/")).is_file() for name in named)
    assert re.findall(r"<script[^>]*>([^<]*)", html) == [""]


def test_the_lock_holds_no_address_of_a_registry() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert all("resolved" not in package for package in lock["packages"].values())


@pytest.mark.parametrize("folder", [PAGE, VIEWER])
def test_it_comes_with_the_licences_of_what_is_in_it(folder: Path) -> None:
    told = (folder / "LICENSES.txt").read_text()
    for package in json.loads((WEB / "package.json").read_text())["dependencies"]:
        assert f"\n{package} " in told
