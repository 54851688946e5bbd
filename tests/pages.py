"""What must hold for every HTML page that we write."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from typing import Any

import nibabel as nib

VOID = ("meta", "img", "br", "input")  # tags that are never closed


class _Reader(HTMLParser):
    """Collects everything a browser would load, and whether tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def told(script: bytes) -> dict[str, Any]:
    """What a script beside a page hands to the viewer."""
    text = script.decode("ascii")
    assert text.startswith("mass3dVolume({")
    assert text.endswith("})\n")
    found: dict[str, Any] = json.loads(text.removeprefix("mass3dVolume(")[:-2])
    return found


def unpacked(volume: str) -> Any:
    """nibabel's image of a scan or label map of such a script."""
    content = gzip.decompress(base64.b64decode(volume, validate=True))
    return nib.Nifti1Image.from_bytes(content)


def require_whole(page: str, *, beside: str | tuple[str, ...] = ()) -> list[str]:
    """Assert balanced tags and no way to the network; returns what the page loads.

    beside: where the files lie that a page may load.
    """
    assert page.startswith("<!doctype html>")
    assert not re.search(r"https?://|@import|url\(|<link", page)
    reader = _Reader()
    reader.feed(page)
    assert not reader.open
    assert 'content="default-src &#39;none&#39;; ' in page
    allowed = ("data:", "#", *([beside] if isinstance(beside, str) else beside))
    assert all(address.startswith(allowed) for address in reader.loads)
    return reader.loads
