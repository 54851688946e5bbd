"""What nnU-Net's and the decathlon's dataset.json says about channels and label values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard

from mass3d.errors import DataError
from mass3d.files import read_json, real
from mass3d.io.datasets.regions import Members, Targets, written

IGNORE: Final = "ignore"  # nnU-Net's name for voxels that nobody has annotated


def read_structures(labels: Path) -> dict[str, int] | None:
    """Name -> label value, by value, without background; None where no dataset.json is near.

    The file is looked for in the folder of the labels and in the one above. nnU-Net's ignore
    label is no structure. Raises `DataError` when the file cannot be read, and for regions.
    """
    file = find_dataset_json(labels)
    return None if file is None else read_dataset_json(file)


def read_ignored(labels: Path) -> int | None:
    """The value of nnU-Net's ignore label, if there is one near, as for `read_structures`."""
    file = find_dataset_json(labels)
    value = None if file is None else _parse(file).get(IGNORE)
    return value if isinstance(value, int) else None


def find_dataset_json(labels: Path) -> Path | None:
    """The dataset.json that is nearest to a folder of labels: in it or in the one above."""
    files = (folder / "dataset.json" for folder in (labels, real(labels).parent))
    return next((file for file in files if file.exists()), None)


def read_dataset_json(file: Path) -> dict[str, int]:
    """The structures of a dataset.json, as `read_structures`."""
    return _single_values(file, read_targets_in(file))


def read_common_structures(folders: Iterable[Path]) -> dict[str, int] | None:
    """As `read_structures`, of several folders of labels.

    Raises `DataError` as well where their dataset.json are not alike.
    """
    files = [file for file in map(find_dataset_json, folders) if file is not None]
    found = read_common_targets(dict.fromkeys(files))
    return None if found is None else _single_values(files[0], found)


def _single_values(file: Path, found: Targets) -> dict[str, int]:
    if found.regions:
        name, some = next(iter(found.regions.items()))
        raise DataError(
            file,
            found=f"regions of several values ({name}: {list(some)})",
            expected="one value for each structure, where regions are not asked for",
            fix="finetune, curve and evaluate take regions; for others name single values.",
        )
    return found.values


def read_targets(labels: Path) -> Targets | None:
    """As `read_structures`, with regions."""
    file = find_dataset_json(labels)
    return None if file is None else read_targets_in(file)


def read_targets_in(file: Path) -> Targets:
    """The structures and regions of a dataset.json, without the ignore label.

    The n-th of them is written with the n-th value of `regions_class_order`. Raises `DataError`
    where that is missing or does not fit.
    """
    named = {name: value for name, value in _parse(file).items() if name != IGNORE}
    plain = {name: value for name, value in named.items() if isinstance(value, int)}
    if len(plain) == len(named):
        return Targets(dict(sorted(plain.items(), key=lambda item: item[1])))
    members = {name: (v,) if isinstance(v, int) else v for name, v in named.items()}
    try:
        order = read_json(file).get("regions_class_order")
        if not isinstance(order, list) or len(order) != len(named):
            raise ValueError(f"regions_class_order is {order}, for {len(named)} structures")
        return written(dict(zip(named, order, strict=True)), members)
    except ValueError as error:
        raise DataError(
            file,
            found=f"regions that cannot be written ({error})",
            expected='"regions_class_order" with a value of its own for each label but background '
            "and ignore, in their order; any two regions nested or without a common value",
            fix="Complete the file.",
        ) from error


def read_common_targets(files: Iterable[Path]) -> Targets | None:
    """The structures and regions that several dataset.json name alike; None where they name none.

    Raises `DataError` as `read_targets_in` does, and where two are not alike.
    """
    found = {file: named for file in files if (named := read_targets_in(file)).values}
    if not found:
        return None
    (first, common), *others = found.items()
    for file, named in others:
        theirs, ours = named.members, common.members
        odd = next((n for n in {**ours, **theirs} if theirs.get(n) != ours.get(n)), None)
        if odd is not None:
            raise DataError(
                file,
                found=_in_words(odd, theirs),
                expected=f"{_in_words(odd, ours)}, as {first} says",
                fix="Renumber the labels of one, or take one dataset at a time. Where equal values "
                "mean the same, say which structure has which value.",
                setting="structures",
            )
    return common


def _in_words(name: str, named: Mapping[str, Members]) -> str:
    if name not in named:
        return f"no {name}"
    return f"{name} = {', '.join(map(str, named[name]))}"


def read_channels(file: Path) -> dict[int, str]:
    """Number -> name of the channels; empty where none are named. Raises `DataError`."""
    try:
        content = read_json(file)
        channels = content.get("channel_names") or content.get("modality") or {}
        return {int(number): str(name) for number, name in channels.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            file,
            found=f"no readable table of channels ({error})",
            expected='"channel_names": {"0": "CT", ...}',
            fix="Correct the file.",
        ) from error


def _parse(file: Path) -> dict[str, int | Members]:
    """Every label but the background, in the order of the file."""
    try:
        labels = read_json(file)["labels"]
        pairs = [_name_and_value(key, value) for key, value in labels.items()]
        named = {name: value for name, value in pairs if value != 0}
        if len(set(named.values())) < sum(value != 0 for _, value in pairs):
            raise ValueError("two labels share a name or a value")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            file,
            found=f"no readable table of labels ({error})",
            expected='"labels": {"background": 0, "liver": 1, ...}',
            fix="Correct the file.",
        ) from error
    return named


def _name_and_value(key: str, entry: object) -> tuple[str, int | Members]:
    """nnU-Net v2 writes {"liver": 1}, the decathlon {"1": "liver"}, others {"liver": "1"}.

    A region is a list of values.
    """
    if isinstance(entry, str) and _is_number(key):
        return entry, int(key)
    if not isinstance(entry, list) or not entry:
        return key, _value(entry)
    some = sorted(set(map(_value, entry)))
    if len(some) == 1:
        return key, some[0]
    if some[0] == 0:
        raise ValueError(f"{key} is a region with the background in it")
    return key, tuple(some)


def _value(entry: object) -> int:
    value = int(entry) if _is_number(entry) else entry
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no label value")
    return value


def _is_number(entry: Any) -> TypeGuard[str | float]:
    """Whether this is a whole number from 0 on, as a text or with a point."""
    if isinstance(entry, float):
        return entry.is_integer()
    return isinstance(entry, str) and entry.isascii() and entry.isdecimal()
