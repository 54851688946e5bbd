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
            return _parse(file)
    return None


def _parse(file: Path) -> dict[str, int]:
    try:
        named = json.loads(file.read_text())["labels"]
        # nnU-Net v2 writes {"liver": 1}, the decathlon {"1": "liver"}
        if all(isinstance(value, str) for value in named.values()):
            named = {name: value for value, name in named.items()}
        structures = {str(name): int(value) for name, value in named.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            file,
            found=f"no readable table of labels ({error})",
            expected='"labels": {"background": 0, "liver": 1, ...}',
            fix="Correct the file. Regions of several values are not supported.",
        ) from error
    kept = {name: value for name, value in structures.items() if value != 0}
    return dict(sorted(kept.items(), key=lambda item: item[1]))
