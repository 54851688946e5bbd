"""Which scans are shown beside which others, and where each voxel of the one lies in the other.

Mates are aligned before training (`alignment`), without any label. A wrong alignment costs little:
of the masks that it carries over only those are used that meet a mask of the other scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.alignment.alignment import align, places
from mass3d.alignment.features import scan_features
from mass3d.alignment.geometry import apply_affine, cell_centres
from mass3d.alignment.settings import AlignmentConfig
from mass3d.execution.faults import Fault
from mass3d.execution.memory import WORK_BYTES, WORKER_BYTES
from mass3d.execution.pool import run_cases
from mass3d.files import text_hash, whole_file
from mass3d.store.reader import StoredCase
from mass3d.views.correspondence import Points
from mass3d.volume.box import box_shape

SETTINGS = AlignmentConfig(affine_stride=4, stages=((4, 8), (2, 8)))  # fine enough for masks
STRIDE = 4  # voxels per cell of a displacement that is kept
WORST = 0.2  # share of the alignments that is not used
INLINE_VOXELS = 3e7  # of all scans to be aligned, below which processes of their own are no gain

Pair = tuple[int, int]  # numbers of the reference and of the query among the cases


@dataclass(frozen=True)
class Way:
    """From the voxels of a query scan to those of a reference scan."""

    affine: NDArray[np.float32]  # (3, 4)
    shift: NDArray[np.float16] = field(repr=False)  # (3, d, h, w) voxels, added to the affine map
    origin: NDArray[np.int32]  # (3,) first voxel of the box of the query that the shift covers
    similarity: float

    def __call__(self, points: Points) -> Points:
        """Points (..., 3) of the query -> of the reference; beyond the box as at its border."""
        cells = (points - self.origin - (STRIDE - 1) / 2) / STRIDE
        at = np.moveaxis(cells, -1, 0)
        moved = [ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in self._shift]
        linear = points @ self.affine[:, :3].T.astype(np.float64) + self.affine[:, 3]
        result: Points = linear + np.stack(moved, -1)
        return result

    @property
    def _shift(self) -> NDArray[np.float32]:
        return self.shift.astype(np.float32)


Ways = Mapping[Pair, Way]


def draw_mates(
    owners: Sequence[object],
    alignments: int,
    seed: int,
    *,
    shares: NDArray[np.float64] | None = None,
) -> tuple[Pair, ...]:
    """Pairs of different cases of one owner: as many queries as can be, then further references.

    owners: of each case, the store that it lies in. At most `alignments` pairs in all, each once.
    With `shares` of the draws, cases that are drawn more often come first, and those that are never
    drawn are no references either: a weight of 0 says that nothing is learned from them.
    """
    num_cases, rng = len(owners), np.random.default_rng((seed, 3))
    queries, used = rng.permutation(num_cases), np.ones(num_cases, np.bool_)
    if shares is not None:
        used = shares > 0
        queries = rng.choice(num_cases, int(used.sum()), replace=False, p=shares)
    queries = queries[:alignments]
    _, owner = np.unique([str(one) for one in owners], return_inverse=True)
    among = []  # of each query, its references in a random order
    for query in queries:
        others = rng.permutation(np.delete(np.arange(num_cases), query))
        among.append(others[(owner[others] == owner[query]) & used[others]])
    pairs = [
        (int(among[i][turn]), int(query))
        for turn in range(max(map(len, among), default=0))
        for i, query in enumerate(queries)
        if turn < len(among[i])
    ]
    return tuple(sorted(pairs[:alignments]))


def find_ways(
    cases: Sequence[StoredCase], pairs: Sequence[Pair], *, cache: Path, workers: int | None = None
) -> dict[Pair, Way]:
    """Align the pairs, or take them from the file `cache`; the least similar ones are left out.

    A pair that cannot be aligned is left out as well: the scans are still shown, each with itself.
    """
    key = text_hash([[[cases[i].record.plain() for i in pair] for pair in pairs], SETTINGS.plain()])
    found = _read(cache, key)
    if found is None:
        found = _aligned(cases, pairs, workers)
        _write(cache, key, found)
    if not found:
        return {}
    least = np.quantile([way.similarity for way in found.values()], WORST)
    return {pair: way for pair, way in found.items() if way.similarity >= least}


def _aligned(
    cases: Sequence[StoredCase], pairs: Sequence[Pair], workers: int | None
) -> dict[Pair, Way]:
    voxels = [sum(np.prod(cases[i].shape) for i in pair) for pair in pairs]
    outcomes = run_cases(
        align_cases,
        {f"{a} {b}": (cases[a], cases[b]) for a, b in pairs},
        workers=1 if sum(voxels) < INLINE_VOXELS else workers,
        title="align",
        bytes_each=WORKER_BYTES + WORK_BYTES * max(voxels, default=0),
    )
    names = zip(pairs, outcomes.values(), strict=True)
    return {pair: way for pair, way in names if not isinstance(way, Fault)}


def align_cases(scans: tuple[StoredCase, StoredCase]) -> Way:
    """The way from the second scan to the first. The same bits on any number of cores."""
    with _one_thread():
        reference, query = (
            scan_features(torch.from_numpy(scan.read_image()), SETTINGS, finest=2) for scan in scans
        )
        found = align(reference, query, SETTINGS)
        origin = [axis.start for axis in found.box]
        cells = cell_centres([-(-n // STRIDE) for n in box_shape(found.box)], STRIDE, origin)
        shift = places(found, found.box, STRIDE) - apply_affine(found.affine, cells)
        return Way(
            found.affine.numpy().astype(np.float32),
            np.moveaxis(shift.numpy(), -1, 0).astype(np.float16),
            np.array(origin, np.int32),
            round(found.similarity, 6),
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write(path: Path, key: str, ways: Ways) -> None:
    arrays: dict[str, Any] = {"key": np.array(key)}
    for (reference, query), way in ways.items():
        name = f"{reference} {query}"
        arrays |= {f"{name} affine": way.affine, f"{name} shift": way.shift}
        arrays |= {f"{name} origin": way.origin, f"{name} similarity": np.array(way.similarity)}
    with whole_file(path) as target, target.open("wb") as stream:
        np.savez(stream, **arrays)


def _read(path: Path, key: str) -> dict[Pair, Way] | None:
    """What the file holds; None where it is absent, broken or about other scans."""
    try:
        with path.open("rb") as stream, np.load(stream) as held:
            if str(held["key"]) != key:
                return None
            names = [name.removesuffix(" affine") for name in held.files if "affine" in name]
            return {
                (int(name.split()[0]), int(name.split()[1])): Way(
                    held[f"{name} affine"],
                    held[f"{name} shift"],
                    held[f"{name} origin"],
                    float(held[f"{name} similarity"]),
                )
                for name in names
            }
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
