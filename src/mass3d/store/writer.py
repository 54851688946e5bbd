"""Write a store so that a reader sees whole cases only, whenever the process is killed.

A case is written into a hidden neighbour folder, flushed to disk and renamed; the index is
written unfinished first and finished last. Whoever writes holds a lock on the folder, which the
system releases when the process dies.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import blosc2
import numpy as np
from numpy.typing import NDArray

from mass3d.config import differences
from mass3d.errors import ConfigError, DataError, StoreError
from mass3d.files import LOCK, file_hash, json_bytes, only_writer, write_json, writing
from mass3d.masks.layers import MaskSet
from mass3d.store.arrays import table_bytes, write_array
from mass3d.store.records import read_record, whole_record
from mass3d.store.schema import (
    CASES,
    IMAGE,
    INDEX,
    LAYERS,
    PARTS,
    RECORD,
    SCHEMA,
    TABLE,
    CaseEntry,
    CaseRecord,
    EngineRecord,
    IndexRecord,
    IntensityRecord,
    Part,
    Source,
    StoreSettings,
    case_folder,
    is_plain_name,
    read_index,
)
from mass3d.volume.preparation import Prepared

PARTIAL = ".partial-"
WORK = ".work"  # what an engine has finished of a case; outlives a kill, goes when the case is done


def as_stored(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image (D, H, W) with the precision it has in a store; masks are proposed on this."""
    return image.astype(np.float16).astype(np.float32)


@contextmanager
def open_for_writing(root: Path) -> Iterator[None]:
    """Hold the only right to write into the store folder, made if need be; clear leftovers.

    Raises `ConfigError` when the folder holds something else, `StoreError` when another process
    writes there, `OutputError` when it cannot be written to.
    """
    _require_free(root)
    with only_writer(root, StoreError):
        with writing(root):
            (root / CASES).mkdir(exist_ok=True)
        _clear_leftovers(root)
        try:
            yield
        finally:
            _clear_leftovers(root)  # of worker processes that died, or were stopped for an error


def _clear_leftovers(root: Path) -> None:
    for leftover in [*root.glob(f"{PARTIAL}*"), *(root / CASES).glob(f"{PARTIAL}*")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def begin(root: Path, settings: StoreSettings) -> None:
    """Mark the store as being written with these settings.

    Raises `ConfigError`, naming the setting, when the folder holds cases of other settings.
    """
    found = existing_settings(root)
    different = differences(settings.content(), found.content()) if found else []
    if different:
        name, ours, theirs = different[0]
        also = "".join(f", {other}" for other, *_ in different[1:])
        raise ConfigError(
            root,
            found=f"cases prepared with {name} = {theirs}",
            expected=f"{name} = {ours}" + (f" (also different: {also[2:]})" if also else ""),
            fix="Use the same settings, or choose another output.",
            setting="output",
        )
    mark_unfinished(root, settings)


def mark_unfinished(root: Path, settings: StoreSettings) -> None:
    """Write an index without cases: readers are told that the store is being written."""
    write_index(root, IndexRecord.make(settings, {}, finished=False))


def existing_settings(root: Path) -> StoreSettings | None:
    """The settings of the store in a folder, finished or not; None where they bind nobody.

    That is where there is no store, or none of its cases is whole: settings that a call without
    any success has left behind were decided by no scan, and are settled anew.
    """
    settings = read_index(root).settings if (root / INDEX).exists() else None
    folders = (case_folder(root, name) for name in case_names(root))
    return settings if any(whole_record(folder) is not None for folder in folders) else None


def case_names(root: Path) -> list[str]:
    """The cases that lie in a store, whole or not, and whether its index has them or not."""
    return sorted(path.name for path in (root / CASES).glob("*") if is_plain_name(path.name))


def collect_index(
    root: Path, settings: StoreSettings, *, whole: Collection[str] = ()
) -> IndexRecord:
    """The finished index of all whole cases of these settings, not yet written.

    whole: cases that are known to be whole, of which only the records are read: all bytes of
    100,000 cases are more than one process should read.
    """
    cases = {}
    for name in case_names(root):
        folder = case_folder(root, name)
        record = read_record(folder) if name in whole else whole_record(folder)
        if record is not None and record.settings == settings.fingerprint:
            cases[name] = CaseEntry(source=record.source, record_sha256=file_hash(folder / RECORD))
    return IndexRecord.make(settings, cases, finished=True)


def write_index(root: Path, index: IndexRecord) -> None:
    """Write store.json; a finished one is the last thing that makes a store whole."""
    write_json(root / INDEX, index.plain())
    _flush(root)
    if index.finished and (root / WORK).exists() and not any((root / WORK).iterdir()):
        (root / WORK).rmdir()


def write_case(
    root: Path,
    case_id: str,
    prepared: Prepared,
    masks: MaskSet,
    *,
    source: Source,
    settings: StoreSettings,
    engines: Mapping[str, EngineRecord] | None = None,
) -> CaseRecord:
    """Write one case, whole or not at all; an older case of the same id is replaced.

    engines: what each has done for it; without, none of the masks is ever kept for its engine.
    Raises `DataError` when the image cannot be stored or the id is no name for a folder,
    `OutputError` when the system does not let it be written.
    """
    assert masks.shape == prepared.image.shape, (masks.shape, prepared.image.shape)
    _require_storable(case_id, prepared.image)
    intensity = prepared.intensity
    record = CaseRecord(
        schema_version=SCHEMA,
        case_id=case_id,
        source=source,
        settings=settings.fingerprint,
        grid=prepared.grid.plain(),
        source_grid=prepared.source.plain(),
        modality=prepared.modality,
        modality_from=prepared.modality_from,
        intensity=IntensityRecord(
            low=intensity.low, high=intensity.high, mean=intensity.mean, std=intensity.std
        ),
        repairs=prepared.repairs,
        num_layers=len(masks.ranks),
        num_masks=len(masks),
        engines=dict(engines or {}),
        parts={},
    )

    def fill(folder: Path) -> None:
        image = prepared.image.astype(np.float16)
        write_array(folder / IMAGE, image, pack=blosc2.Filter.SHUFFLE)

    return _write_folder(root, record, masks, fill)


def replace_masks(
    root: Path,
    record: CaseRecord,
    masks: MaskSet,
    settings: StoreSettings,
    *,
    engines: Mapping[str, EngineRecord] | None = None,
) -> CaseRecord:
    """Write a case anew with other masks on the same image, whole or not at all."""
    old = case_folder(root, record.case_id)
    changed = record.model_copy(
        update={
            "schema_version": SCHEMA,
            "settings": settings.fingerprint,
            "num_layers": len(masks.ranks),
            "num_masks": len(masks),
            "engines": dict(engines or {}),
        }
    )

    def fill(folder: Path) -> None:
        shutil.copyfile(old / IMAGE, folder / IMAGE)

    return _write_folder(root, changed, masks, fill)


def work_folder(root: Path, case_id: str) -> Path:
    """A folder for the unfinished masks of a case, made by whoever uses it.

    It stays when the process is killed, and goes when the case is written.
    """
    return root / WORK / case_id


def discard_case(root: Path, case_id: str) -> None:
    """Remove a case if it is there, so that what is left is never half a case."""
    folder = case_folder(root, case_id)
    # unlike a path's own `exists`, this is False for a name that no folder can have
    if is_plain_name(case_id) and os.path.exists(folder):  # noqa: PTH110
        shutil.rmtree(_set_aside(folder))


def _write_folder(
    root: Path, record: CaseRecord, masks: MaskSet, fill: Callable[[Path], None]
) -> CaseRecord:
    target = case_folder(root, record.case_id)
    partial = target.with_name(f"{PARTIAL}{os.getpid()}-{record.case_id}")
    with writing(target):
        partial.mkdir()
        try:
            fill(partial)
            write_array(partial / LAYERS, masks.ranks, pack=blosc2.Filter.NOFILTER)  # 3 % smaller
            (partial / TABLE).write_bytes(table_bytes(masks.table))
            parts = {
                name: Part(bytes=(partial / name).stat().st_size, sha256=file_hash(partial / name))
                for name in PARTS
            }
            record = record.model_copy(update={"parts": parts})
            (partial / RECORD).write_bytes(json_bytes(record.plain()))
            for path in (*partial.iterdir(), partial):
                _flush(path)
            if target.exists():
                shutil.rmtree(_set_aside(target))
            partial.rename(target)
            _flush(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(work_folder(root, record.case_id), ignore_errors=True)
    return record


def _set_aside(folder: Path) -> Path:
    aside = folder.with_name(f"{PARTIAL}{os.getpid()}-old-{folder.name}")
    return folder.rename(aside)


def _require_storable(case_id: str, image: NDArray[np.float32]) -> None:
    if not is_plain_name(case_id):
        raise DataError(
            f"case {case_id!r}",
            found="an id that is no name for a folder",
            expected="an id without slashes that does not start with a dot",
            fix="Rename the file.",
        )
    most = float(np.finfo(np.float16).max)
    if not (np.abs(image) <= most).all():  # false for NaN too
        raise DataError(
            f"case {case_id}",
            found="normalised intensities that are not finite or beyond 16-bit floats",
            expected="a few standard deviations around 0",
            fix="Look at the scan; its intensities may be corrupt.",
        )


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _require_free(root: Path) -> None:
    """Raise `ConfigError` unless the folder is new, empty or a store."""
    if not root.exists() or (root / INDEX).exists():
        return
    if not root.is_dir():
        raise _not_a_store(root, "a file")
    content = [*root.iterdir(), *(root / CASES).glob("*")]
    strange = sorted(
        path.name
        for path in content
        if path.name not in (CASES, WORK, LOCK) and not path.name.startswith(PARTIAL)
    )
    if strange:
        raise _not_a_store(root, f"a folder with other files ({strange[0]})")


def _not_a_store(root: Path, found: str) -> ConfigError:
    return ConfigError(
        root,
        found=found,
        expected="a new or empty folder, or a store to go on with",
        fix="Choose another output.",
        setting="output",
    )
