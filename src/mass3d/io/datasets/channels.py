"""Channels of a case: files of nnU-Net's raw datasets that are one case together.

Elsewhere each of them is a scan of its own, as it was taken. Only a network that sees all of them
at once asks for cases: `case_0000` and `case_0001` are the case `case`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from mass3d.errors import ConfigError, DataError
from mass3d.io.datasets.cohort import CaseFile, Channel, by_id
from mass3d.io.datasets.layouts import NumberedFile, numbered_file
from mass3d.io.names import SUFFIXES, case_id_of, is_image_name, stem_of
from mass3d.io.read import read_volume
from mass3d.volume.intensity import of_channel
from mass3d.volume.volume import Volume

Table = Mapping[int, str]  # number -> name, as dataset.json has them


class Wanted(NamedTuple):
    """A channel as it is known apart from any case."""

    number: int  # in the names of files
    name: str  # in dataset.json

    @property
    def called(self) -> str:
        """For messages."""
        return _called(self)


def _called(channel: Wanted | Channel) -> str:
    return channel.name or f"{channel.number:04}"


def wanted_channels(cases: Sequence[CaseFile], asked: Sequence[str] = ()) -> tuple[Wanted, ...]:
    """The channels of a dataset, in order; none where dataset.json does not name several.

    asked: some of them, by name or number, in the order that is wanted. Raises `ConfigError` for
    one that there is not, and for datasets whose channels differ.
    """
    files = _Files()
    tables = [file.names for case in cases if (file := files.of(case)) and file.names]
    several = [table for table in tables if len(table) > 1]
    if asked:
        return _asked(tables[0] if tables else {}, asked)
    if not several:
        return ()
    named = {tuple(table[number] for number in sorted(table)) for table in tables}
    if len(named) > 1 or len(tables) < len(cases):
        told = sorted(", ".join(names) for names in named)
        told += ["none"] * (len(tables) < len(cases))
        raise ConfigError(
            "channels",
            found=f"scans of different channels ({'; '.join(told)})",
            expected="the same channels of all cases, which the network sees at once",
            fix="Give datasets of the same channels, or choose those that all have.",
            setting="channels",
        )
    return tuple(Wanted(number, several[0][number]) for number in sorted(several[0]))


def _asked(table: Table, asked: Sequence[str]) -> tuple[Wanted, ...]:
    numbers = [_number_of(table, one) for one in asked]
    unknown = [one for one, number in zip(asked, numbers, strict=True) if number is None]
    found = [number for number in numbers if number is not None]
    if unknown or len(set(found)) < len(found):
        there = ", ".join(f"{name} ({number})" for number, name in sorted(table.items()))
        raise ConfigError(
            "channels",
            found=f"no channel called {unknown[0]}" if unknown else "a channel that is named twice",
            expected=f"names or numbers of {there}" if there else "a dataset.json that names them",
            fix="Name each once; say the number where two are called alike."
            if there
            else "Write one, in the layout of nnU-Net, or leave the setting out.",
            setting="channels",
        )
    return tuple(Wanted(number, table[number]) for number in found)


def _number_of(table: Table, asked: str) -> int | None:
    named = [number for number, name in table.items() if name == asked]
    if len(named) == 1:
        return named[0]
    return int(asked) if asked.isdecimal() and int(asked) in table else None


def grouped(cases: Iterable[CaseFile], wanted: Sequence[Wanted]) -> tuple[CaseFile, ...]:
    """Cases of the wanted channels, sorted by id; the cases as they are where none is wanted.

    Channels are known by their names in dataset.json, without one by the numbers of the files. A
    channel that a case lacks is named with the file where it should be: `require_channels` tells.
    Where one channel is wanted, scans that are not one of several are taken as they are. Raises
    `DataError` for a dataset.json without one of them, where no case has any, and for two cases of
    one id.
    """
    if not wanted:
        return tuple(cases)
    files, found = _Files(), list[CaseFile]()
    alike: dict[tuple[Path, str], dict[int, CaseFile]] = {}  # folder, case -> its files by number
    for case in cases:
        file = files.of(case)
        if len(wanted) == 1 and (file is None or len(file.names) < 2):
            found.append(case)
            continue
        name = files.case_id(case, file) if file else case.case_id
        alike.setdefault((case.path.parent, name), {})[int(file.channel) if file else -1] = case
    for (_, name), parts in alike.items():
        first = next(iter(parts.values()))
        channels = tuple(_channels(parts, files.of(first), wanted))
        found.append(replace(first, case_id=name, path=channels[0].path, channels=channels))
    if found and all(one.channels and not _any_there(one) for one in found):
        raise _no_channels(found[0])
    named = by_id(found)
    return tuple(named[name] for name in sorted(named))


def _channels(
    parts: Mapping[int, CaseFile], file: NumberedFile | None, wanted: Sequence[Wanted]
) -> Iterator[Channel]:
    """Where the wanted channels of a case lie, or should lie; `file` is one of its parts."""
    path = next(iter(parts.values())).path
    suffix = path.name[len(stem_of(path)) :] if is_image_name(path) else SUFFIXES[0]
    stem = file.case if file else stem_of(path)
    for one in wanted:
        number = _same(file.names, one, path) if file and file.names else one.number
        there = parts.get(number)
        place = there.path if there else path.with_name(f"{stem}_{number:04}{suffix}")
        yield Channel(number, one.name, place)


def _same(table: Table, wanted: Wanted, path: Path) -> int:
    """The number of a channel in another dataset."""
    if table.get(wanted.number) == wanted.name:
        return wanted.number
    numbers = [number for number, name in table.items() if name == wanted.name]
    if len(numbers) != 1:
        raise DataError(
            path,
            found=f"a dataset.json with the channels {', '.join(table.values())}",
            expected=f"{wanted.called} among them, once",
            fix="Give scans of the channels that were learned, or correct dataset.json.",
        )
    return numbers[0]


def _any_there(case: CaseFile) -> bool:
    return any(channel.path.exists() for channel in case.channels)


def _no_channels(case: CaseFile) -> DataError:
    files = " and ".join(f"{one.path.name} ({_called(one)})" for one in case.channels)
    return DataError(
        case.path.parent,
        found="no scan that is a channel of a case",
        expected=f"all channels of each case side by side, such as {files}",
        fix="Give such a folder, or use a model that learned from single scans.",
    )


@dataclass(frozen=True)
class _Files:
    """What names of files say; every dataset.json is read once."""

    tables: dict[Path, Mapping[int, str]] = field(default_factory=dict)

    def of(self, case: CaseFile) -> NumberedFile | None:
        """None for a series, and for a file that is not named as a channel."""
        return None if case.series else numbered_file(case.path, self.tables)

    def case_id(self, scan: CaseFile, file: NumberedFile) -> str:
        """The id of the case that a scan is a channel of."""
        own = file.own_name  # in the layout of a dataset; files that were named have their own
        if not own or not scan.case_id.endswith(own):
            own = case_id_of(scan.path)
        return scan.case_id.removesuffix(own) + file.case


def cases_of_channels(scans: Sequence[CaseFile]) -> list[str]:
    """Of each scan the id of the case that it is one of several channels of; empty for others.

    dataset.json tells it where it names several, or a label that files of one case share. Without
    both, numbers may as well be those of patients (`amos_0001`): they are channels where every case
    of a folder has a 0000, and none has more of them than there are cases.
    """
    files, found = _Files(), [""] * len(scans)
    together: dict[Path, dict[str, dict[int, NumberedFile]]] = {}  # folder -> case -> its scans
    for place, scan in enumerate(scans):
        if not scan.channels and (file := files.of(scan)) is not None:
            named = together.setdefault(scan.path.parent, {})
            named.setdefault(file.case, {})[place] = file
    for named in together.values():
        numbered = _are_channels([[*parts.values()] for parts in named.values()])
        for parts in named.values():
            labels = [label.paths for place in parts if (label := scans[place].label) is not None]
            several = any(len(file.names) > 1 for file in parts.values())
            if numbered or several or len(set(labels)) < len(labels):
                for place, file in parts.items():
                    found[place] = files.case_id(scans[place], file)
    return found


def _are_channels(cases: Sequence[Sequence[NumberedFile]]) -> bool:
    """Whether the numbers of the files of a folder are those of channels, as far as they tell."""
    numbers = [{file.channel for file in files} for files in cases]
    return all("0000" in some for some in numbers) and 1 < max(map(len, numbers)) <= len(cases)


def by_case(cases: Sequence[CaseFile]) -> dict[str, CaseFile]:
    """Every scan by its id, and the first of several channels by the id of their case, too."""
    files = _Files()
    named = [(files.case_id(case, file), case) for case in cases if (file := files.of(case))]
    return {**dict(reversed(named)), **{case.case_id: case for case in cases}}


def channels_of(case: CaseFile) -> tuple[Wanted, ...]:
    """The channels that a case has, as they are known apart from it."""
    return tuple(Wanted(one.number, one.name) for one in case.channels)


def require_channels(case: CaseFile) -> None:
    """Raise `DataError` for a case without one of its channels."""
    for channel in case.channels:
        if not channel.path.exists():
            raise DataError(
                channel.path,
                found="no such file",
                expected=f"the channel {_called(channel)} of the case {case.case_id}",
                fix="Every case needs all channels: add the file, or take out the others of the "
                "case.",
            )


def read_channels_of(case: CaseFile) -> tuple[Volume, ...]:
    """The scan of a case; of several channels each, as the kind of scan that its name says.

    Raises `DataError` as `read_volume` and `require_channels` do.
    """
    if not case.channels:
        return (read_volume(case.scan),)
    require_channels(case)
    return tuple(of_channel(read_volume(one.path), one.name) for one in case.channels)
