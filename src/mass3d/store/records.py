"""The record of a stored case and what it promises about the files beside it."""

from __future__ import annotations

from pathlib import Path

from mass3d.errors import StoreError
from mass3d.files import file_hash
from mass3d.store.schema import PARTS, RECORD, CaseRecord, read_stored


def read_record(folder: Path) -> CaseRecord:
    """Read case.json of a case folder. Raises `StoreError`."""
    record = read_stored(CaseRecord, folder / RECORD)
    if set(record.parts) != set(PARTS):
        raise broken(folder / RECORD)
    return record


def is_recorded(folder: Path, record: CaseRecord) -> bool:
    """Whether a case folder still holds what a record tells, which was read earlier."""
    try:
        return read_record(folder).plain() == record.plain()
    except StoreError:
        return False


def whole_record(folder: Path) -> CaseRecord | None:
    """The record of a case whose files are all there and as written, else None."""
    try:
        record = read_record(folder)
        if record.case_id != folder.name:
            return None
        for name in PARTS:
            require_size(folder, record, name)
            require_content(folder, record, name)
    except StoreError:
        return None
    return record


def require_size(folder: Path, record: CaseRecord, name: str) -> None:
    """Raise `StoreError` unless the file is there with its recorded length."""
    path = folder / name
    found = path.stat().st_size if path.is_file() else None
    if found != record.parts[name].bytes:
        raise StoreError(
            path,
            found="no file" if found is None else f"{found} bytes",
            expected=f"{record.parts[name].bytes} bytes",
            fix="Run the same mass3d prepare again; it redoes broken cases.",
        )


def require_content(folder: Path, record: CaseRecord, name: str) -> None:
    """Raise `StoreError` unless the file has its recorded checksum."""
    if file_hash(folder / name) != record.parts[name].sha256:
        raise broken(folder / name)


def broken(path: Path) -> StoreError:
    """The error of a file of a store that is not as it was written."""
    return StoreError(
        path,
        found="content that is broken or was changed",
        expected="the file as mass3d prepare wrote it",
        fix="Run the same mass3d prepare again; it redoes broken cases.",
    )
