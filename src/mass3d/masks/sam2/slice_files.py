"""What is finished of a case, on disk: a killed run goes on where it was. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mass3d.files import whole_file
from mass3d.masks.packing import CutMask
from mass3d.volume.box import box_at, box_shape


@dataclass(frozen=True)
class Work:
    """A folder of finished pieces; None keeps nothing."""

    folder: Path | None

    def once(self, name: str, find: Callable[[], Iterable[CutMask]]) -> list[CutMask]:
        """The masks that `find` finds, or found under this name before."""
        if self.folder is None:
            return list(find())
        path = self.folder / f"{name}.npz"
        if not path.exists():
            write_masks(path, list(find()))
        return read_masks(path)


def write_masks(path: Path, masks: Sequence[CutMask]) -> None:
    """Write masks whole or not at all; that there is none is a result too."""
    edges = [[end for axis in mask.box for end in (axis.start, axis.stop)] for mask in masks]
    bits = [np.packbits(mask.mask) for mask in masks]
    with whole_file(path) as partial:
        np.savez(
            partial,
            box=np.array(edges, np.int32).reshape(-1, 6),
            score=np.array([mask.score for mask in masks], np.float32),
            bits=np.concatenate([np.zeros(0, np.uint8), *bits]),
        )


def read_masks(path: Path) -> list[CutMask]:
    """The masks of a file, in its order."""
    with np.load(path) as file:
        boxes, scores, bits = file["box"], file["score"], file["bits"]
    masks = []
    start = 0
    for edges, score in zip(boxes, scores, strict=True):
        first, stop = edges.reshape(3, 2).T
        box = box_at(first.tolist(), (stop - first).tolist())
        shape = box_shape(box)
        voxels = int(np.prod(shape))
        stop = start + -(-voxels // 8)
        mask = np.unpackbits(bits[start:stop], count=voxels).astype(bool).reshape(shape)
        masks.append(CutMask(box, mask, int(mask.sum()), float(score)))
        start = stop
    return masks
