"""A table of labels: a row per case, a column per target."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import ConfigError, DataError
from mass3d.execution.summary import counted, first_of
from mass3d.files import open_regular

Kind = Literal["classes", "number"]
MAX_CLASSES: Final = 10  # numbers of more different values are taken as measured ones
MAX_BYTES: Final = 2**28
DELIMITERS: Final = (",", ";", "\t")
MISSING: Final = ("", "na", "n/a", "n.a.", "nan", "null", "none", "-", "?")  # in any case


T = TypeVar("T")


class Outcome(NamedTuple, Generic[T]):
    """What came of each target that could be used, and why others could not."""

    found: list[T]
    refused: dict[str, DataError]


def each_that_can(makers: Mapping[str, Callable[[], T]]) -> Outcome[T]:
    """What every maker gives, by target; raises the first `DataError` where all of them do."""
    outcome: Outcome[T] = Outcome([], {})
    for name, make in makers.items():
        try:
            outcome.found.append(make())
        except DataError as error:
            outcome.refused[name] = error
    if not outcome.found:
        raise next(iter(outcome.refused.values()))
    return outcome


@dataclass(frozen=True)
class Table:
    """labels.csv: cases, and what each column says of them; `MISSING` are missing values."""

    path: Path
    columns: Mapping[str, Mapping[str, str]]  # column -> case -> value
    case_column: str
    case_of: Mapping[str, str] = field(default_factory=dict)  # scan that is a channel -> its case

    @property
    def cases(self) -> list[str]:
        """In the order of the file."""
        return list(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Target:
    """What is to be predicted, of the cases of which it is known."""

    name: str
    kind: Kind
    classes: tuple[str, ...]  # sorted; none of a number
    cases: tuple[str, ...]
    truth: NDArray[np.float64]  # (N,): class numbers, or the number itself
    missing: tuple[str, ...]  # cases that have a scan but no value
    words: tuple[str, ...] = ()  # that stand there instead, if any


def read_table(path: Path, *, case_column: str) -> Table:
    """Read a CSV file with a header. Raises `DataError` where it is none, or names a case twice."""
    rows = _rows(path)
    header = [name.strip() for name in rows[0][1]] if rows else []
    if len(set(header)) < len(header) or not any(header):
        raise _bad(path, f"a header of {header}", "a row of different names", "Correct it.")
    if case_column not in header:
        raise ConfigError(
            path,
            found=f"columns {', '.join(header)}",
            expected=f"a column {case_column!r} with the names of the cases",
            fix="Say which column that is.",
            setting="case_column",
        )
    at = header.index(case_column)
    columns: dict[str, dict[str, str]] = {name: {} for name in header if name}
    for number, row in rows[1:]:
        if len(row) != len(header):
            found = f"{len(row)} values in row {number}"
            raise _bad(path, found, f"{len(header)}, as in the header", "Correct the row.")
        case = row[at].strip()
        if not case or case in columns[case_column]:
            found = (
                f"the case {case!r} a second time, in row {number}"
                if case
                else (f"no case name in row {number}")
            )
            raise _bad(path, found, "every case once", "Correct the row.")
        for name, value in zip(header, row, strict=True):
            if name:
                columns[name][case] = value.strip()
    if not columns[case_column]:
        raise _bad(path, "no row", "a row for every case", "Add them.")
    return Table(path, columns, case_column)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, split at what the header has most of, with their lines."""
    lines = _text(path).splitlines()
    delimiter = max(DELIMITERS, key=(lines[0] if lines else "").count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        found = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise _bad(path, f"no table ({error})", "a CSV file", "Correct it.") from error
    return [(line, row) for line, row in found if any(value.strip() for value in row)]


def _text(path: Path) -> str:
    try:
        with open_regular(path) as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _bad(
            path, f"no table ({error})", "a CSV file with a header", "Give another file."
        ) from error
    if len(content) > MAX_BYTES:
        raise _bad(path, "more than 256 MB", "a table of labels", "Give another file.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fix = "Save it as UTF-8, or give another file."
        raise _bad(path, f"no text in UTF-8 ({error.reason})", "a CSV file in it", fix) from error


def targets_of(
    table: Table,
    cases: Iterable[str],
    *,
    named: Sequence[str],
    others: Sequence[str],
    kinds: Mapping[str, Kind],
) -> Outcome[Target]:
    """The targets that are named, or all columns but `others`, for the cases that have a scan.

    Refused is a column that says the same of all cases, or a number that is none. Raises
    `ConfigError` for a column that is not there, `DataError` where all are refused.
    """
    free = [name for name in table.columns if name not in others]
    for name in (*named, *kinds):
        require_column(table, name, "targets")
    if not (named or free):
        raise _bad(table.path, "no column beside the cases", "a target", "Add a column.")
    there = set(cases)
    seen = [case for case in table.cases if case in there]
    each = {name: partial(_target, table, name, seen, kinds.get(name)) for name in named or free}
    return each_that_can(each)


def require_column(table: Table, name: str, setting: str) -> None:
    """Raise `ConfigError` for a column that a table has not."""
    if name not in table.columns:
        raise ConfigError(
            table.path,
            found=f"columns {', '.join(table.columns)}",
            expected=f"a column {name!r}",
            fix="Name one of these.",
            setting=setting,
        )


def _target(table: Table, name: str, cases: Sequence[str], kind: Kind | None) -> Target:
    values = {case: table.columns[name][case] for case in cases}
    missing = {case: value for case, value in values.items() if is_missing(value)}
    words = tuple(sorted({value for value in missing.values() if value}))
    known = _spelled_once({case: one for case, one in values.items() if case not in missing})
    numbers = {case: _number(value) for case, value in known.items()}
    different = sorted(set(known.values()))
    if len(different) < 2:
        raise _bad(
            table.path,
            (f"{name} = {different[0]!r} for all cases" if different else f"no value of {name}")
            + _but(words),
            "a target that differs between cases",
            "Leave the column out.",
            setting="targets",
        )
    _require_points(table, name, known, kind)
    finite = all(math.isfinite(value) for value in numbers.values())
    if kind is None:
        kind = "number" if finite and len(set(numbers.values())) > MAX_CLASSES else "classes"
    if kind == "number" and not finite:
        bad = next(case for case, value in numbers.items() if not math.isfinite(value))
        found = f"{name} = {known[bad]!r} of the case {bad}"
        raise _bad(table.path, found, "a number", "Correct it, or take the column as classes.")
    classes = tuple(_sorted(different)) if kind == "classes" else ()
    truth = [classes.index(value) if classes else numbers[case] for case, value in known.items()]
    rows = np.array(truth, np.float64)
    return Target(name, kind, classes, tuple(known), rows, tuple(missing), words)


def _spelled_once(values: Mapping[str, str]) -> Mapping[str, str]:
    """The values with one spelling of each number, such as 1 for 1.0, where all are numbers."""
    if not all_numbers([*values.values()]):
        return values
    longest_first = sorted(set(values.values()), key=lambda value: (-len(value), value))
    spelling = {_number(value): value for value in longest_first}
    return {case: spelling[_number(value)] for case, value in values.items()}


def is_missing(value: str) -> bool:
    """Whether this stands for no value."""
    return value.casefold() in MISSING


def _but(words: Sequence[str]) -> str:
    """The words of a column that are taken for missing values, as part of a sentence."""
    return f" ({', '.join(map(repr, words))} taken as missing)" if words else ""


def _number(value: str) -> float:
    """NaN for what is none, such as 1_0: a code, though Python reads 10."""
    if "_" in value:
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan


def all_numbers(values: Sequence[str]) -> bool:
    """Whether there are values, and each is a finite number."""
    return bool(values) and all(math.isfinite(_number(value)) for value in values)


def _require_points(table: Table, name: str, known: Mapping[str, str], kind: Kind | None) -> None:
    """Raise `DataError` for a column of numbers with decimal commas."""
    commas = [case for case, value in known.items() if not math.isfinite(_number(value))]
    points = [known[case].replace(",", ".") for case in commas]
    if kind != "classes" and all_numbers(points):
        found = f"{name} = {known[commas[0]]!r} of the case {commas[0]}, with a decimal comma"
        fix = "Write decimal points, or say in kinds that these are classes."
        raise _bad(table.path, found, "numbers with decimal points", fix, setting="kinds")


def _sorted(values: Sequence[str]) -> list[str]:
    """Class names, by number where all are numbers."""
    if all_numbers(values):
        return sorted(values, key=lambda value: (_number(value), value))
    return sorted(values)


def _bad(path: Path, found: str, expected: str, fix: str, setting: str = "labels") -> DataError:
    return DataError(path, found=found, expected=expected, fix=fix, setting=setting)


def of_scans(table: Table, case_of: Mapping[str, str]) -> Table:
    """The table with a row of each scan: that of a case is the row of all of its channels.

    case_of: every scan, and the case that it is a channel of, if any. A row that is called as a
    scan is that scan's, and where any channel has a row of its own, that of the case is of none.
    """
    channels: dict[str, list[str]] = {}
    for scan, name in case_of.items():
        if name:
            channels.setdefault(name, []).append(scan)
    rows = {*table.cases}
    whole = {
        name: scans
        for name, scans in channels.items()
        if name not in case_of and rows.isdisjoint(scans)
    }
    columns = {
        column: {scan: value for row, value in values.items() for scan in whole.get(row, [row])}
        for column, values in table.columns.items()
    }
    return replace(table, columns=columns, case_of={k: v for k, v in case_of.items() if v})


def require_shared(table: Table, cases: Sequence[str]) -> None:
    """Raise `DataError` when no scan has a row."""
    if not {*table.cases} & {*cases}:
        raise DataError(
            table.path,
            found=f"cases such as {first_of(table.cases)}; scans such as {first_of(list(cases))}",
            expected="names of cases that have a scan",
            fix="Name the cases in the table as the scans are named.",
            setting="labels",
        )


def alike_sentences(targets: Sequence[Target]) -> list[str]:
    """A sentence for every target with classes that may be one, spelled in two ways."""
    return [
        f"classes of {target.name} differ in capitals only, each counts by itself: {names}"
        for target in targets
        for names in alike(target.classes)
    ]


def alike(names: Iterable[str]) -> list[str]:
    """Names that differ from others in capitals only, with these: `Male, male`."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        found.setdefault(name.casefold(), []).append(name)
    return [", ".join(map(repr, same)) for same in found.values() if len(same) > 1]


def left_out_sentences(apart: Mapping[str, Sequence[str]], targets: Sequence[Target]) -> list[str]:
    """A sentence for everything that could not take part."""
    told = []
    for what, words in (("without_scan", "row"), ("without_row", "scan")):
        if apart[what]:
            other = "scan" if words == "row" else "row"
            names = first_of(apart[what])
            told.append(f"{counted(len(apart[what]), words)} without a {other}: {names}")
    for target in targets:
        if target.missing:
            cases = counted(len(target.missing), "scan")
            what = f"{target.name}{_but(target.words)}"
            told.append(f"{cases} without a value of {what}: {first_of(target.missing)}")
    return told
