"""A point of a curve with training: what is finetuned, and what is told of it."""

from __future__ import annotations

from typing import NamedTuple

from mass3d.execution.faults import Fault
from mass3d.transfer.curves.plan import Plan, Point
from mass3d.transfer.finetuned.scores import Scores
from mass3d.transfer.finetuned.settings import FinetuneConfig
from mass3d.transfer.finetuned.taught import TeachingError
from mass3d.transfer.finetuned.verb import finetune_on


class Measured(NamedTuple):
    """The Dice of a point, and what is odd about it."""

    scores: Scores | None
    warnings: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def finetuned_at(point: Point, plan: Plan, config: FinetuneConfig, *, chosen: bool) -> Measured:
    """Finetune as the point says, or read what is finished.

    Where scans without labels teach nothing, the point is scored as the one without them, and it
    is told. chosen and errors: as for `finetune_on`.
    """
    checked = point != next(plan.points())  # scoring the first point reads the scans for all
    try:
        done = finetune_on(config, plan.scans(point), chosen=chosen, checked=checked)
    except TeachingError as error:
        first = plan.first(point)
        folder = config.output.parents[1] / first.folder  # beside that of this start
        without = config.model_copy(update={"output": folder})
        alone = finetuned_at(first, plan, without, chosen=chosen)
        told = (
            f"{point.folder} learned nothing from scans without labels ({error.where}: "
            f"{error.found}) and is scored as the finetuning with labels alone"
        )
        return alone._replace(warnings=(*alone.warnings, told))
    return Measured(done.scores, done.warnings, done.faults)
