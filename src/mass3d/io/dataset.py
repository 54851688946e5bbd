"""What nnU-Net's dataset.json says about label values."""

from __future__ import annotations

import json
from pathlib import Path

from mass3d.errors import DataError


def read_structures(labels: Path) -> dict[str, int] | None:
    """Name -> label value, by value, background left out; None where no dataset.json is near.

    The file is looked for in the folder of the labels and in the one above. Raises `DataError`
    when it cannot be read.
    """
    for folder in (labels, labels.resolve().parent):
        file = folder / "dataset.json"
        if file.exists():
            return read_table(file)
    return None


def read_table(file: Path) -> dict[str, int]:
    """Name -> label value, by value, background left out, from a dataset.json itself."""
    try:
        labels = json.loads(file.read_text(encoding="utf-8"))["labels"]
        pairs = [_name_and_value(key, value) for key, value in labels.items()]
        structures = {name: value for name, value in pairs if value != 0}
        if len(set(structures.values())) < sum(value != 0 for _, value in pairs):
            raise ValueError("two labels share a name or a value")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            file,
            found=f"no readable table of labels ({error})",
            expected='"labels": {"background": 0, "liver": 1, ...}',
            fix="Correct the file. Regions of several values are not supported.",
        ) from error
    return dict(sorted(structures.items(), key=lambda item: item[1]))


def _name_and_value(key: str, entry: object) -> tuple[str, int]:
    """nnU-Net v2 writes {"liver": 1}, the decathlon {"1": "liver"}."""
    name, value = (entry, int(key)) if isinstance(entry, str) else (key, entry)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no label value")
    return name, value
