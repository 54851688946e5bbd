"""Files of masks that another tool or a person has made, by case id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mass3d.errors import ConfigError
from mass3d.files import text_hash
from mass3d.io.datasets.cohort import find_label
from mass3d.io.datasets.source import image_hash
from mass3d.io.names import is_image_name

SEGMENTATIONS = "segmentations"  # where a case of TotalSegmentator's data holds its masks


def require_folders(folders: Sequence[Path]) -> None:
    """Raise `ConfigError` unless there are folders to look for masks in."""
    missing = [folder for folder in folders if not folder.is_dir()]
    if folders and not missing:
        return
    raise ConfigError(
        "masks.external.folders",
        found=f"{missing[0]}, which is not a folder" if missing else "no folder",
        expected="folders that hold masks by case id",
        fix="Check the path." if missing else "Name the folder of masks.",
        setting="masks.external.folders",
    )


def find_mask_files(folders: Sequence[Path], case_id: str) -> list[Path]:
    """Files of masks of a case: <case>.nii.gz, <case>/*.nii.gz or <case>/segmentations/*.nii.gz.

    Any readable format will do for .nii.gz. Where there is a folder `segmentations`, what lies
    beside it is passed over, as it is the scan. Hidden files are passed over too.
    """
    found = []
    for folder in folders:
        one = find_label(folder, case_id)
        found += [one] if one else []
        inner = folder / case_id
        inner = inner / SEGMENTATIONS if (inner / SEGMENTATIONS).is_dir() else inner
        if inner.is_dir():
            found += sorted(
                path
                for path in inner.iterdir()
                if is_image_name(path) and not path.name.startswith(".")
            )
    return found


def mask_files_id(files: Sequence[Path]) -> str:
    """A hash over names and contents of files, wherever they lie."""
    return text_hash([[file.name, image_hash(file)] for file in files])
