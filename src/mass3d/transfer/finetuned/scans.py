"""Labelled scans as finetuning wants them: which are used, what is numbered, prepared in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from mass3d.config import Regions
from mass3d.errors import ConfigError, DataError
from mass3d.execution.summary import counted, first_of
from mass3d.files import text_hash
from mass3d.inspection.label import CountedLabel, Names, count_label, count_values
from mass3d.io.datasets.channels import read_channels_of
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.dataset_json import read_common_targets, read_ignored
from mass3d.io.datasets.label_maps import named_in_headers, values_in
from mass3d.io.datasets.layouts import LabelFiles
from mass3d.io.datasets.regions import Targets, targets_of
from mass3d.io.datasets.source import image_hash, seen_hash
from mass3d.io.read import read_label
from mass3d.transfer.coarse import Losses
from mass3d.transfer.finetuned.apart import last_whole, subjects_of
from mass3d.transfer.references import require_at_most, volumes_ml
from mass3d.views.labelled import MAX_STRUCTURES, UNKNOWN, LabelledCase
from mass3d.volume.preparation import (
    PreparationConfig,
    prepare_channels,
    prepare_label,
    prepared_modality,
)
from mass3d.volume.ranges import Measures, Ranges
from mass3d.volume.volume import Volume


def _number(given: Any) -> Any:
    """A number as such, also where it is typed as text. Raises `ValueError` for other words."""
    if isinstance(given, str) and re.fullmatch(r"\d+", given):
        given = int(given)
    share = isinstance(given, str) and re.fullmatch(r"\d+(\.\d+)?%", given)
    if share or given == "all" or (type(given) is int and given > 0):
        return given
    raise ValueError("a number of scans, a share such as 10%, or all")


Number = Annotated[int | str, BeforeValidator(_number)]
"""How many labels: a number, a share such as 10%, or all."""
VALIDATION_SHARE = 5  # one in as many is kept apart where there are at least twice as many,
MAX_VALIDATION = 10  # and no more than these


class Split(NamedTuple):
    """Scans to learn from, and scans to score at the end."""

    training: tuple[CaseFile, ...]
    validation: tuple[CaseFile, ...]
    unlabelled: tuple[CaseFile, ...] = ()  # to learn from as well, once a task has answered them

    def ids(self) -> dict[str, list[str]]:
        """Case ids of each, for records; of scans without labels only where there are some."""
        parts = {name: [case.case_id for case in part] for name, part in self._asdict().items()}
        return parts if self.unlabelled else {k: parts[k] for k in ("training", "validation")}


def split(cases: Sequence[CaseFile], number: Number, *, validation: int | None, seed: int) -> Split:
    """Draw the scans to learn from: of a larger number all that a smaller one has, and more.

    The scans for validation are drawn first and depend on the seed and on all scans alone; `None`
    takes a fifth, at most ten, and none of fewer than ten. Where names tell the subjects as in
    BIDS, all scans of a subject are on one side, so that a few more may be kept apart; `None`
    keeps none where all are of one. Raises `ConfigError` for more scans than there are.
    """
    apart = validation
    if apart is None:
        enough = len(cases) >= 2 * VALIDATION_SHARE
        apart = min(MAX_VALIDATION, len(cases) // VALIDATION_SHARE) if enough else 0
    order = np.random.default_rng((seed, 3)).permutation(len(cases)).tolist()
    kept = last_whole(order, subjects_of(cases), at_least=apart)
    if validation is None and len(kept) == len(cases):
        kept = frozenset()
    free = [place for place in order if place not in kept]
    left = len(free)
    wanted = count_of(number, left)
    if left < 1 or wanted > left:
        raise ConfigError(
            "labels",
            found=f"{number} of {len(cases)} labelled scans, {max(len(kept), apart)} of them kept "
            + ("apart, as subjects stay whole" if len(kept) > apart else "apart"),
            expected=f"at most {max(0, left)}",
            fix="Ask for fewer, keep fewer apart, or give more labelled scans.",
            setting="labels",
        )
    chosen = sorted(free[:wanted]), sorted(kept)
    training, others = (tuple(cases[index] for index in indices) for indices in chosen)
    return Split(training, others)


def count_of(number: Number, among: int) -> int:
    """How many scans of so many a number means."""
    if number == "all":
        return among
    if isinstance(number, str):
        return max(1, round(among * float(number.removesuffix("%")) / 100))
    return number


def structures_of(cases: Sequence[CaseFile], wanted: Regions) -> Targets:
    """The wanted structures, else those that the labels' layout or headers name, else all values.

    Masks of one structure each count from 1. Raises `DataError` where the labels are empty or
    dataset.json cannot be read, `ConfigError` for too many, and for regions of masks.
    """
    targets = targets_of(wanted) if wanted else _named(cases) or Targets(_values(cases))
    if targets.regions and any(_label_of(case).names for case in cases):
        raise ConfigError(
            "structures",
            found="regions of several values, and labels with a mask for each structure",
            expected="regions of label maps alone",
            fix="Name the structures as the masks are called.",
            setting="structures",
        )
    require_at_most(MAX_STRUCTURES, len(targets.classes))
    return targets


def _named(cases: Sequence[CaseFile]) -> Targets | None:
    """What dataset.json or the files of masks name. Raises `DataError` where two differ."""
    labels = [_label_of(case) for case in cases]
    names = {name for label in labels for name in label.names}
    if not names:
        return read_common_targets(dict.fromkeys(label.table for label in labels if label.table))
    for label in labels:
        if not label.names:
            raise DataError(
                label.paths[0],
                found="a label map, where other scans have a mask for each structure",
                expected="labels of one kind",
                fix="Take one dataset at a time, or say which structure has which value.",
                setting="structures",
            )
    return Targets({name: number for number, name in enumerate(sorted(names), start=1)})


def _values(cases: Sequence[CaseFile]) -> dict[str, int]:
    """What the headers of the label maps name, else all values, called by their numbers."""
    paths = [path for case in cases for path in _label_of(case).paths]
    return named_in_headers(paths, values_in(map(read_label, paths)))


def fingerprint(cases: Sequence[CaseFile]) -> str:
    """SHA-256 over ids and content of scans and labels, and how names and tables have them read."""
    return text_hash(
        [[case.case_id, seen_hash(case), label_content(_label_of(case))] for case in cases]
    )


def label_content(files: LabelFiles) -> list[str | int]:
    """Hashes of the files of a label, and the value that is ignored in it, if there is one.

    Of dataset.json nothing else decides what is read of a label for given structures.
    """
    ignored = ignored_in(files)
    return [*map(image_hash, files.paths), *([] if ignored is None else [ignored])]


def ignored_in(files: LabelFiles) -> int | None:
    """The value of voxels that nobody has annotated. Raises `DataError` as `read_ignored` does."""
    return read_ignored(files.table.parent) if files.table else None


@dataclass(frozen=True)
class LabelledScan:
    """A scan and the numbers of its structures, on its own grid; or several channels of a case."""

    case_id: str
    volumes: tuple[Volume, ...]  # of all channels, each on its own grid; the label is on the first
    numbers: NDArray[np.uint8] = field(repr=False)  # (D, H, W): 0, classes from 1, UNKNOWN
    shown: tuple[bool, ...]  # of each class
    odd: tuple[str, ...] = ()  # sentences about the label
    overlap_vox: int = 0  # voxels that are in several masks

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Of each class, whether a voxel has its number: a mask may lie wholly within others."""
        return np.isin(
            np.arange(1, len(self.shown) + 1), np.flatnonzero(count_values(self.numbers))
        )

    @property
    def volume(self) -> Volume:
        """The scan, or the first channel."""
        return self.volumes[0]


def read_labelled(case: CaseFile, targets: Targets) -> LabelledScan:
    """Read a scan and its label. Raises `DataError`, also where a mask that is wanted is bad."""
    names = _parts(targets)
    values = {name: value for some in names for name, value in some.items()}
    files, volumes = _label_of(case), read_channels_of(case)
    ignored = ignored_in(files)
    named = Names(values, ignored, of_table=files.table is not None)
    label = count_label(files, named, volumes[0])
    if files.names and label.faults:
        raise DataError(
            files.paths[0].parent,
            found=f"a mask that cannot be used ({label.faults[0]})",
            expected="a mask of each structure on the grid of the scan",
            fix="Correct it, or leave the scan out.",
        )
    table = np.zeros(int(label.voxels.max()) + 1, np.uint8)
    for value, number in _numbered(label, names, ignored):
        table[value : value + 1] = number  # of a value that is not there: nothing
    facts, numbers = label.facts, table[label.voxels]
    shown = tuple(any(facts.voxels.get(name, 0) for name in some) for some in names)
    return LabelledScan(case.case_id, volumes, numbers, shown, label.faults, facts.overlap_vox)


def values_of(scan: LabelledScan, targets: Targets) -> NDArray[np.uint16]:
    """The label with the first value of every class for its number; what is not known is 0."""
    values = np.zeros(UNKNOWN + 1, np.uint16)
    values[1 : 1 + len(targets.classes)] = [some[0] for some in targets.classes]
    return values[scan.numbers]


def _parts(targets: Targets) -> list[dict[str, int]]:
    """Of each class the values, as they are called in messages."""
    if not targets.regions:
        return [{name: value} for name, value in targets.values.items()]
    return [{str(value): value for value in some} for some in targets.classes]


def _numbered(
    label: CountedLabel, names: Sequence[Mapping[str, int]], ignored: int | None
) -> list[tuple[int, int]]:
    """Values of a label map, and the numbers of their classes."""
    numbers = {name: number for number, some in enumerate(names, start=1) for name in some}
    pairs = [(label.values[name], n) for name, n in numbers.items() if name in label.values]
    return [*pairs, *([(ignored, UNKNOWN)] if ignored is not None else [])]


class Material(NamedTuple):
    """What is learned from."""

    cases: tuple[LabelledCase, ...]
    odd: tuple[str, ...]  # sentences about scans and labels
    ranges: Ranges  # what they are like


def gather(
    files: Sequence[CaseFile],
    targets: Targets,
    preparation: PreparationConfig,
    *,
    partial: bool,
    chosen: bool,
    advance: Callable[[int], None],
) -> Material:
    """Read and prepare all scans, one after the other.

    `partial`: as for `prepared`; `chosen`: other values than those of the structures are meant to
    be background. Raises as `read_labelled` does.
    """
    table = targets.table
    cases, odd, shown = [], [], np.zeros((2, table.shape[1]), bool)
    measures, volumes, overlaps = [], [], dict[str, int]()
    numbers = {
        n: [*(np.flatnonzero(row) + 1)] for n, row in zip(targets.values, table, strict=True)
    }
    losses = Losses(preparation.spacing_mm, numbers)
    for done, file in enumerate(files, start=1):
        scan = read_labelled(file, targets)
        cases.append(prepared(scan, preparation, partial=partial))
        odd += [] if chosen else [f"{scan.case_id}: {sentence}" for sentence in scan.odd]
        losses.add(scan.volume.with_voxels(scan.numbers), ignored=UNKNOWN)
        shown |= [scan.shown, scan.visible]
        overlaps |= {scan.case_id: scan.overlap_vox} if scan.overlap_vox else {}
        measures.append(Measures.of(scan.volume, prepared_modality(scan.volume, preparation)))
        volumes.append(volumes_ml(scan.numbers, numbers, scan.volume.grid.voxel_ml))
        advance(done)
    odd += _overlapping(overlaps)
    odd += _not_to_be_found(targets, shown, cases, preparation.spacing_mm)
    odd += losses.told()
    return Material(tuple(cases), tuple(odd), Ranges.of(measures, volumes))


def _overlapping(voxels: Mapping[str, int]) -> Iterator[str]:
    """A sentence about masks that overlap. voxels: case -> voxels that are in several."""
    if voxels:
        yield (
            f"{first_of([*voxels])}: masks that overlap ({counted(sum(voxels.values()), 'voxel')} "
            f"in {counted(len(voxels), 'scan')}); the last of them by name counts there"
        )


def _not_to_be_found(
    targets: Targets,
    shown: NDArray[np.bool_],
    cases: Sequence[LabelledCase],
    spacing_mm: float,
) -> Iterator[str]:
    """A sentence for every structure that no label teaches.

    shown (2, C): classes that labels show, and that they still show where masks overlap.
    """
    left = np.array([any(n in case.places for case in cases) for n, _ in enumerate(shown[0], 1)])
    for name, parts in zip(targets.values, targets.table, strict=True):
        if not shown[0][parts].any():
            yield f"{name} is in none of the labels and will not be found"
        elif not shown[1][parts].any():
            yield f"{name} lies wholly within other masks and will not be found"
        elif not left[parts].any():
            yield f"{name} has no voxel left at {spacing_mm:g} mm and will not be found"


def prepared(scan: LabelledScan, preparation: PreparationConfig, *, partial: bool) -> LabelledCase:
    """The scan on the network's grid. `partial`: structures it does not show may be there."""
    channels = prepare_channels(scan.volumes, preparation)
    label: NDArray[Any] = prepare_label(scan.volume.with_voxels(scan.numbers), channels[0].grid)
    known = tuple(shown or not partial for shown in scan.shown)
    first, *others = (
        LabelledCase(
            scan.case_id, one.image.astype(np.float16), label, one.intensity.outside, known
        )
        for one in channels
    )
    return replace(first, others=tuple(others))


def _label_of(case: CaseFile) -> LabelFiles:
    assert case.label is not None, case.case_id
    return case.label
