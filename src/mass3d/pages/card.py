"""The card of a model: a page in Markdown with a header that the hub of Hugging Face reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from mass3d.files import VERSION

CARD: Final = "README.md"
PLAIN: Final = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]<>|#"})


def model_card(facts: Mapping[str, Any], *, title: str, terms: str, data: str) -> str:
    """facts: of a model, as `facts_of` gives them; terms: of use, empty where nobody has said.

    Nothing that people have written becomes Markdown or HTML.
    """
    environment = Environment(
        loader=PackageLoader("mass3d.pages"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "quoted": json.dumps}
    return environment.get_template("card.md").render(
        facts=facts, title=title, terms=terms, data=data, version=VERSION
    )


def plain(text: object) -> str:
    """Text of one line without any mark of Markdown or HTML."""
    return " ".join(str(text).split()).translate(PLAIN)
