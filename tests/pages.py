"""What must hold for every HTML page that we write."""

from __future__ import annotations

import re
from html.parser import HTMLParser

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


def require_whole(page: str, *, beside: str = "") -> list[str]:
    """Assert balanced tags and no way to the network; returns what the page loads.

    beside: where the files lie that a page may load.
    """
    assert page.startswith("<!doctype html>")
    assert not re.search(r"https?://|@import|url\(|<link", page)
    reader = _Reader()
    reader.feed(page)
    assert not reader.open
    allowed = ("data:", "#", *([beside] if beside else []))
    assert all(address.startswith(allowed) for address in reader.loads)
    return reader.loads
