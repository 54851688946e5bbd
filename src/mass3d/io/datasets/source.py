"""What a scan was made of, as a hash of its content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mass3d.files import file_hash, text_hash
from mass3d.io.datasets.channels import require_channels
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.dicom.files import DicomFile, opened
from mass3d.io.dicom.series import Series
from mass3d.io.dicom.volume import series_modality
from mass3d.io.formats.parsers import files_of
from mass3d.io.formats.regular_file import is_regular
from mass3d.io.read import resolved
from mass3d.volume.intensity import modality_by_name, modality_in


def source_hash(case: CaseFile) -> str:
    """SHA-256 of the content of a scan, wherever it lies.

    Of a DICOM series that is of all its files, but not of their names, and with the frames that
    are taken of each; of several channels over all of them; of other scans it is `image_hash`.
    Raises `DataError` for a channel that is not there.
    """
    if len(case.channels) > 1:
        require_channels(case)
        return text_hash([image_hash(channel.path) for channel in case.channels])
    return image_hash(case.path) if case.series is None else _series_hash(case.series)


def seen_hash(case: CaseFile) -> str:
    """As `source_hash`, and of what names say about the modality, as a scan is prepared by both.

    Files and folders are renamed to correct just that, and the content does not show it.
    """
    content, named = source_hash(case), named_modality(case)
    return text_hash([content, named]) if named else content


def named_modality(case: CaseFile) -> str:
    """What the names of files and their folders say of the modality; empty for nothing.

    Where a tag of DICOM or the name of a channel decides, they have no say.
    """
    if case.series is not None:
        named = [None if series_modality(case.series) else modality_by_name(case.series.path)]
    elif case.channels:
        named = [
            None if modality_in(channel.name) else modality_by_name(channel.path)
            for channel in case.channels
        ]
    else:
        named = [modality_by_name(case.path)]
    return ",".join(one or "" for one in named) if any(named) else ""


def image_hash(path: Path) -> str:
    """SHA-256 of an image file; of a header with the files that it names, of all of them."""
    parts = files_of(path)
    if len(parts) == 1:
        return file_hash(path)
    there = [part for part in parts if is_regular(part)]
    return text_hash([[os.path.relpath(part, path.parent), file_hash(part)] for part in there])


def scan_hash(path: Path) -> str:
    """As `source_hash`, of a scan that is named by its path as `read_volume` takes it."""
    found = resolved(path)
    return _series_hash(found) if isinstance(found, Series) else image_hash(found)


def _series_hash(series: Series) -> str:
    frames: dict[DicomFile, list[int]] = {}
    for part in series.slices:
        frames.setdefault(part.file, []).append(part.frame)
    hashes = [
        [hashlib.file_digest(stream, "sha256").hexdigest(), frames[file]]
        for file, stream in opened(sorted(frames))
    ]
    return text_hash(sorted(hashes))
