"""Whether what is scored was learned from: scans of one subject, and one scan under two names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

from mass3d.execution.summary import counted, first_of
from mass3d.files import text_hash
from mass3d.io.datasets.bids import subject_of
from mass3d.io.datasets.channels import cases_of_channels
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.source import image_hash, source_hash
from mass3d.io.read import read_label


def subjects_of(cases: Sequence[CaseFile]) -> list[str | None]:
    """The subject of each case as BIDS names it (`sub-01`); None where nothing tells it.

    The case id tells it, else the file, else the nearest folder. Folders around all of the cases
    are not asked: what is called `sub-study` there is no subject. Channels of one case, and scans
    that share a label file, are of one subject, too, which is called as the case or the first scan.
    A label that all scans share, as on a template, tells nothing.
    """
    named, channels = _named_subjects(cases), cases_of_channels(cases)
    labels = list(map(_label_place, cases))
    if len(set(labels)) == 1:
        labels = [None] * len(cases)
    groups: dict[int, list[int]] = {}
    for place, first in enumerate(_joined(list(map(_marks, cases, named, channels, labels)))):
        groups.setdefault(first, []).append(place)
    found = [*named]
    called = {name for name in named if name is not None}
    for first, places in groups.items():
        subject = next((named[place] for place in places if named[place] is not None), None)
        if subject is None and len(places) > 1:
            subject = channels[first] or cases[first].case_id
            if subject in called:  # as in another folder
                subject = f"{subject} of {cases[first].path.parent}"
            called.add(subject)
        for place in places:
            found[place] = subject
    return found


def _label_place(case: CaseFile) -> Path | None:
    """Where its label is; links stay, as of many empty ones to one file."""
    return None if case.label is None else Path(os.path.normpath(case.label.paths[0].absolute()))


def _marks(
    case: CaseFile, subject: str | None, channel_of: str, label: Path | None
) -> list[Hashable]:
    """What scans of one subject have in common."""
    channel = (case.path.parent, channel_of) if channel_of else None
    return [mark for mark in (subject, channel, label) if mark is not None]


def _joined(marks: Sequence[Sequence[Hashable]]) -> list[int]:
    """Of each place the first one with which it shares a mark, directly or through others."""
    owner, seen = [*range(len(marks))], dict[Hashable, int]()

    def first_of_all(place: int) -> int:
        while owner[place] != place:
            place = owner[place]
        return place

    for place, some in enumerate(marks):
        for mark in some:
            one, other = first_of_all(place), first_of_all(seen.setdefault(mark, place))
            owner[max(one, other)] = min(one, other)
    return [first_of_all(place) for place in owner]


def _named_subjects(cases: Sequence[CaseFile]) -> list[str | None]:
    """The subject that names tell of each case."""
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

    A copy is known by the content of its files, or by that of a label that is not empty. Raises as
    `source_hash` and `read_label` do.
    """
    if not scored:
        return
    learned = {source_hash(case): case.case_id for case in reversed(training)}
    labels = {_label_hash(case): case.case_id for case in reversed(training) if case.label}
    subjects = subjects_of([*training, *scored])
    first = dict(zip(reversed(subjects[: len(training)]), reversed(training), strict=True))
    same, alike, related = list[str](), list[str](), list[str]()  # the first that holds of a scan
    for case, subject in zip(scored, subjects[len(training) :], strict=True):
        if copy := learned.get(source_hash(case)):
            same.append(f"{case.case_id} is the same scan as {copy} that was learned from")
        elif case.label and (copy := labels.get(_label_hash(case))) and _shows_something(case):
            alike.append(f"{case.case_id} has the label of {copy} that was learned from")
        elif subject is not None and subject in first:
            copy = first[subject].case_id
            related.append(f"{case.case_id} is of {subject}, as {copy} that was learned from")
    for told, dice in (
        (same, "is too good there"),
        (alike, "is too good there"),
        (related, "may be too good"),
    ):
        if told:
            yield f"{first_of(told)} ({counted(len(told), 'such scan')}): Dice {dice}"


def _label_hash(case: CaseFile) -> str:
    """SHA-256 of the content of the label of a case, whatever its files are called."""
    return text_hash([image_hash(path) for path in _label_files(case)])


def _shows_something(case: CaseFile) -> bool:
    """Whether its label marks any voxel: empty ones are alike of all patients."""
    return any(read_label(path).voxels.any() for path in _label_files(case))


def _label_files(case: CaseFile) -> tuple[Path, ...]:
    return case.label.paths if case.label is not None else ()
