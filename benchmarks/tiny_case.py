"""Segment a scan of 80 x 80 x 60 voxels with the preset tiny: one reference, nine structures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from support.measure import Row, cost, main
from support.networks import untrained
from support.synthetic import Shape, stretched

from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.volume.preparation import PreparationConfig

SPACING_MM = 3.0
STRUCTURES = 9
SLABS = 3  # that each of the four organs is cut into; nine of the twelve are asked for


def measure(small: bool) -> Sequence[Row]:
    """Two phantoms of other anatomies; first weights, which cost what trained ones do."""
    shape: Shape = (24, 24, 20) if small else (80, 80, 60)
    spacing = (SPACING_MM,) * 3
    (reference, marked), (scan, _) = (stretched(n, shape, spacing, slabs=SLABS) for n in (2, 4))
    values = np.unique(marked.voxels[marked.voxels > 0])[:STRUCTURES].tolist()
    structures = {f"part {value}": value for value in values}
    preparation = PreparationConfig(spacing_mm=SPACING_MM, modality="ct")
    segmenter = Segmenter(untrained("tiny", shape, preparation))
    # heads of a few updates: how long they were tuned costs nothing later
    brief = TuningConfig(views=2, held_out=1, steps=20)
    task = segmenter.task([reference], [marked], structures, tuning=brief)
    answer = partial(segmenter.answer, scan, task)
    found = [(how, answer(alignment=how == "alignment").method) for how in ("alignment", "network")]
    assert small or all(wanted == method for wanted, method in found)
    aligned, alone = cost(answer), cost(partial(answer, alignment=False))
    size = f"{'x'.join(map(str, shape))}, one reference, {len(structures)} structures"
    threads = f"{torch.get_num_threads()} threads"
    rows = []
    for how, one in ((f"segment {size}", aligned), ("by the network alone", alone)):
        rows += [
            Row(how, one.cpu_s, "CPU-s", budget="<= 1 s on one core", limit=1),
            Row(f"{how}, on the clock, {threads}", one.wall_s, "s"),
        ]
    return rows


if __name__ == "__main__":
    main(__file__, measure)
