"""The page beside weights for nnU-Net: what to type, and what nnU-Net does otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mass3d.model.plan import ResEncPlan
from mass3d.pages.markdown import markdown
from mass3d.transfer.handover import CHECKPOINT, METHOD
from mass3d.transfer.trained import TrainedModel

GUIDE: Final = "README.md"


def handed_over(folder: Path, fingerprint: str, tensors: int) -> str:
    """What was written, and what to type, in two sentences."""
    return (
        f"Exported encoder and decoder of the weights {fingerprint[:12]} as {tensors} tensors of "
        f"nnU-Net: nnUNetv2_train ... -pretrained_weights {folder / CHECKPOINT}. What else to "
        f"type, and what nnU-Net does otherwise, stands in {folder / GUIDE}."
    )


def handover_page(
    trained: TrainedModel, plan: ResEncPlan, *, title: str, terms: str, data: str
) -> str:
    """title, terms and data: what people have said; empty where nobody has."""
    return markdown(
        "nnunet.md",
        trained=trained,
        plan=plan,
        title=title,
        terms=terms,
        data=data,
        checkpoint=CHECKPOINT,
        method=METHOD,
    )
