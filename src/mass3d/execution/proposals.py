"""Masks for the cases of a store: what `prepare` and `masks` share.

Here the engines meet the files that they may read: no engine looks for files by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mass3d.errors import ConfigError, DataError
from mass3d.execution.summary import cases_sentence
from mass3d.io.datasets.mask_files import find_mask_files, mask_files_id, require_folders
from mass3d.io.read import read_label
from mass3d.masks.engines import Found, Scan, identities, propose
from mass3d.masks.layers import MaskSet, concatenate
from mass3d.masks.settings import EngineName, MaskConfig
from mass3d.store.reader import StoredCase
from mass3d.store.schema import CaseRecord, EngineRecord, StoreSettings, case_folder
from mass3d.store.writer import replace_masks, work_folder
from mass3d.volume.volume import Volume


def require_usable(config: MaskConfig) -> None:
    """Raise `ConfigError` or `ModelError` when an engine lacks its folders, weights or library.

    Folders and weights that no engine would use are refused too.
    """
    given = {"external": config.external.folders, "sam2": config.sam2.checkpoint}
    for engine, value in given.items():
        if value and engine not in config.engines:
            raise ConfigError(
                f"masks.{engine}",
                found=f"no engine {engine} among {', '.join(config.engines)}",
                expected="the engine that uses it",
                fix=f"Name the engine {engine}, too.",
                setting="masks.engines",
            )
    if "external" in config.engines:
        require_folders(config.external.folders)
    identities(config, files="")


def default_workers(config: MaskConfig | None, *, scheduler: str | None) -> int | None:
    """One where every worker here would load SAM2; None leaves the choice to who runs the cases."""
    here = scheduler is None
    return 1 if here and config is not None and "sam2" in config.engines else None


def case_identities(config: MaskConfig, case_id: str) -> dict[EngineName, str]:
    """What decides the masks of a case beside its scan, as a hash for every engine."""
    if "external" not in config.engines:
        return identities(config, files="")
    files = find_mask_files(config.external.folders, case_id)
    return identities(config, files=mask_files_id(files))


def propose_masks(
    root: Path,
    case_id: str,
    scan: Scan,
    *,
    config: MaskConfig,
    wanted: Mapping[EngineName, str],
    have: Mapping[EngineName, Found],
    where: Path,
) -> dict[EngineName, Found]:
    """The masks of a case by engine; what `have` holds of the wanted identity is kept.

    Raises `DataError` when no engine finds any; `where` is what it is then told about.
    """

    def files() -> Iterator[tuple[str, Volume]]:
        for path in find_mask_files(config.external.folders, case_id):
            yield path.name, read_label(path)

    work = work_folder(root, case_id)
    found = propose(scan, config, wanted=wanted, have=have, files=files, work=work)
    if not any(len(one.masks) for one in found.values()):
        raise _no_mask(where, case_id, config, found)
    return found


def renew_masks(
    root: Path, record: CaseRecord, settings: StoreSettings, wanted: Mapping[EngineName, str]
) -> CaseRecord:
    """Give a whole case the masks of these settings. Raises `DataError` when there are none."""
    folder = case_folder(root, record.case_id)
    case = StoredCase.of(folder, record)
    masks = case.masks()
    have: dict[EngineName, Found] = {
        engine: Found(
            masks.keep(np.flatnonzero(masks.table.engine == engine)),
            record.engines[engine].identity,
            record.engines[engine].notes,
        )
        for engine in settings.masks.engines
        if engine in record.engines
    }
    scan = Scan(
        image=case.read_image(),
        grid=case.grid,
        spacing_mm=settings.preparation.spacing_mm,
        modality=record.modality,
        intensity=case.intensity,
    )
    found = propose_masks(
        root,
        record.case_id,
        scan,
        config=settings.masks,
        wanted=wanted,
        have=have,
        where=folder,
    )
    return replace_masks(root, record, joined(found), settings, engines=engine_records(found))


def joined(found: Mapping[EngineName, Found]) -> MaskSet:
    """The layers of all engines, one after the other."""
    return concatenate([one.masks for one in found.values()])


def engine_records(found: Mapping[EngineName, Found]) -> dict[str, EngineRecord]:
    """What the record of a case tells about its engines."""
    return {
        engine: EngineRecord(identity=one.identity, notes=one.notes)
        for engine, one in found.items()
    }


def mask_notes(record: CaseRecord) -> tuple[str, ...]:
    """What the engines of a case could not take, in words."""
    return tuple(note for engine in record.engines.values() for note in engine.notes)


def notes_sentence(notes: Mapping[str, tuple[str, ...]]) -> str:
    """In how many cases masks could not be taken, and the first of them in words; or nothing."""
    return cases_sentence("Masks to look at in {}", "case", notes)


def _no_mask(
    where: Path, case_id: str, config: MaskConfig, found: Mapping[EngineName, Found]
) -> DataError:
    notes = "; ".join(note for one in found.values() for note in one.notes)
    told = f"no mask ({notes})" if notes else "no mask"
    if config.engines == ("external",):
        folders = ", ".join(str(folder) for folder in config.external.folders)
        return DataError(
            where,
            found=told,
            expected=f"{case_id}.nii.gz or a folder {case_id} with masks in {folders}",
            fix="Name the masks by case id, or let another engine find some, such as hierarchy.",
            setting="masks.engines",
        )
    return DataError(
        where,
        found=told,
        expected="an image with visible structures",
        fix="Look at the scan; if it is fine, try a finer spacing_mm or other mask settings.",
    )
