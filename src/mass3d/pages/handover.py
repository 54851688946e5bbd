"""The page beside weights for nnU-Net: what to type, and what nnU-Net does otherwise."""

from __future__ import annotations

from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from mass3d.files import VERSION
from mass3d.model.plan import ResEncPlan
from mass3d.pages.card import plain
from mass3d.transfer.handover import CHECKPOINT, METHOD
from mass3d.transfer.trained import TrainedModel

GUIDE: Final = "README.md"


def handover_page(
    trained: TrainedModel, plan: ResEncPlan, *, title: str, terms: str, data: str
) -> str:
    """In Markdown; nothing that people have written becomes Markdown or HTML."""
    environment = Environment(
        loader=PackageLoader("mass3d.pages"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    return environment.get_template("nnunet.md").render(
        trained=trained,
        plan=plan,
        title=title,
        terms=terms,
        data=data,
        checkpoint=CHECKPOINT,
        method=METHOD,
        version=VERSION,
    )
