"""The optional label of a stored case: for evaluation and finetuning, never for pretraining.

It is written beside a finished case and is no part of the store's fingerprint. The record is
written last and removed first, so that it never speaks of an array that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from mass3d.errors import StoreError
from mass3d.files import file_hash, whole_file, write_json
from mass3d.store.arrays import write_array
from mass3d.store.records import broken
from mass3d.store.schema import (
    LABEL,
    LABEL_RECORD,
    SCHEMA,
    LabelRecord,
    Part,
    Source,
    case_folder,
    read_model,
)


def write_label_part(
    root: Path,
    case_id: str,
    label: NDArray[np.integer[Any]],
    structures: Mapping[str, int],
    *,
    source: Source,
    repairs: tuple[str, ...] = (),
) -> LabelRecord:
    """Write the label of a finished case; an older one is replaced.

    label (D, H, W): values on the grid of the stored image, at most 65535. structures: name ->
    value. Raises `OutputError` when the system does not let it be written.
    """
    assert label.min() >= 0, "a negative label value"
    folder = case_folder(root, case_id)
    discard_label(root, case_id)
    array = label.astype(np.uint8 if label.max() <= 255 else np.uint16)
    with whole_file(folder / LABEL) as partial:
        write_array(partial, array, pack=blosc2.Filter.NOFILTER)
    part = Part(bytes=(folder / LABEL).stat().st_size, sha256=file_hash(folder / LABEL))
    record = LabelRecord(
        schema_version=SCHEMA,
        source=source,
        structures=dict(structures),
        repairs=repairs,
        part=part,
    )
    write_json(folder / LABEL_RECORD, record.plain())
    return record


def discard_label(root: Path, case_id: str) -> None:
    """Remove the label of a case, if it has one."""
    for name in (LABEL_RECORD, LABEL):
        (case_folder(root, case_id) / name).unlink(missing_ok=True)


def read_label_record(folder: Path) -> LabelRecord | None:
    """Read label.json of a case folder; None without one. Raises `StoreError`."""
    path = folder / LABEL_RECORD
    return read_model(LabelRecord, path) if path.exists() else None


def require_label(folder: Path, record: LabelRecord | None) -> None:
    """Raise `StoreError` unless there is a label and its file has the recorded length."""
    path = folder / LABEL
    if record is None:
        raise StoreError(
            folder,
            found="no label",
            expected="a case that was prepared with its label",
            fix="Prepare the scans again with their labels; images and masks are kept.",
        )
    if not path.is_file() or path.stat().st_size != record.part.bytes:
        raise broken(path)


def require_label_content(folder: Path, record: LabelRecord) -> None:
    """Raise `StoreError` unless the file of the label has its recorded checksum."""
    require_label(folder, record)
    if file_hash(folder / LABEL) != record.part.sha256:
        raise broken(folder / LABEL)
