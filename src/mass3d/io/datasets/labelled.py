"""Scans with their labels: from the layout of a dataset, from two folders, or file by file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from mass3d.errors import ConfigError, DataError
from mass3d.io.datasets.channels import (
    Wanted,
    grouped,
    require_channels,
    wanted_channels,
)
from mass3d.io.datasets.cohort import (
    A_SCAN,
    CaseFile,
    find_cohort,
    find_label,
    require_there,
)
from mass3d.io.datasets.dataset_json import find_dataset_json
from mass3d.io.datasets.layouts import LabelFiles
from mass3d.io.dicom.series import Series
from mass3d.io.names import case_id_of
from mass3d.io.read import resolved

TRAINING: Final = "imagesTr"  # of nnU-Net's datasets; what lies beside it is kept for tests
TEST: Final = "imagesTs"


def find_labelled(
    images: Sequence[Path], labels: Sequence[Path] = (), *, channels: Sequence[str] | None = None
) -> list[CaseFile]:
    """Scans that have a label, sorted by case id; at least one. No label is opened.

    Without `labels` the layout of the folders tells them, and of a dataset with a folder imagesTr
    only that folder is searched: what is kept for tests is not for training. `labels` is one
    folder of label maps that are named like the cases; or one file for each of the images, in
    order: then an image is a file, or all of one DICOM series. `channels`: the files that
    dataset.json names channels are one case together, of these channels or, if it is empty, of
    all; None takes each for a case. Raises `DataError` where there is none and for a missing file
    or channel, `ConfigError` for numbers that do not match and channels that there are not.
    """
    if labels and not (len(labels) == 1 and labels[0].is_dir()):
        wanted_channels([], channels or ())  # of files that are named one by one none is known
        return _in_order(images, labels)
    below = [path / TRAINING if (path / TRAINING).is_dir() else path for path in images]
    cases = find_cohort(below).cases
    shown = cases if labels else tuple(case for case in cases if case.label is not None)
    if channels is not None:
        shown = grouped(shown, wanted_channels(shown, channels))
    if labels:
        shown = tuple(replace(case, label=_map_in(labels[0], case.case_id)) for case in shown)
    found = [case for case in shown if case.label is not None]
    if not found:
        raise DataError(
            ", ".join(str(path) for path in labels or below),
            found=f"no label of any of the {len(cases)} scans",
            expected="a label map for at least one scan, called as its case"
            + (f" ({cases[0].case_id}.nii.gz)" if labels else ", in the layout of a dataset"),
            fix="Check the path, or give one label for each scan, in order.",
        )
    for case in found:
        require_channels(case)
    return found


def find_tests(dataset: Path, channels: Sequence[Wanted] = ()) -> list[CaseFile]:
    """The labelled scans of a dataset that are kept for tests, sorted by case id; maybe none.

    channels: those of the scans to learn from. Raises `DataError` for a missing one.
    """
    folder = dataset / TEST
    if not folder.is_dir() or not any(folder.iterdir()):  # made with the dataset, never filled
        return []
    shown = [case for case in find_cohort([folder]).cases if case.label is not None]
    cases = [*grouped(shown, channels)]
    for case in cases:
        require_channels(case)
    return cases


def _in_order(images: Sequence[Path], labels: Sequence[Path]) -> list[CaseFile]:
    """The n-th label is that of the n-th image."""
    if len(images) != len(labels):
        raise ConfigError(
            "labelled scans",
            found=f"{len(images)} images and {len(labels)} labels",
            expected="one label per image, in the same order, or one folder of labels",
            fix="Give one label for each image.",
            setting="label_maps",
        )
    found: dict[str, CaseFile] = {}
    for image, label in zip(images, labels, strict=True):
        _require_map(label)
        case = CaseFile(case_id_of(image), image, series=_series_at(image), label=map_at(label))
        if found.setdefault(case.case_id, case) is not case:
            raise DataError(
                image,
                found=f"a second scan of the case {case.case_id!r}",
                expected="names of scans that differ",
                fix="Rename one of them.",
            )
    return [found[case_id] for case_id in sorted(found)]


def _require_map(label: Path) -> None:
    """Raise `DataError` unless there is a file."""
    expected = "a label map of every scan, in order, or one folder of label maps"
    require_there(label, expected)
    if label.is_dir():
        raise DataError(
            label, found="a folder", expected=expected, fix="Name the label map of the scan."
        )


def _series_at(image: Path) -> Series | None:
    """The series of a folder, archive or file of DICOM. Raises `DataError` for several, or none."""
    require_there(image, A_SCAN)
    found = resolved(image)
    return found if isinstance(found, Series) else None


def _map_in(folder: Path, case_id: str) -> LabelFiles | None:
    path = find_label(folder, case_id)
    return map_at(path) if path else None


def map_at(path: Path) -> LabelFiles:
    """A label map, with the dataset.json that is near."""
    return LabelFiles((path,), table=find_dataset_json(path.parent))
