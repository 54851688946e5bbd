"""The card of a model: a page in Markdown with a header that the hub of Hugging Face reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mass3d.pages.markdown import markdown

CARD: Final = "README.md"


def model_card(facts: Mapping[str, Any], *, title: str, terms: str, data: str) -> str:
    """facts: of a model, as `facts_of` gives them; terms: of use, empty where nobody has said."""
    return markdown("card.md", facts=facts, title=title, terms=terms, data=data)
