"""Which files of a folder are cases, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mass3d.errors import DataError
from mass3d.io.sniff import CONVERT_DICOM, is_dicom

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
CHANNEL = re.compile(r"_0000$")  # nnU-Net's suffix of the first channel


@dataclass(frozen=True)
class CaseFile:
    """One scan on disk."""

    case_id: str
    path: Path


def find_cases(paths: Sequence[Path]) -> list[CaseFile]:
    """All scans among files and folders (searched to any depth), sorted by case id; at least one.

    Files that are named one by one are taken whatever their name. Hidden files are passed over.
    Raises `DataError` when a path is missing, there is no scan, or two files have one case id.
    """
    found: dict[str, Path] = {}
    for file in (file for path in paths for file in _files(path)):
        case_id = case_id_of(file)
        first = found.setdefault(case_id, file)
        if first.resolve() != file.resolve():
            raise DataError(
                file,
                found=f"a second scan of the case {case_id!r}; the first is {first}",
                expected="one file per case",
                fix="Rename one of them, or prepare the folders separately.",
            )
    if not found:
        raise _nothing(paths)
    return [CaseFile(case_id, found[case_id]) for case_id in sorted(found)]


def case_id_of(path: Path) -> str:
    """The name of a file without its format suffix and nnU-Net's `_0000`."""
    stem = _stem(path)
    return CHANNEL.sub("", stem) or stem


def find_label(folder: Path, case_id: str) -> Path | None:
    """The label map of a case in a folder, in any readable format."""
    for suffix in SUFFIXES:
        candidate = folder / f"{case_id}{suffix}"
        if candidate.exists():
            return candidate
    return None


def _stem(path: Path) -> str:
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(
            file
            for file in path.rglob("*")
            if not file.is_dir()  # a broken link is no file, but must not be passed over either
            and file.name.lower().endswith(SUFFIXES)
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
    if path.exists():
        return [path]
    raise DataError(
        path,
        found="no such file or folder",
        expected=f"a scan ({', '.join(SUFFIXES)}) or a folder of scans",
        fix="Check the path.",
    )


def _nothing(paths: Sequence[Path]) -> DataError:
    """The error for folders without scans, which says so when they hold DICOM."""
    files = (file for folder in paths for file in sorted(folder.rglob("*")))
    dicom = next((file for file in files if is_dicom(file)), None)
    return DataError(
        ", ".join(str(path) for path in paths) or "inputs",
        found=f"no scan but DICOM files, such as {dicom}" if dicom else "no scan",
        expected=f"files named {', '.join(SUFFIXES)}",
        fix=CONVERT_DICOM if dicom else "Check the path.",
    )
