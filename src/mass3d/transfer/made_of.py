"""What a task file keeps of the files that a reference was read from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from mass3d.config import Config
from mass3d.io.datasets.source import image_hash, scan_hash
from mass3d.io.names import plain_name

FileName = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MadeOf(Config):
    """Names and content of two files; not where they lay, as task files are passed on."""

    scan: FileName
    """Name of the scan's file, or of the folder or archive of a DICOM series."""
    scan_sha256: Digest
    """Of its content, as `segment` has it of scans."""
    label: FileName
    """Name of the label map's file."""
    label_sha256: Digest
    """Of its content."""

    @classmethod
    def of(cls, scan: Path, label: Path) -> MadeOf:
        """Read both files. Raises `DataError` where a series cannot be read."""
        return cls(
            scan=_name(scan),
            scan_sha256=scan_hash(scan),
            label=_name(label),
            label_sha256=image_hash(label),
        )


def made_of(scans: Sequence[Any], labels: Sequence[Any]) -> tuple[MadeOf | None, ...]:
    """The files of each reference; None where one of the two was not given as a path."""
    return tuple(
        MadeOf.of(Path(scan), Path(label))
        if isinstance(scan, str | Path) and isinstance(label, str | Path)
        else None
        for scan, label in zip(scans, labels, strict=True)
    )


def same_scans(names: Sequence[str], files: Sequence[MadeOf | None]) -> Iterator[str]:
    """A sentence for each reference whose scan is that of an earlier one, under whatever name."""
    first: dict[str, str] = {}
    for name, one in zip(names, files, strict=True):
        if one is None:
            continue
        if one.scan_sha256 in first:
            yield (
                f"{name} is the same scan as {first[one.scan_sha256]}: it counts twice, and the "
                "Dice of each from the others is too good"
            )
        first.setdefault(one.scan_sha256, name)


def _name(path: Path) -> str:
    return plain_name(path.absolute().name) or "/"
