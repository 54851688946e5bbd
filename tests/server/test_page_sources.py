"""The built page that is committed is that of the sources, without npm: `make page` renews it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import mass3d

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
PAGE = Path(mass3d.__file__).parent / "server" / "page"
BUILT = json.loads((PAGE / "sources.json").read_text())
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


def test_the_page_was_built_from_the_sources() -> None:
    sources = {
        name: digest
        for name, digest in hashes(WEB).items()
        if name not in ASIDE and not name.startswith(NOT_OURS)
    }
    assert sources == BUILT["sources"], "run `make page`"


def test_the_page_is_what_was_built() -> None:
    built = hashes(PAGE)
    del built["sources.json"]
    assert built == BUILT["built"], "run `make page`"


def test_the_page_names_only_its_own_files_and_runs_no_script_of_its_own() -> None:
    html = (PAGE / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(name == "data:," or (PAGE / name.lstrip("/")).is_file() for name in named)
    assert re.findall(r"<script[^>]*>([^<]*)", html) == [""]


def test_the_lock_holds_no_address_of_a_registry() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert all("resolved" not in package for package in lock["packages"].values())


def test_the_page_comes_with_the_licences_of_what_is_in_it() -> None:
    told = (PAGE / "LICENSES.txt").read_text()
    for package in json.loads((WEB / "package.json").read_text())["dependencies"]:
        assert f"\n{package} " in told
