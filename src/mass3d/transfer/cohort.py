"""A labelled dataset as a one-shot experiment: scans to learn from, one example, scans to test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mass3d.errors import DataError
from mass3d.io.datasets.cohort import CaseFile, find_cases
from mass3d.io.datasets.dataset_json import read_structures
from mass3d.io.names import case_id_of
from mass3d.io.read import read_label

MAX_CANDIDATES: Final = 20  # labels looked at for one that shows every structure


@dataclass(frozen=True)
class LabelledFiles:
    """A scan and its label map."""

    case_id: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Cohort:
    """The scans of an experiment. Labels of the training scans are no part of it, but for one."""

    training: tuple[CaseFile, ...]
    reference: LabelledFiles  # one of the training scans
    test: tuple[LabelledFiles, ...]
    structures: Mapping[str, int]


def choose_cohort(folder: Path, *, test_cases: int, seed: int) -> Cohort:
    """Split a raw dataset of nnU-Net into training scans, one example and test scans.

    Test scans come from imagesTs and labelsTs, or, where there are none, are held out from the
    training scans by `seed`. The example is the first training scan that shows every structure,
    or else most of them. Raises `DataError` when labels are missing.
    """
    training = find_cases([folder / "imagesTr"])
    labelled = _labelled(training)
    if len(labelled) < 2:
        raise DataError(
            folder / "labelsTr",
            found=f"labels for {len(labelled)} of {len(training)} training scans",
            expected="at least two: one to show, one to score",
            fix="Name the labels like the scans, without the _0000.",
        )
    test = _labelled(find_cases([folder / "imagesTs"])) if (folder / "labelsTs").is_dir() else []
    rng = np.random.default_rng((seed, len(labelled)))
    if not test:
        held_out = max(1, min(test_cases, len(labelled) // 4))
        test = [labelled[i] for i in sorted(rng.permutation(len(labelled))[:held_out])]
    if len(test) > test_cases:
        test = [test[i] for i in sorted(rng.permutation(len(test))[:test_cases])]
    tested = {case.label for case in test}
    training = [case for case in training if not (case.label and tested & {*case.label.paths})]
    reference, structures = _choose_reference(
        [case for case in labelled if case.label not in tested],
        read_structures(folder / "labelsTr"),
    )
    return Cohort(tuple(training), reference, tuple(test), structures)


def _labelled(cases: Sequence[CaseFile]) -> list[LabelledFiles]:
    """The scans that have a label map; of several channels with one label the first."""
    found: dict[Path, LabelledFiles] = {}
    for case in sorted(cases, key=lambda case: case.path):
        if case.label and not case.label.names:
            label = case.label.paths[0]
            found.setdefault(label, LabelledFiles(case_id_of(case.path), case.path, label))
    return sorted(found.values(), key=lambda case: case.case_id)


def _choose_reference(
    candidates: Sequence[LabelledFiles], named: Mapping[str, int] | None
) -> tuple[LabelledFiles, dict[str, int]]:
    """The example, and the structures it shows: name -> label value."""
    best, shown = candidates[0], set[int]()
    for case in candidates[:MAX_CANDIDATES]:
        values = {int(v) for v in np.unique(read_label(case.label).voxels)} - {0}
        if named:
            values &= set(named.values())
        if len(values) > len(shown):
            best, shown = case, values
        if named and len(shown) == len(named):
            break
    names = named or {str(value): value for value in sorted(shown)}
    return best, {name: value for name, value in names.items() if value in shown}
