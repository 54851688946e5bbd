"""Segment 160 voxels along each axis with the preset small: one reference, as the verb does it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from support.measure import Row, cost, main
from support.networks import untrained
from support.synthetic import stretched

from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.volume.preparation import PreparationConfig

SPACING_MM = 2.0


def measure(small: bool) -> Sequence[Row]:
    """Two phantoms of other anatomies; first weights, which cost what trained ones do."""
    edge = 32 if small else 160
    shape, spacing = (edge, edge, edge), (SPACING_MM,) * 3
    (reference, marked), (scan, _) = (stretched(n, shape, spacing) for n in (2, 4))
    preparation = PreparationConfig(spacing_mm=SPACING_MM, modality="ct")
    segmenter = Segmenter(untrained("small", shape, preparation))
    structures = {"first": 1} if small else {"first": 1, "second": 2, "third": 3, "fourth": 4}
    tasks: list[Task] = []
    # heads of a few updates: how long they were tuned costs nothing later
    brief = TuningConfig(views=2, held_out=1, steps=20)
    made = cost(
        lambda: tasks.append(segmenter.task([reference], [marked], structures, tuning=brief))
    )
    answer = partial(segmenter.answer, scan, tasks[0])
    aligned, alone = cost(answer), cost(partial(answer, alignment=False))
    what = f"{'x'.join(map(str, shape))} with small, one reference, {len(structures)} structures"
    rows = [Row(f"make the task of {what}, heads hardly tuned", made.cpu_s, "CPU-s")]
    for how, found in ((f"segment {what}", aligned), ("by the network alone", alone)):
        rows += [
            Row(how, found.cpu_s, "CPU-s"),
            Row(f"{how}, on the clock", found.wall_s, "s", budget="<= 30 s"),
            Row(f"{how}, memory", found.gib, "GiB"),
        ]
    return rows


if __name__ == "__main__":
    main(__file__, measure)
