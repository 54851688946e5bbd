"""Which files of a folder are cases, what they are called, and which are none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mass3d.errors import DataError
from mass3d.io.dicom.files import DicomFile, dicom_files, opened
from mass3d.io.dicom.series import (
    Gathered,
    LeftOut,
    Series,
    folder_name,
    gather,
    name_series,
    safe_name,
)
from mass3d.io.layouts import LabelFiles
from mass3d.io.sniff import is_zip
from mass3d.record import file_hash, text_hash

DETACHED = (".mhd", ".nhdr")  # headers whose voxels lie in a file beside them
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
CHANNEL = re.compile(r"_0000$")  # nnU-Net's suffix of the first channel


@dataclass(frozen=True)
class CaseFile:
    """One scan on disk: a file, or a DICOM series of many."""

    case_id: str
    path: Path  # of a series: the folder or archive that holds it
    series: Series | None = None
    label: LabelFiles | None = None  # what lies beside it as its label; never opened by `prepare`

    @property
    def scan(self) -> Path | Series:
        """What `read_volume` and `read_grid` take."""
        return self.series or self.path


@dataclass(frozen=True)
class Cohort:
    """The scans of some folders, sorted by case id, and the files that are part of none."""

    cases: tuple[CaseFile, ...]
    left_out: tuple[LeftOut, ...]


def find_cases(paths: Sequence[Path]) -> list[CaseFile]:
    """The cases of `find_cohort`."""
    return list(find_cohort(paths).cases)


def find_cohort(paths: Sequence[Path]) -> Cohort:
    """All scans among files, folders (searched to any depth) and archives; at least one.

    Files that are named one by one are taken whatever their name. Hidden files are passed over.
    DICOM is known by its content and grouped into series; a file of it that cannot be read is a
    case by itself, so that it becomes a fault and is not lost. Raises `DataError` when a path is
    missing, there is no scan, or two scans have one case id.
    """
    scans, heap, others = _sorted_out(paths)
    found = gather(heap)
    roots = [path if path.is_dir() else path.parent for path in paths]
    plain = (CaseFile(case_id_of(file), file) for file in scans)
    cases = _by_id([*plain, *_dicom_cases(found, roots)])
    if not cases:
        raise _nothing(paths, found)
    headers = {file.with_suffix("") for file in scans if file.name.lower().endswith(DETACHED)}
    left_out = [entry for entry in others if entry.path.with_suffix("") not in headers]
    left_out = sorted([*left_out, *found.left_out], key=lambda entry: (entry.path, entry.reason))
    return Cohort(tuple(cases[case_id] for case_id in sorted(cases)), tuple(left_out))


def source_hash(case: CaseFile) -> str:
    """SHA-256 of the content of a scan, wherever it lies.

    Of a detached header with its data files; of a DICOM series with all its files, but not their
    names, and with the frames that are taken of each.
    """
    if case.series is not None:
        return _series_hash(case.series)
    if not case.path.name.lower().endswith(DETACHED):
        return file_hash(case.path)
    parts = sorted(case.path.parent.glob(f"{case.path.stem}.*"))
    return text_hash([[part.name, file_hash(part)] for part in parts if part.is_file()])


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
    for suffix in (*SUFFIXES, ".zip"):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _series_hash(series: Series) -> str:
    frames: dict[DicomFile, list[int]] = {}
    for part in series.slices:
        frames.setdefault(part.file, []).append(part.frame)
    hashes = [
        [hashlib.file_digest(stream, "sha256").hexdigest(), frames[file]]
        for file, stream in opened(sorted(frames))
    ]
    return text_hash(sorted(hashes))


def _sorted_out(paths: Sequence[Path]) -> tuple[list[Path], list[DicomFile], list[LeftOut]]:
    """Scan files, DICOM files and the others; each once, however it was named."""
    scans, heap, others = [], [], []
    seen: set[Path] = set()
    for path in paths:
        for file in _files(path):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            if file.name.lower().endswith(SUFFIXES):
                scans.append(file)
                continue
            parts, reason = _dicom_parts(file)
            heap += parts
            if not parts and (file == path or not reason):
                scans.append(file)
            elif not parts:
                others.append(LeftOut(file, reason))
    return scans, heap, others


def _dicom_parts(file: Path) -> tuple[list[DicomFile], str]:
    """What is DICOM in a file; else why there is nothing, or no reason for a broken archive."""
    try:
        parts = dicom_files(file)
    except DataError:
        return [], ""  # it may hold scans: left to fail when it is read
    except OSError as error:
        return [], f"a file that cannot be read ({error.strerror})"
    return parts, "an archive without DICOM" if is_zip(file) else "no image by name and content"


def _dicom_cases(found: Gathered, roots: Sequence[Path]) -> list[CaseFile]:
    """A case for every series, and one for the files of each fault."""
    named = name_series(found.series, roots)
    cases = [CaseFile(case_id, one.path, one) for case_id, one in named.items()]
    for broken in found.broken:
        file = broken.file
        folder = folder_name(file.path if file.member else file.path.parent, roots)
        name = f"{folder}_{safe_name(file.shown.name)}"
        cases.append(CaseFile(name, file.path))
    return cases


def _by_id(cases: Iterable[CaseFile]) -> dict[str, CaseFile]:
    """Raise `DataError` when two scans have one case id."""
    found: dict[str, CaseFile] = {}
    for case in cases:
        first = found.setdefault(case.case_id, case)
        if first is not case:
            raise DataError(
                case.path,
                found=f"a second scan of the case {case.case_id!r}; the first is {first.path}",
                expected="one file per case",
                fix="Rename one of them, or prepare the folders separately.",
            )
    return found


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(
            file
            for file in path.rglob("*")
            if not file.is_dir()  # a broken link is no file, but must not be passed over either
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
    if path.exists():
        return [path]
    raise DataError(
        path,
        found="no such file or folder",
        expected=f"a scan ({', '.join(SUFFIXES)}, DICOM, .zip) or a folder of scans",
        fix="Check the path.",
    )


def _nothing(paths: Sequence[Path], found: Gathered) -> DataError:
    """The error for folders without scans, which says what the DICOM files in them are."""
    reasons = ", ".join(f"{entry.path.name}: {entry.reason}" for entry in found.left_out[:5])
    return DataError(
        ", ".join(str(path) for path in paths) or "inputs",
        found=f"no scan but {reasons}" if reasons else "no scan",
        expected=f"files named {', '.join(SUFFIXES)}, DICOM series, or archives (.zip) of them",
        fix="Check the path.",
    )
