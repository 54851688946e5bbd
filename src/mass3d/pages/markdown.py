"""Pages in Markdown, in which nothing that people have written becomes Markdown or HTML."""

from __future__ import annotations

import json
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from mass3d.files import VERSION

PLAIN: Final = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]<>|#"})


def markdown(template: str, **content: object) -> str:
    """A template as text. Words of people go through its filter `plain`, or through `quoted`."""
    environment = Environment(
        loader=PackageLoader("mass3d.pages"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "quoted": json.dumps}
    return environment.get_template(template).render(version=VERSION, **content)


def plain(text: object) -> str:
    """Text of one line without any mark of Markdown or HTML."""
    return " ".join(str(text).split()).translate(PLAIN)
