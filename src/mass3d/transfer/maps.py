"""Maps beside a label map: probability of each structure, and how many references agree.

A value is a share in steps of 1/10000 in 16 bits, as NIfTI knows no half precision; between 0.5
and 1 that is finer than it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.files import file_hash, writing
from mass3d.io.names import safe_name
from mass3d.io.write import write_share
from mass3d.volume.geometry import Shape, SourceGrid

STEPS: Final = 10_000
PROBABILITIES: Final = "probabilities"
AGREEMENT: Final = "agreement"
SCRATCH: Final = ".maps"

Share = NDArray[np.int16]  # (D, H, W), of STEPS


@dataclass(frozen=True)
class Maps:
    """Maps on the grid of a scan, all 0, for whoever segments it to fill; those wanted."""

    probabilities: Sequence[Share] = field(default=(), repr=False)  # of the S structures
    agreement: Share | None = field(default=None, repr=False)


@contextmanager
def scratch_maps(
    folder: Path, shape: Shape, structures: int, *, agreement: bool = False
) -> Iterator[Maps]:
    """Maps that lie on the disk while they are filled, so that memory does not grow with S."""
    if not structures and not agreement:
        yield Maps()
        return
    place = folder / SCRATCH
    shutil.rmtree(place, ignore_errors=True)  # what a killed process has left
    with writing(place):
        place.mkdir(parents=True)
        try:
            files = [place / str(number) for number in range(structures + agreement)]
            made = [np.memmap(file, np.int16, "w+", shape=shape) for file in files]
            yield Maps(made[:structures], made[structures] if agreement else None)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def as_shares(values: NDArray[np.float32]) -> Share:
    """Numbers in [0, 1] as steps."""
    steps: Share = np.rint(np.clip(values, 0, 1) * STEPS).astype(np.int16)
    return steps


class Agreement:
    """Counts, voxel by voxel, which references say what the answer says."""

    def __init__(self, answer: NDArray[np.uint16], values: Sequence[int]) -> None:
        self.answer, self.values = answer, values
        self.agreeing = np.zeros(answer.shape, np.uint16)
        self.asked = np.zeros(int(max(values)) + 1, np.uint16)  # by value: who can say it

    def count(self, said: NDArray[np.uint16], voting: Sequence[bool]) -> None:
        """Add one reference: its label map, and for which of the structures it votes."""
        asked = np.zeros(len(self.asked), bool)
        asked[list(self.values)] = voting
        asked[0] = any(voting)
        self.asked += asked
        self.agreeing += (said == self.answer) & asked[self.answer]

    def fill(self, share: Share) -> None:
        """Of those who could say it, the share that says what the answer says."""
        for slice_, agreeing, answer in zip(share, self.agreeing, self.answer, strict=True):
            asked = np.maximum(self.asked, 1)[answer]
            slice_[:] = as_shares((agreeing / asked).astype(np.float32))


def write_maps(
    folder: Path, case_id: str, maps: Maps, structures: Mapping[str, int], source: SourceGrid
) -> dict[str, str]:
    """Write the maps of a case; returns their files, below the folder, and the SHA-256 of each."""
    shares: dict[str, Any] = {}
    if maps.probabilities:
        names = file_names(structures)
        paths = (f"{PROBABILITIES}/{case_id}/{names[name]}.nii.gz" for name in structures)
        shares |= dict(zip(paths, maps.probabilities, strict=True))
    if maps.agreement is not None:
        shares[f"{AGREEMENT}/{case_id}.nii.gz"] = maps.agreement
    for path, share in shares.items():
        write_share(folder / path, share, source, steps=STEPS)
    return {path: file_hash(folder / path) for path in shares}


def file_names(structures: Mapping[str, int]) -> dict[str, str]:
    """Structure -> name of its file; where two would share one, with their values behind."""
    plain = {name: safe_name(name) for name in structures}
    alike = [name.casefold() for name in plain.values()]
    return {
        name: own if own and alike.count(own.casefold()) == 1 else f"{own}_{structures[name]}"
        for name, own in plain.items()
    }
