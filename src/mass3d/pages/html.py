"""HTML pages that need no other file and no network: one look, one way to write them.

A page is a template that extends `base.html`; what it shows comes in as plain values.
"""

from __future__ import annotations

import base64
import hashlib
import math
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from mass3d.files import VERSION, write_text
from mass3d.pages.pictures import css, jpeg_uri, png_uri

TABLE: Final = "table.js"
BESIDE: Final = "'self' file:"  # not every browser takes a file beside a page for its own


def write_page(path: Path, template: str, *, viewer: int = 0, **content: object) -> Path:
    """Render a template and write the page whole or not at all; returns `path`."""
    write_text(path, render(template, viewer=viewer, **content))
    return path


def render(template: str, *, viewer: int = 0, **content: object) -> str:
    """A page as text. Whatever it shows is escaped; a name the template lacks is an error.

    viewer: how many scans it lets people look through; then the viewer lies beside it.
    """
    environment = Environment(
        loader=PackageLoader("mass3d.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "png_uri": png_uri,
        "jpeg_uri": jpeg_uri,
        "css": css,
        "decimals": decimals,
        "significant": significant,
    }
    policy = _policy(environment.get_template(TABLE).render(), viewer=bool(viewer))
    return environment.get_template(template).render(
        version=VERSION, policy=policy, viewer=viewer, **content
    )


def _policy(table: str, *, viewer: bool) -> str:
    """What a browser lets a page do: show itself and what lies beside it, ask nobody.

    Of scripts that are in the page only the one that sorts tables runs, whatever a name holds.
    """
    digest = base64.b64encode(hashlib.sha256(table.encode()).digest()).decode()
    own = f" {BESIDE}" if viewer else ""
    return (
        f"default-src 'none'; img-src {BESIDE} data: blob:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'{own}; base-uri 'none'; form-action 'none'"
    )


def decimals(value: float, places: int = 2) -> str:
    """A number with so many decimals; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{places}f}"


def significant(value: float, digits: int = 4) -> str:
    """A number with so many digits that count: 0.9375, 512, 12.5."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
