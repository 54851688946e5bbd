"""What an answer expects of itself: the Dice of its structures, were its probabilities right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

FOUND = 0.5  # probability above which a voxel counts as found


class Expectation:
    """Sums over the voxels of a scan that the expected Dice of S structures is made of.

    With p of all voxels and the found ones M, it is 2 sum_M p / (|M| + sum p): the ratio of what
    the two sides of Dice are expected to be, each voxel being as likely as it is said to be. It is
    too high, as networks are too sure, but ranks results.
    """

    def __init__(self) -> None:
        self._sums: list[Tensor] = []  # (S, 3) each: p of the found, their number, p of all

    def add(self, part: Tensor) -> None:
        """Count probabilities (S, ...) of some voxels, in the memory of one structure."""
        self._sums.append(torch.stack([_sums(one.float()) for one in part]))

    def counted(self, slabs: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
        """Slabs as they come, number of the first slice and (S, slices, H, W), each counted."""
        for first, slab in slabs:
            self.add(slab)
            yield first, slab

    @property
    def dice(self) -> Tensor:
        """(S,); 0 where nothing is found."""
        hits, number, every = torch.stack(self._sums).sum(0).unbind(1)
        found: Tensor = 2 * hits / (number + every).clamp_min(1e-12)
        return found

    def by_name(self, names: Iterable[str]) -> dict[str, float]:
        """Of the structures that are found at all."""
        return {n: dice for n, dice in zip(names, self.dice.tolist(), strict=True) if dice > 0}


def _sums(p: Tensor) -> Tensor:
    among = p > FOUND
    return torch.stack([p[among].sum(), among.sum(), p.sum()])
