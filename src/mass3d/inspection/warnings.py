"""What is odd about scans without being a fault, and what is wrong between scans.

A warning is for people to check: a rule of thumb fired, and the scan may still be right. Rules see
the facts alone, so each of them is a few lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError
from mass3d.execution.faults import Fault
from mass3d.inspection.case import SPLITS, CaseFacts
from mass3d.inspection.cohort import datasets
from mass3d.inspection.outliers import FAR, deviations
from mass3d.volume.doubts import (
    LIKE_SHIFTED,
    NO_AIR_HU,
    SHIFTED,
    may_be_label_map,
    may_be_shifted,
    may_be_shifted_ct,
)
from mass3d.volume.intensity import AIR_HU
from mass3d.volume.spacing import MIN_VOX, is_too_small, voxels_at
from mass3d.volume.volume import Modality

MAX_SUV = 50.0  # only few voxels of a body (bladder, injection) are ever beyond
SCALED = 50.0  # a range of values smaller than this, with fractions, is no scanner's
FEW_SLICES = 8
EXTENT_MM = (10.0, 2500.0)
MIN_FACTOR = 2.0  # that a figure differs by, at least, before it is far from the others
ENOUGH = 10  # scans of one kind that say what is usual
MAX_SHARE_FAR = 0.1  # of the scans; when more are far out, the cohort is simply mixed

Note = tuple[str, str]  # what is odd, in words for all cases alike; the figures of one case


@dataclass(frozen=True)
class CaseWarning:
    """Something odd, and the cases where it is so."""

    message: str
    cases: dict[str, str]  # case -> its figures, or nothing


def find_warnings(cases: Mapping[str, CaseFacts], *, spacing_mm: float) -> tuple[CaseWarning, ...]:
    """Everything odd, one warning for all cases of one kind, the rarest first.

    spacing_mm: that `prepare` would choose.
    """
    gathered: dict[str, dict[str, str]] = {}
    single = ((name, note) for name, facts in cases.items() for note in _notes(facts))
    rules = (_far_out, _odd_volumes, _missing, _copies, _bare)
    between = (found for rule in rules for found in rule(cases))
    small = _too_small(cases, spacing_mm)
    for name, (message, figures) in (*single, *between, *small):
        of_cases = gathered.setdefault(message, {})
        of_cases[name] = f"{of_cases[name]}, {figures}" if name in of_cases else figures
    warnings = (CaseWarning(message, of_cases) for message, of_cases in gathered.items())
    return tuple(sorted(warnings, key=lambda warning: (len(warning.cases), warning.message)))


def find_leaks(cases: Mapping[str, CaseFacts]) -> tuple[Fault, ...]:
    """A fault for every scan of a later part of a dataset that is a copy of one in another part."""
    order = list(SPLITS)
    faults = []
    for copies in _same_voxels(cases):
        parts = {name: split for name in copies if (split := cases[name].split)}
        first = min(parts.values(), key=order.index, default=None)
        for name, split in parts.items():
            if split != first:
                others = [f"{other} ({part})" for other, part in parts.items() if part != split]
                faults.append(Fault(name, _leak(cases[name], others)))
    return tuple(faults)


def _leak(facts: CaseFacts, others: Sequence[str]) -> str:
    error = DataError(
        facts.file,
        found=f"a {facts.split} scan with the voxels of {', '.join(others)}",
        expected="every scan in one part of the dataset only",
        fix="Take one of them out: a result on a scan that was trained on means nothing.",
    )
    return str(error)


# --- one scan -------------------------------------------------------------------------------


def _notes(facts: CaseFacts) -> Iterator[Note]:
    yield from _grid(facts)
    yield from _values(facts)
    yield from _label(facts)


def _grid(facts: CaseFacts) -> Iterator[Note]:
    if min(facts.shape) < FEW_SLICES:
        yield "few slices for a volume", f"{min(facts.shape)}"
    if not all(EXTENT_MM[0] <= length <= EXTENT_MM[1] for length in facts.extent_mm):
        size = " x ".join(f"{length:.3g}" for length in facts.extent_mm)
        yield "an odd size; is the spacing right?", f"{size} mm"


def _values(facts: CaseFacts) -> Iterator[Note]:
    values = facts.intensity
    limits = f"{values.lowest:.4g} to {values.highest:.4g}"
    if may_be_label_map(values.levels, whole=values.whole):
        yield "so few different values that it may be a label map", f"{values.levels}"
    elif values.highest - values.lowest < SCALED and not values.whole and facts.modality != "pet":
        yield "values that look normalised already", limits
    else:
        yield from ((message, limits) for message in KINDS[facts.modality](facts))


def _ct(facts: CaseFacts) -> Iterator[str]:
    values = facts.intensity
    if may_be_shifted(values.lowest, values.percentiles["99"]):
        yield SHIFTED
    elif values.lowest > NO_AIR_HU:
        yield "CT without air, as if clipped or cropped to tissue"


def _mr(facts: CaseFacts) -> Iterator[str]:
    values = facts.intensity
    if may_be_shifted_ct(values.lowest, values.tissue_share):
        yield LIKE_SHIFTED
    elif values.percentiles["1"] <= AIR_HU:
        yield f"{facts.modality.upper()} with values like those of air in CT"
    elif values.whole and values.lowest >= 0 and values.highest == 255:
        yield "MR of 8 bits, as if exported as a picture"


def _pet(facts: CaseFacts) -> Iterator[str]:
    values = facts.intensity
    if values.percentiles["1"] <= AIR_HU:
        yield "PET with values like those of air in CT"
    elif values.percentiles["99"] > MAX_SUV:
        yield "PET far beyond SUV, as if in Bq/ml"
    elif values.lowest < 0:
        yield "PET below zero"


KINDS: Final[dict[Modality, Callable[[CaseFacts], Iterator[str]]]] = {
    "ct": _ct,
    "mr": _mr,
    "pet": _pet,
}


def _label(facts: CaseFacts) -> Iterator[Note]:
    label = facts.label
    if label is None:
        return
    if label.empty:
        yield "an empty label", ""
    if label.overlap_vox:
        yield "masks that overlap", f"{label.overlap_vox} voxels"


# --- between scans --------------------------------------------------------------------------


def _copies(cases: Mapping[str, CaseFacts]) -> Iterator[tuple[str, Note]]:
    """Scans with the voxels of an earlier one, whatever their names, formats and headers."""
    for first, *others in _same_voxels(cases):
        for name in others:
            labels = [cases[case].label for case in (first, name)]
            differ = None not in labels and labels[0] != labels[1]
            figures = f"{first}, with another label" if differ else first
            yield name, ("the same voxels as another scan", figures)


def _same_voxels(cases: Mapping[str, CaseFacts]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name, facts in cases.items():
        groups.setdefault(facts.sha256, []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _bare(cases: Mapping[str, CaseFacts]) -> Iterator[tuple[str, Note]]:
    """Scans without a label in folders where most have one."""
    labelled: dict[str, list[bool]] = {}
    for facts in cases.values():
        labelled.setdefault(_folder(facts), []).append(facts.label_files > 0)
    for name, facts in cases.items():
        if not facts.label_files and np.mean(labelled[_folder(facts)]) > 0.5:
            yield name, ("no label, though most scans beside it have one", "")


def _folder(facts: CaseFacts) -> str:
    return facts.file.rpartition("/")[0]


def _too_small(cases: Mapping[str, CaseFacts], spacing_mm: float) -> Iterator[tuple[str, Note]]:
    """Scans of which little is left once all are prepared at one spacing, by dataset."""
    for name, dataset in datasets(cases).items():
        shape = voxels_at(spacing_mm, cases[name].shape, cases[name].spacing_mm)
        if is_too_small(shape):
            at = f"{spacing_mm:g} mm{f' in {dataset}' if dataset else ''}"
            message = (
                f"fewer than {MIN_VOX} voxels along an axis once prepared at {at}: prepare such "
                "scans into a store of their own, or all with a finer spacing_mm"
            )
            yield name, (message, " x ".join(str(n) for n in shape))


def _far_out(cases: Mapping[str, CaseFacts]) -> Iterator[tuple[str, Note]]:
    """Scans whose voxels, size or contrast are far from what is usual beside them."""
    for modality, names in _peers(cases):
        table = np.array([_measures(cases[name]) for name in names])
        usual = np.median(table, axis=0)
        message = f"far from the other {modality.upper()} scans beside it"
        for row, column in np.argwhere(far_from_others(table)):
            value = table[row, column]
            figures = f"{MEASURES[column]} {value:.4g}, usually {usual[column]:.4g}"
            yield names[row], (message, figures)


def _peers(cases: Mapping[str, CaseFacts]) -> Iterator[tuple[Modality, list[str]]]:
    """Scans of one modality in one dataset, where these are enough to say what is usual.

    Those of datasets that are too small are taken together.
    """
    held_by = datasets(cases)
    count = Counter((facts.modality, held_by[name]) for name, facts in cases.items())
    groups: dict[tuple[Modality, str], list[str]] = {}
    for name, facts in cases.items():
        enough = count[facts.modality, held_by[name]] >= ENOUGH
        groups.setdefault((facts.modality, held_by[name] if enough else ""), []).append(name)
    for (modality, _), names in groups.items():
        if len(names) >= ENOUGH:
            yield modality, names


def _odd_volumes(cases: Mapping[str, CaseFacts]) -> Iterator[tuple[str, Note]]:
    """Structures that are far larger or smaller than in the other labels of the dataset."""
    for name, volumes in _volumes(cases):
        held = {case: ml for case, ml in volumes.items() if ml > 0}
        if len(held) < ENOUGH:
            continue
        column = np.array(list(held.values()))
        usual = np.median(column)
        for row in np.flatnonzero(far_from_others(column[:, None])):
            figures = f"{name} {column[row]:.3g} ml, usually {usual:.3g} ml"
            yield list(held)[row], ("a structure of unusual volume", figures)


def _missing(cases: Mapping[str, CaseFacts]) -> Iterator[tuple[str, Note]]:
    """Structures that a label names but does not hold; of empty labels that is said already."""
    for name, volumes in _volumes(cases):
        absent = [case for case, ml in volumes.items() if ml == 0]
        rare = len(absent) <= MAX_SHARE_FAR * len(volumes)
        message = "lacks a structure that nearly all others have" if rare else "lacks structures"
        for case in absent:
            yield case, (message, name)


def _volumes(cases: Mapping[str, CaseFacts]) -> Iterator[tuple[str, dict[str, float]]]:
    """Every structure of every dataset, and its ml in each label that names it and is not empty."""
    held_by = datasets(cases)
    found: dict[tuple[str, str], dict[str, float]] = {}
    for case, facts in cases.items():
        if facts.label and not facts.label.empty:
            for name, ml in facts.label.ml.items():
                found.setdefault((held_by[case], name), {})[case] = ml
    for (_, name), volumes in found.items():
        yield name, volumes


MEASURES = (
    "smallest voxel edge in mm",
    "largest voxel edge in mm",
    "smallest extent in mm",
    "largest extent in mm",
    "range of values",
)


def _measures(facts: CaseFacts) -> tuple[float, ...]:
    """The positive figures that scans are compared by, in the order of `MEASURES`."""
    values = facts.intensity
    spread = values.percentiles["99"] - values.percentiles["1"]
    return (
        min(facts.spacing_mm),
        max(facts.spacing_mm),
        min(facts.extent_mm),
        max(facts.extent_mm),
        spread if spread > 0 else values.highest - values.lowest,
    )


def far_from_others(table: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of (scans, measures), all positive, are far from the median of their column.

    Far is a factor of at least `MIN_FACTOR` that is also beyond the usual spread (`FAR`). In a
    column where more than `MAX_SHARE_FAR` of the scans would be far, none is.
    """
    away = deviations(np.log(table), min_spread=np.log(MIN_FACTOR) / FAR)
    far = np.abs(away) > FAR
    mixed = far.mean(axis=0) > MAX_SHARE_FAR
    return np.asarray(far & ~mixed)
