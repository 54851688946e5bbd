"""What the values of predictions and labels are called, and where two files disagree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mass3d.execution.ownership import RECORD
from mass3d.io.datasets.dataset_json import find_dataset_json
from mass3d.io.datasets.label_names import Named, common_names, two_names
from mass3d.transfer.evaluation.counting import CountedFolder
from mass3d.transfer.results import structures_of_results

RESULTS: Final = "the results"
OTHERS: Final = "the other results"
LABELS: Final = "the labels"
SIDES: Final = (RESULTS, OTHERS, LABELS)


def names_in_headers(*folders: CountedFolder | None) -> dict[str, int] | None:
    """The structures as headers of label maps name them. Raises `DataError` where they differ."""
    every = [one for folder in folders if folder for one in folder.found.values()]
    values = {value for one in every for value in one.counts.overlaps}
    return common_names(tables_in_headers(*folders), values)


def tables_in_headers(*folders: CountedFolder | None) -> dict[Path, dict[str, int]]:
    """What headers of label maps call their values, by file."""
    every = [one for folder in folders if folder for one in folder.found.values()]
    return {path: names for one in every for path, names in one.named.items()}


def odd_names(
    structures: Mapping[str, int],
    places: Mapping[str, Path],
    headers: Mapping[Path, Mapping[str, int]],
) -> tuple[str, ...]:
    """A sentence for each value that predictions and labels call by two names.

    structures: those that are scored, as dataset.json beside the labels names them, or else the
    record of the results. places: the folders, as RESULTS, OTHERS and LABELS. headers: names in
    headers, by file. Raises `DataError` where a name has another value there.
    """
    side = LABELS if find_dataset_json(places[LABELS]) else RESULTS
    records = ((one, places[one], structures_of_results(places[one])) for one in places)
    told = [
        *(Named(path, _side(path, places), table) for path, table in headers.items()),
        *(
            Named(folder / RECORD, one, found.values)
            for one, folder, found in records
            if one not in (side, LABELS) and found is not None and not found.regions
        ),
    ]
    return two_names(Named(places[side], side, structures), told)


def _side(path: Path, places: Mapping[str, Path]) -> str:
    """Whose file it is. The folder of labels comes last: predictions may lie in it."""
    return next(one for one in SIDES if one in places and path.is_relative_to(places[one]))
