"""The page of `mass3d segment`: what was found in each scan, what to look at first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Final

from mass3d.execution.faults import Fault
from mass3d.io.colours import Colour
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.regions import Targets
from mass3d.pages.html import write_page
from mass3d.pages.viewed import provide_found
from mass3d.pages.volumes import MAX_CASES, settle
from mass3d.transfer.results import Entry, ResultsFolder
from mass3d.volume.ranges import Ranges, in_words

PAGE: Final = "segment.html"
MAX_ROWS: Final = 2000  # beyond, a browser waits; worst first
OPEN_STRUCTURES: Final = 6  # a case tells more of them only when it is asked
METHODS: Final = {
    "alignment": "references aligned",
    "network": "network alone",
    "prior": "from the prior",
    "finetuned": "finetuned model",
    "both": "finetuned model and references aligned",
}


@dataclass(frozen=True)
class Found:
    """One structure in a case."""

    name: str
    ml: float
    odd: bool
    usual: str  # in the labelled scans, where that is known


@dataclass(frozen=True)
class Row:
    """One case in the table of the page."""

    name: str
    picture: str | None  # relative to the page
    volume: str | None  # likewise: what the viewer shows
    method: str
    alone: bool  # the network answered though references were there
    similarity: float | None  # of the nearest reference
    agreement: tuple[tuple[str, float], ...]  # between references, least first
    expected: tuple[tuple[str, float], ...]  # Dice of what was found, likewise
    references: tuple[str, ...]  # that were asked, where that is not all
    notes: tuple[str, ...]
    found: tuple[Found, ...]  # odd ones first


@dataclass(frozen=True)
class Legend:
    """A structure and what is known of it from the labelled scans."""

    name: str
    colour: Colour
    usual: str
    cases: int  # in which it was found


def write_segment_page(
    folder: ResultsFolder,
    targets: Targets,
    ranges: Ranges | None,
    *,
    summary: str,
    alone: Collection[str],
    faults: Sequence[Fault],
    scans: Mapping[str, CaseFile] | None = None,
) -> Path:
    """Write the page beside the results it shows; returns where it is.

    It loads what lies beside it, and nothing else: pictures, and of the worst cases the scan, which
    is read again for that where it has to be. alone: the cases in which the network answered though
    references were there. scans: by case.
    """
    known = ranges.volumes_ml if ranges is not None else {}
    usual = {name: in_words(known[name]) if name in known else "" for name in targets.values}
    rows = [
        _row(folder, case, entry, usual, alone=case in alone) for case, entry in folder.done.items()
    ]
    rows.sort(key=_worst_first)
    worst = [row.name for row in rows[:MAX_CASES]]
    volumes = provide_found(folder, worst, scans or {}, targets)
    settle(folder.path, volumes.values())
    rows = [replace(row, volume=volumes.get(row.name)) for row in rows]
    return write_page(
        folder.path / PAGE,
        "segment.html",
        summary=summary,
        faults=faults,
        rows=rows[:MAX_ROWS],
        cases=len(rows),
        doubted=sum(bool(row.notes) for row in rows),
        alone=sum(row.alone for row in rows),
        odd=sum(any(one.odd for one in row.found) for row in rows),
        legend=_legend(targets, usual, folder.done),
        open_structures=OPEN_STRUCTURES,
        agreed=any(row.agreement for row in rows),
        expecting=any(row.expected for row in rows),
        viewer=len(volumes),
    )


def _row(
    folder: ResultsFolder, case: str, entry: Entry, usual: Mapping[str, str], *, alone: bool
) -> Row:
    picture, ml = folder.picture(case), entry.volumes_ml
    found = (
        Found(name, ml.get(name, 0.0), name in entry.odd_volumes, words)
        for name, words in usual.items()
    )
    return Row(
        name=case,
        picture=picture.relative_to(folder.path).as_posix() if picture.exists() else None,
        volume=None,
        method=METHODS.get(entry.method, entry.method),
        alone=alone,
        similarity=max(entry.similarity, default=None),
        agreement=tuple(sorted(entry.agreement.items(), key=itemgetter(1, 0))),
        expected=tuple(sorted(entry.expected_dice.items(), key=itemgetter(1, 0))),
        references=entry.references,
        notes=entry.doubts,
        found=tuple(sorted(found, key=lambda one: not one.odd)),
    )


def _worst_first(row: Row) -> tuple[bool, bool, int, float, float, float, str]:
    odd = sum(one.odd for one in row.found)
    expected, agreed = (
        fmean(dice for _, dice in given) if given else 1.0
        for given in (row.expected, row.agreement)
    )
    alike = row.similarity if row.similarity is not None else 1.0
    return not row.notes, not row.alone, -odd, expected, agreed, alike, row.name


def _legend(targets: Targets, usual: Mapping[str, str], done: Mapping[str, Entry]) -> list[Legend]:
    colours = targets.colours
    return [
        Legend(
            name,
            colours[value],
            usual[name],
            sum(entry.volumes_ml.get(name, 0.0) > 0 for entry in done.values()),
        )
        for name, value in targets.values.items()
    ]
