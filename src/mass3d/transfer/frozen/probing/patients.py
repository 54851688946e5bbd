"""Which scans are of one patient: by a column of the table, else by names (BIDS, nnU-Net)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from mass3d.errors import ConfigError, DataError
from mass3d.execution.summary import counted, first_of
from mass3d.io.datasets.bids import subject_of
from mass3d.transfer.frozen.probing.labels import Table, alike, is_missing, require_column

# columns that are taken where none is named, in any case: Patient, subject_id, Participant ID
CALLED: Final = re.compile(r"(?:patient|subject|participant)(?:[ _-]?id)?")
# no exponent: 12e4 may well be a name
NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]*)?")

By = Literal["column", "names", "scans"]


@dataclass(frozen=True)
class Patients:
    """The patient of every case that has a row and a scan, and how that is known."""

    of: Mapping[str, str]
    by: By
    column: str | None  # where it is by a column
    how: str  # a sentence
    told: tuple[str, ...]  # sentences about what is odd, and scans that are there twice

    def plain(self) -> dict[str, str | None]:
        """As metrics.json has it."""
        return {"by": self.by, "column": self.column}


def patients_of(table: Table, column: str | None, sources: Mapping[str, str]) -> Patients:
    """Who every case that has a scan is of.

    column: of the table; where none is named, the one that `patient_column` finds, else BIDS
    subjects in the names of the scans, else the cases that they are channels of, else every scan is
    a patient. sources: scan -> hash of its content; equal scans are of one patient, whatever the
    table says. Raises `ConfigError` as `patient_column`, `DataError` for a case without a patient.
    """
    column = patient_column(table, column)
    cases = [case for case in table.cases if case in sources]
    by: By = "column"
    if column is not None:
        how = f"Patients are those of the column {column!r}."
        names, told = _of_column(table, column, cases)
    else:
        subjects = {case: subject for case in cases if (subject := _subject(case)) is not None}
        channels = {case: table.case_of[case] for case in cases if case in table.case_of}
        by, how = _by_names(subjects, channels, cases)
        names, told = {case: subjects.get(case, channels.get(case, case)) for case in cases}, []
    found, copies = _joined(names, sources)
    return Patients(found, by, column, how, (*told, *copies))


def patient_column(table: Table, named: str | None) -> str | None:
    """The column of patients: the one that is named, else one that is called so; None without one.

    Raises `ConfigError` for a named one that is not there, and for two that are called so and
    group the cases differently.
    """
    if named is not None:
        require_column(table, named, "patient_column")
        return named
    called = _called(table)
    for other in called[1:]:
        if _grouping(table, other) != _grouping(table, called[0]):
            raise ConfigError(
                table.path,
                found=f"columns {called[0]!r} and {other!r}, which group the cases differently",
                expected="one column of patients",
                fix="Say which of them it is.",
                setting="patient_column",
            )
    return called[0] if called else None


def no_targets(table: Table, column: str | None) -> tuple[str, ...]:
    """Columns that are no targets by themselves: those of cases and of patients.

    column: the one that was named for patients, if any.
    """
    return (table.case_column, *([column] if column else []), *_called(table))


def _called(table: Table) -> list[str]:
    """Columns that are called as those of patients; the names of the cases are none of them."""
    return [
        name
        for name in table.columns
        if name != table.case_column and CALLED.fullmatch(name.strip().casefold())
    ]


def _grouping(table: Table, column: str) -> list[int]:
    """For every case the number of the group that it is in, groups counted as they come."""
    numbers: dict[str | Decimal, int] = {}
    values = (_identity(table.columns[column][case]) for case in table.cases)
    return [numbers.setdefault(value, len(numbers)) for value in values]


def _identity(name: str) -> str | Decimal:
    """What is the same of `07`, `7` and `7.0`; exact, whatever the number of digits."""
    return Decimal(name) if NUMBER.fullmatch(name) else name


def _of_column(table: Table, column: str, cases: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The patient of each case, each spelled in one way, and sentences about the spelling."""
    values = {case: table.columns[column][case].strip() for case in cases}
    lost = [case for case, name in values.items() if is_missing(name)]
    if lost:
        raise DataError(
            table.path,
            found=f"no {column} of the case {lost[0]}",
            expected="one",
            fix="Add it, or say which other column tells patients apart.",
            setting="labels",
        )
    spelled: dict[str | Decimal, set[str]] = {}
    for name in values.values():
        spelled.setdefault(_identity(name), set()).add(name)
    first = {same: min(names, key=_shortest) for same, names in spelled.items()}
    told = [
        f"{', '.join(map(repr, sorted(names)))} in the column {column} are taken as one patient"
        for names in spelled.values()
        if len(names) > 1
    ]
    told += [
        f"patients in the column {column} differ in capitals only, each counts by itself: {names}"
        for names in alike(first.values())
    ]
    return {case: first[_identity(name)] for case, name in values.items()}, told


def _shortest(name: str) -> tuple[int, str]:
    return len(name), name


def _subject(case: str) -> str | None:
    """The BIDS subject of a case; its id may begin with the folders above that of the subject."""
    return subject_of(case, case[case.find("_sub-") + 1 :])


def _by_names(
    subjects: Mapping[str, str], channels: Mapping[str, str], cases: Sequence[str]
) -> tuple[By, str]:
    """Whether names group the cases, and a sentence.

    subjects: of the scans that name one. channels: of those that are one, the case.
    """
    of_cases = {name for case, name in channels.items() if case not in subjects}
    ways = {
        "the subjects in the names of the scans": set(subjects.values()),
        "the cases that scans are channels of": of_cases,
    }
    told = [f"{way} ({first_of(sorted(names))})" for way, names in ways.items() if names]
    if not told:
        return "scans", "Every scan counted as a patient of its own."
    alone = len(cases) - len({*subjects, *channels})
    others = f"; {counted(alone, 'scan')} without one counted by itself" if alone else ""
    return "names", f"Patients are {' and '.join(told)}{others}."


def _joined(
    patients: Mapping[str, str], sources: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Patients that share a scan made one, and a sentence about every such scan."""
    first: dict[str, str] = {}
    owner = {name: name for name in patients.values()}
    told = []
    for case, name in patients.items():
        other = first.setdefault(sources[case], case)
        if other != case:
            told.append(f"{case} is the same scan as {other}, so both are kept in one fold")
            old, new = owner[name], owner[patients[other]]
            owner = {one: new if whose == old else whose for one, whose in owner.items()}
    return {case: owner[name] for case, name in patients.items()}, told
