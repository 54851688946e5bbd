"""HTML pages that need no other file and no network: one look, one way to write them.

A page is a template that extends `base.html`; what it shows comes in as plain values.
"""

from __future__ import annotations

import math
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mass3d.files import VERSION, write_text
from mass3d.pages.pictures import css, jpeg_uri, png_uri


def write_page(path: Path, template: str, **content: object) -> Path:
    """Render a template and write the page whole or not at all; returns `path`."""
    write_text(path, render(template, **content))
    return path


def render(template: str, **content: object) -> str:
    """A page as text. Whatever it shows is escaped; a name the template lacks is an error."""
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
    return environment.get_template(template).render(version=VERSION, **content)


def decimals(value: float, places: int = 2) -> str:
    """A number with so many decimals; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{places}f}"


def significant(value: float, digits: int = 4) -> str:
    """A number with so many digits that count: 0.9375, 512, 12.5."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
