"""Whether what is scored was learned from: scans of one subject, and one scan under two names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mass3d.execution.summary import counted, first_of
from mass3d.io.datasets.bids import subject_of
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.source import source_hash


def subjects_of(cases: Sequence[CaseFile]) -> list[str | None]:
    """The subject of each case as BIDS names it (`sub-01`); None where nothing tells it.

    The case id tells it, else the file, else the nearest folder. Folders around all of the cases
    are not asked: what is called `sub-study` there is no subject.
    """
    if not cases:
        return []
    paths = [Path(os.path.normpath(case.path.absolute())) for case in cases]
    around = os.path.commonpath([path.parent for path in paths])
    below = [path.relative_to(around).parts for path in paths]
    return [
        subject_of(case.case_id, *reversed(parts)) for case, parts in zip(cases, below, strict=True)
    ]


def last_whole(
    order: Sequence[int], subjects: Sequence[str | None], *, at_least: int
) -> frozenset[int]:
    """The last of some places, with all that are of the same subjects.

    subjects: of each place; a place of None is one by itself.
    """
    owners = [place if name is None else name for place, name in enumerate(subjects)]
    sizes, taken, count = Counter(owners), set[int | str](), 0
    for place in reversed(order):
        if count >= at_least:
            break
        owner = owners[place]
        count += sizes[owner] if owner not in taken else 0
        taken.add(owner)
    return frozenset(place for place in order if owners[place] in taken)


def seen_before(training: Sequence[CaseFile], scored: Sequence[CaseFile]) -> Iterator[str]:
    """Sentences about scans that are scored though they, or their subjects, are learned from.

    A copy is known by the content of its files. Raises as `source_hash` does.
    """
    if not scored:
        return
    learned = {source_hash(case): case.case_id for case in reversed(training)}
    sources = [source_hash(case) for case in scored]
    same = [
        f"{case.case_id} is the same scan as {learned[source]} that was learned from"
        for case, source in zip(scored, sources, strict=True)
        if source in learned
    ]
    if same:
        yield f"{first_of(same)} ({counted(len(same), 'such scan')}): Dice is too good there"
    subjects = subjects_of([*training, *scored])
    first = dict(zip(reversed(subjects[: len(training)]), reversed(training), strict=True))
    related = [
        f"{case.case_id} is of {subject}, as {first[subject].case_id} that was learned from"
        for case, subject, source in zip(scored, subjects[len(training) :], sources, strict=True)
        if subject is not None and subject in first and source not in learned
    ]
    if related:
        yield f"{first_of(related)} ({counted(len(related), 'such scan')}): Dice may be too good"
