"""Two folders of label maps: predictions, and the truth about the same cases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mass3d.errors import ConfigError, DataError, Mass3dError
from mass3d.files import real
from mass3d.io.datasets.cohort import find_label, label_maps
from mass3d.io.datasets.dataset_json import read_ignored
from mass3d.io.datasets.label_names import label_names
from mass3d.io.names import SUFFIXES, case_id_of
from mass3d.io.read import read_grid, read_label
from mass3d.volume.volume import Volume


@dataclass(frozen=True)
class Prediction:
    """A prediction and the label of its case, if there is one."""

    prediction: Path
    label: Path | None
    labels: Path  # the folder in which the label was looked for
    ignored: int | None  # the value of voxels that nobody has annotated

    def read(self) -> tuple[Volume, Volume]:
        """Prediction and truth on one grid. Raises `DataError`."""
        if self.label is None:
            name = case_id_of(self.prediction)
            raise DataError(
                self.prediction,
                found="a prediction without a label",
                expected=f"{name}.nii.gz, or another readable format, in {self.labels}",
                fix="Add the label, or take the prediction out of its folder.",
            )
        truth = read_label(self.label)
        return read_label(self.prediction, like=truth), truth

    @property
    def voxels(self) -> int:
        """Of the label, by its header; 0 where there is none to be read."""
        try:
            return math.prod(read_grid(self.label).grid.shape) if self.label else 0
        except (Mass3dError, OSError):
            return 0

    def names(self) -> dict[Path, dict[str, int]]:
        """What the headers of both files call their values."""
        return {path: label_names(path) for path in (self.label, self.prediction) if path}


def require_folders(folders: Mapping[str, Path]) -> None:
    """Raise `ConfigError` unless these are folders, by the setting that names each; none twice."""
    seen: dict[Path, str] = {}
    for setting, folder in folders.items():
        if not folder.is_dir():
            raise ConfigError(
                setting,
                found=f"{folder}, which is not a folder",
                expected="a folder of label maps",
                fix="Check the path.",
                setting=setting,
            )
        first = seen.setdefault(real(folder), setting)
        if first != setting:
            raise ConfigError(
                setting,
                found=f"{folder}, which is also the folder of {first}",
                expected="true label maps in a folder of their own"
                if setting == "labels"
                else "another folder",
                fix="Check the paths.",
                setting=setting,
            )


def find_predictions(predictions: Path, labels: Path) -> dict[str, Prediction]:
    """Case -> its two files; nnU-Net's `_0000` may end the name of either."""
    ignored = read_ignored(labels)
    return {
        name: Prediction(
            prediction,
            find_label(labels, name) or find_label(labels, f"{name}_0000"),
            labels,
            ignored,
        )
        for name, prediction in label_maps(predictions).items()
    }


def find_both(
    predictions: Path, against: Path | None, labels: Path
) -> tuple[dict[str, Prediction], dict[str, Prediction] | None]:
    """The predictions, and others of the same cases where a folder of these is given.

    Raises `ConfigError` where the folders have no case in common.
    """
    ours = find_predictions(predictions, labels)
    if against is None:
        return ours, None
    theirs = find_predictions(against, labels)
    if not ours.keys() & theirs.keys():
        raise ConfigError(
            against,
            found=f"cases such as {next(iter(theirs))}, none of which is in {predictions}",
            expected="other segmentations of the same cases",
            fix="Check the folder, and how its files are called.",
            setting="against",
        )
    return ours, theirs


def labels_without_prediction(labels: Path, cases: Iterable[str]) -> tuple[str, ...]:
    """The cases of a folder of labels that are not among these."""
    names = {
        case_id_of(file)
        for file in labels.iterdir()
        if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".")
    }
    return tuple(sorted(names - set(cases)))
