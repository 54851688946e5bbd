"""New masks for a case that a store has already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mass3d.errors import StoreError
from mass3d.execution.proposals import case_identities, renew_masks
from mass3d.masks.settings import MaskConfig
from mass3d.store.records import whole_record
from mass3d.store.schema import StoreSettings, case_folder


@dataclass(frozen=True)
class Job:
    """A case of a store that is to have the masks of some settings."""

    root: Path
    case_id: str
    settings: StoreSettings
    named: MaskConfig  # the engines that were asked for now


def engines_of_both(old: MaskConfig, new: MaskConfig) -> MaskConfig:
    """The engines of both, those that both have with their new settings."""
    engines = dict.fromkeys((*old.engines, *new.engines))
    settings = {name: getattr(new if name in new.engines else old, name) for name in engines}
    return MaskConfig.model_validate({"engines": tuple(engines), **settings})


def propose_case(job: Job) -> bool:
    """Whether the case got new masks; false when it has those of the settings already."""
    folder = case_folder(job.root, job.case_id)
    record = whole_record(folder)
    if record is None:
        raise StoreError(
            folder,
            found="a broken case",
            expected="a case as mass3d prepare wrote it",
            fix="Run the same mass3d prepare again; it redoes broken cases.",
        )
    # engines that were not named are taken as they are: their files may be gone
    have = {engine: done.identity for engine, done in record.engines.items()}
    named = case_identities(job.named, job.case_id)
    wanted = {name: named.get(name) or have[name] for name in job.settings.masks.engines}
    if record.settings == job.settings.fingerprint and have == wanted:
        return False
    renew_masks(job.root, record, job.settings, wanted)
    return True
