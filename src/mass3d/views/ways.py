"""Where each voxel of a scan lies in the one that it is shown beside: found once, and kept.

Mates are aligned before training (`alignment`), without any label. A wrong alignment costs little:
of the masks that it carries over only those are used that meet a mask of the other scan.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from mass3d.device import one_thread
from mass3d.errors import DataError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.memory import WORK_BYTES, WORKER_BYTES
from mass3d.execution.pool import run_cases
from mass3d.execution.processes import started_processes
from mass3d.execution.progress import tell
from mass3d.execution.summary import counted
from mass3d.files import text_hash, whole_file
from mass3d.store.reader import StoredCase
from mass3d.views.correspondence import Points
from mass3d.views.mates import Pair, group_of
from mass3d.volume.box import box_shape

SETTINGS = AlignmentConfig(affine_stride=4, stages=((4, 8), (2, 8)))  # fine enough for masks
STRIDE = 4  # voxels per cell of a displacement that is kept
WORST = 0.2  # share of the alignments of a group that is not used
INLINE_VOXELS = 3e7  # of all scans to be aligned, below which processes of their own are no gain
SAVE_SECONDS = 60.0  # between two writes of what is found so far


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


def find_ways(
    cases: Sequence[StoredCase],
    pairs: Sequence[Pair],
    *,
    cache: Path,
    workers: int | None = None,
    begun: bool = False,
) -> dict[Pair, Way]:
    """Align the pairs, or take them from the file `cache`; the least similar ones are left out.

    These are the least similar of their group, as what similarity is high differs between parts of
    the body: a set of its own does not lose its pairs to another.
    A pair that the alignment refuses is left out as well: the scans are still shown, each with
    itself. So is one that failed otherwise, as for want of memory, but that is told, and the next
    call tries it again, unless batches of what the file holds were learned from (`begun`). The file
    is written while pairs are aligned, and a call after a killed one aligns only what it does not
    hold.
    """
    key = text_hash([[[cases[i].record.plain() for i in pair] for pair in pairs], SETTINGS.plain()])
    held = _read(cache, key)
    outcomes = _Outcomes(cache, key, pairs, held or {})
    # other processes take what the first of them found, or they would disagree about the batches
    if outcomes.missing() and (held is None or (started_processes().first and not begun)):
        _align(cases, outcomes, workers)
    ways = {pair: way for pair, way in outcomes.found.items() if way is not None}
    least = _least(ways, [group_of(case) for case in cases])
    used = {pair: way for pair, way in ways.items() if way.similarity >= least[pair]}
    tell(f"Of {counted(len(pairs), 'pair')} of scans {len(used)} are used, the most similar ones.")
    return used


def _least(ways: Ways, groups: Sequence[object]) -> dict[Pair, float]:
    """Of every pair, the similarity that is wanted of its group, which is that of its query."""
    found: dict[object, list[float]] = {}
    for (_, query), way in ways.items():
        found.setdefault(groups[query], []).append(way.similarity)
    least = {group: sorted(some)[int(WORST * len(some))] for group, some in found.items()}
    return {pair: least[groups[pair[1]]] for pair in ways}


def tell_if_rare(ways: Ways, shares: NDArray[np.float64], wanted: float) -> None:
    """Say so where far fewer samples than `wanted` show two scans, for want of alignments.

    shares: of the draws, of each case.
    """
    aligned = sorted({query for _, query in ways})
    reached = wanted * float(shares[aligned].sum())
    if ways and reached < wanted / 2:
        tell(
            f"Warning: {reached:.0%} of the samples show two scans beside each other instead of "
            f"{wanted:.0%}, as {counted(len(aligned), 'scan')} of {len(shares)} are aligned to "
            f"another one. views.alignments={len(shares)} aligns each, once."
        )


class _Outcomes:
    """What became of pairs so far, and the file that keeps it: hours of work may be killed."""

    def __init__(
        self, path: Path, key: str, pairs: Sequence[Pair], found: Mapping[Pair, Way | None]
    ) -> None:
        self._path, self._key, self._pairs = path, key, pairs
        self.found = {pair: found[pair] for pair in pairs if pair in found}  # None: refused
        self._written, self._pause = time.monotonic(), SAVE_SECONDS

    def missing(self) -> list[Pair]:
        """The pairs that are still to be aligned."""
        return [pair for pair in self._pairs if pair not in self.found]

    def add(self, name: str, outcome: Way | Fault | None) -> None:
        """Keep an outcome. A fault says nothing about the pair, which stays to be aligned."""
        if not isinstance(outcome, Fault):
            self.found[_pair(name)] = outcome
        if time.monotonic() - self._written >= self._pause:
            self.write()

    def write(self) -> None:
        """Write the whole file, in the order of the pairs, in whichever they were found."""
        self.found = {pair: self.found[pair] for pair in self._pairs if pair in self.found}
        begun = time.monotonic()
        _write(self._path, self._key, self.found)
        self._written = time.monotonic()
        # many large pairs are not written for longer than they are aligned
        self._pause = max(SAVE_SECONDS, 20 * (self._written - begun))


def _align(cases: Sequence[StoredCase], outcomes: _Outcomes, workers: int | None) -> None:
    """Align what is missing, as far as that goes, and tell what failed."""
    pairs = outcomes.missing()
    voxels = [sum(np.prod(cases[i].shape) for i in pair) for pair in pairs]
    try:
        ended = run_cases(
            align_or_refuse,
            {f"{a} {b}": (cases[a], cases[b]) for a, b in pairs},
            workers=1 if sum(voxels) < INLINE_VOXELS else workers,
            title="align",
            bytes_each=WORKER_BYTES + WORK_BYTES * max(voxels, default=0),
            each=outcomes.add,
        )
    finally:
        outcomes.write()  # also when a signal asked for the end
    faults = faults_of(ended)
    if faults:
        names = " and ".join(cases[i].case_id for i in _pair(faults[0].where))
        tell(
            f"Warning: {counted(len(faults), 'pair')} of scans could not be aligned, for another"
            f" reason than the scans; the same command tries again. The first, {names}:"
            f" {faults[0].message}"
        )


def _pair(name: str) -> Pair:
    reference, query = name.split()
    return int(reference), int(query)


def align_or_refuse(scans: tuple[StoredCase, StoredCase]) -> Way | None:
    """As `align_cases`; None for scans that cannot be aligned, whenever that is tried."""
    try:
        return align_cases(scans)
    except (DataError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]  # it is documented
        return None


def align_cases(scans: tuple[StoredCase, StoredCase]) -> Way:
    """The way from the second scan to the first. The same bits on any number of cores."""
    with one_thread():
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


def _write(path: Path, key: str, outcomes: Mapping[Pair, Way | None]) -> None:
    arrays: dict[str, Any] = {"key": np.array(key)}
    for (reference, query), way in outcomes.items():
        if way is None:
            continue
        name = f"{reference} {query}"
        arrays |= {f"{name} affine": way.affine, f"{name} shift": way.shift}
        arrays |= {f"{name} origin": way.origin, f"{name} similarity": np.array(way.similarity)}
    refused = [pair for pair, way in outcomes.items() if way is None]
    if refused:
        arrays["refused"] = np.array(refused, np.int64)
    with whole_file(path) as target, target.open("wb") as stream:
        np.savez(stream, **arrays)


def _read(path: Path, key: str) -> dict[Pair, Way | None] | None:
    """What the file holds, None for a pair that was refused; None where it is of no use.

    That is where it is absent, broken or about other scans. Older versions wrote no refused pairs.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as held:
            if str(held["key"]) != key:
                return None
            names = [name.removesuffix(" affine") for name in held.files if "affine" in name]
            refused = held["refused"].tolist() if "refused" in held.files else []
            found: dict[Pair, Way | None] = {(int(a), int(b)): None for a, b in refused}
            for name in names:
                found[_pair(name)] = Way(
                    held[f"{name} affine"],
                    held[f"{name} shift"],
                    held[f"{name} origin"],
                    float(held[f"{name} similarity"]),
                )
            return found
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None
