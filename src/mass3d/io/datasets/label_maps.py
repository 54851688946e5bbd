"""What some label maps show: which structures, and in which colours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mass3d.errors import ConfigError, DataError
from mass3d.io.colours import Colour, of_css
from mass3d.io.datasets.dataset_json import read_common_structures
from mass3d.io.datasets.label_names import common_names, label_colours, label_names
from mass3d.volume.volume import Volume


def values_in(labels: Iterable[Volume]) -> set[int]:
    """Every value of some label maps but 0."""
    return {int(value) for label in labels for value in np.unique(label.voxels)} - {0}


def named_structures(files: Sequence[Path], values: Collection[int]) -> dict[str, int]:
    """Name -> value: as dataset.json has them, else as the headers name the `values`, else all.

    files: of the label maps. Raises `DataError` where they hold no value, or contradict each other.
    """
    named = read_common_structures([*dict.fromkeys(path.parent for path in files)])
    return named or named_in_headers(files, values)


def named_in_headers(files: Sequence[Path], values: Collection[int]) -> dict[str, int]:
    """Name -> value of those of the `values` that headers of label maps name, else of all.

    files: of the label maps. Raises `DataError` where they hold no value, or contradict each other.
    """
    numbered = called_by_number(values, files[0])
    tables = {path: label_names(path) for path in files}
    return common_names(tables, numbered.values()) or numbered


def called_by_number(values: Collection[int], file: Path) -> dict[str, int]:
    """Name -> value where nothing names the values. Raises `DataError`, of `file`, for none."""
    if not values:
        raise DataError(
            file,
            found="no labelled voxel",
            expected="at least one structure",
            fix="Check that this is the label map, not the image.",
        )
    return {str(value): value for value in sorted(values)}


def chosen_colours(
    given: Mapping[str, str] | None, structures: Mapping[str, int], files: Iterable[Path]
) -> dict[str, Colour]:
    """Structure -> colour: `#rrggbb` as given, else as the header of a label map has all of them.

    structures: name -> value. files: of the label maps. Raises `ConfigError` where a colour is
    given for what is no structure.
    """
    strange = [name for name in given or {} if name not in structures]
    if strange:
        raise ConfigError(
            "colours",
            found=f"a colour of {strange[0]}",
            expected=f"colours of {', '.join(structures)}",
            fix="Correct the name, or leave it out.",
            setting="colours",
        )
    headers = label_colours(files, structures.values())
    known = {name: headers[value] for name, value in structures.items() if headers}
    return known | {name: of_css(text) for name, text in (given or {}).items()}
