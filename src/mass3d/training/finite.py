"""What stops a run whose numbers are no longer finite, and which batches are to blame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from mass3d.errors import ModelError
from mass3d.training.fabric import largest_of_processes, of_all_processes
from mass3d.training.job import FitState, Job
from mass3d.training.log import Entry
from mass3d.training.resume import save_run

NEVER: Final = 2**62  # a step that no run comes to


class Taken(NamedTuple):
    """A batch of a step, as it is told to the other processes."""

    number: int  # of the run; with the seed it decides what was drawn
    process: int
    loss: float
    case_ids: tuple[str, ...]


def require_finite(job: Job[Any], state: FitState) -> None:
    """Raise `ModelError` on the first step that is not in a row yet and is not finite.

    All processes do so together, as they save together, and all name the same batches: the one that
    is read first may be any of them.
    """
    entry, fabric = state.log.first_not_finite(), state.fabric
    first = NEVER if entry is None else entry.step
    if fabric.world_size > 1:
        first = -largest_of_processes(fabric, [-first])[0]
    if first == NEVER:
        return
    entry = next(one for one in state.log.entries if one.step == first)
    state.log.entries.remove(entry)
    blamed = _blamed(of_all_processes(fabric, _taken(job, state, entry)))
    found = _in_words(entry, blamed, processes=fabric.world_size)
    cases = [name for batch in blamed for name in batch.case_ids]
    # a state past the bad step would go on as if it had never been
    refuse(job, state, found, cases, good=state.step < first)


def refuse(
    job: Job[Any], state: FitState, found: str, case_ids: Iterable[str] = (), *, good: bool = True
) -> NoReturn:
    """Save the run if it is still good, and raise `ModelError`."""
    if good and state.step and state.is_finite():
        save_run(job, state)
    cases = ", ".join(sorted(set(case_ids)))
    in_16_bits = state.precision != "32-true"
    numbers = ", or in float32: fit.precision=32-true" * in_16_bits
    raise ModelError(
        job.run,
        found=found,
        expected="finite numbers",
        fix=f"{f'Look at the cases {cases}; or b' if cases else 'B'}egin a run in another folder "
        f"with a lower fit.lr{numbers}. What was saved before is intact.",
        setting="fit.lr",
    )


def _taken(job: Job[Any], state: FitState, entry: Entry) -> list[Taken]:
    """The batches that this process took in a step; processes take them in turn."""
    rank, processes = state.fabric.global_rank, state.fabric.world_size
    begin = (entry.step - 1) * job.batches_per_step + rank
    return [
        Taken(begin + index * processes, rank, float(part.loss), part.case_ids)
        for index, part in enumerate(entry.parts)
    ]


def _blamed(taken: Sequence[Taken]) -> list[Taken]:
    """Those without a finite loss; where all have one, a gradient of any of them is not finite."""
    bad = [batch for batch in taken if not math.isfinite(batch.loss)]
    return bad or sorted(taken)


def _in_words(entry: Entry, blamed: Sequence[Taken], *, processes: int) -> str:
    losses = [batch.loss for batch in blamed] or [float(entry.figures["loss"])]
    loss, norm = sum(losses) / len(losses), float(entry.figures["grad_norm"])
    told = f"a loss of {loss:.3g} (gradient norm {norm:.3g}) at step {entry.step}"
    if blamed:
        told += f", in {_listed('batch', 'batches', [batch.number for batch in blamed])}"
    if blamed and processes > 1:
        ranks = sorted({batch.process for batch in blamed})
        told += f" of {_listed('process', 'processes', ranks)}"
    return told


def _listed(one: str, several: str, numbers: Sequence[int]) -> str:
    return f"{one if len(numbers) == 1 else several} {', '.join(map(str, numbers))}"
