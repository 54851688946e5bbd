"""What nnU-Net's and the decathlon's dataset.json says about channels and label values."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeGuard

from mass3d.errors import DataError
from mass3d.files import read_json, real

IGNORE: Final = "ignore"  # nnU-Net's name for voxels that nobody has annotated


def read_structures(labels: Path) -> dict[str, int] | None:
    """Name -> label value, by value, without background; None where no dataset.json is near.

    The file is looked for in the folder of the labels and in the one above. nnU-Net's ignore
    label is no structure. Raises `DataError` when the file cannot be read.
    """
    file = find_dataset_json(labels)
    return None if file is None else read_dataset_json(file)


def read_ignored(labels: Path) -> int | None:
    """The value of nnU-Net's ignore label, if there is one near, as for `read_structures`."""
    file = find_dataset_json(labels)
    return None if file is None else _parse(file).get(IGNORE)


def find_dataset_json(labels: Path) -> Path | None:
    """The dataset.json that is nearest to a folder of labels: in it or in the one above."""
    files = (folder / "dataset.json" for folder in (labels, real(labels).parent))
    return next((file for file in files if file.exists()), None)


def read_dataset_json(file: Path) -> dict[str, int]:
    """The structures of a dataset.json, as `read_structures`."""
    return {name: value for name, value in _parse(file).items() if name != IGNORE}


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


def _parse(file: Path) -> dict[str, int]:
    """Every label but the background, by value."""
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
            fix="Correct the file. Regions of several values are not supported.",
        ) from error
    return dict(sorted(named.items(), key=lambda item: item[1]))


def _name_and_value(key: str, entry: object) -> tuple[str, int]:
    """nnU-Net v2 writes {"liver": 1}, the decathlon {"1": "liver"}, others {"liver": "1"}."""
    name, value = key, entry
    if isinstance(entry, str) and _is_number(key):
        name, value = entry, int(key)
    elif _is_number(entry):
        value = int(entry)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no label value")
    return name, value


def _is_number(entry: Any) -> TypeGuard[str | float]:
    """Whether this is a whole number from 0 on, as a text or with a point."""
    if isinstance(entry, float):
        return entry.is_integer()
    return isinstance(entry, str) and entry.isascii() and entry.isdecimal()
