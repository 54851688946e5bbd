"""The card of a model: a page in Markdown with a header that the hub of Hugging Face reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mass3d.pages.markdown import markdown

CARD: Final = "README.md"


def model_card(
    facts: Mapping[str, Any], *, title: str, terms: str, data: str, odd: Sequence[str] = ()
) -> str:
    """facts: of a model, as `facts_of` gives them; terms: of use, empty where nobody has said.

    odd: sentences about the model, which whoever takes it should know.
    """
    return markdown("card.md", facts=facts, title=title, terms=terms, data=data, odd=odd)
