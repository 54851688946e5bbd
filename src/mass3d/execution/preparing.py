"""One scan into a store: read, prepared, its masks proposed, and written whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mass3d.execution.faults import Fault
from mass3d.execution.proposals import (
    case_identities,
    engine_records,
    joined,
    mask_notes,
    propose_masks,
    renew_masks,
)
from mass3d.execution.summary import counted, first_of, warnings_told
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.source import named_modality, source_hash
from mass3d.io.names import plain_name
from mass3d.io.read import read_volume
from mass3d.masks.engines import Scan
from mass3d.masks.settings import EngineName
from mass3d.store.records import whole_record
from mass3d.store.schema import CaseRecord, IndexRecord, Source, StoreSettings, case_folder
from mass3d.store.writer import as_stored, discard_case, write_case
from mass3d.volume.doubts import doubts, require_scan
from mass3d.volume.preparation import prepare_volume
from mass3d.volume.spacing import is_too_small


@dataclass(frozen=True)
class Job:
    """A scan, and the store that it is for."""

    case: CaseFile
    root: Path
    settings: StoreSettings
    label_maps: bool


@dataclass(frozen=True)
class Done:
    """What became of it."""

    kept: bool
    num_masks: int
    repairs: tuple[str, ...]
    mask_notes: tuple[str, ...]
    too_small: bool


@dataclass(frozen=True)
class Others:
    """Cases of a store that are none of the inputs: they stay, and people are told."""

    cases: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)  # of them -> an input of equal content

    @classmethod
    def of(cls, index: IndexRecord, inputs: Iterable[CaseFile]) -> Others:
        """What a store holds beside the inputs, of which those that failed may be missing."""
        asked = {case.case_id for case in inputs}
        sources = {name: entry.source.sha256 for name, entry in index.cases.items()}
        ours = {content: name for name, content in sources.items() if name in asked}
        others = tuple(name for name in sources if name not in asked)
        same = {name: ours[sources[name]] for name in others if sources[name] in ours}
        return cls(others, same)

    def sentence(self) -> str:
        """Which they are, and which scans are in the store twice; or nothing."""
        if not self.cases:
            return ""
        kept = f"{counted(len(self.cases), 'case')} of earlier calls ({first_of(self.cases)})"
        told = f" The store also holds {kept}, not among these inputs."
        same = first_of([f"{name} is {ours}" for name, ours in self.copies.items()])
        twice = (
            f"{counted(len(self.copies), 'scan')} of them the store holds twice ({same}), as when"
            " files or folders were renamed; delete the folder of such a case in its folder cases,"
            " and repeat the command"
        )
        return told + warnings_told([twice] if self.copies else [])


def prepare_case(job: Job) -> Done:
    """Read, prepare, propose and write one case, unless exactly that was done before."""
    case, settings = job.case, job.settings
    source = Source(name=plain_name(case.path.name), sha256=source_hash(case))
    wanted = case_identities(settings.masks, case.case_id)
    old = whole_record(case_folder(job.root, case.case_id))
    if (
        old is None
        or old.source != source
        or old.settings != settings.fingerprint
        or not _is_still_named(old, case, settings)
    ):
        return _done(_prepare_anew(job, source, wanted))
    if {engine: done.identity for engine, done in old.engines.items()} != wanted:
        # other external masks or weights than before: the image stays
        return _done(renew_masks(job.root, old, settings, wanted))
    return _done(old, kept=True)


def settled_fault(root: Path, settings: StoreSettings, fault: Fault) -> Fault:
    """The fault of a case, of which the store keeps what is whole from an earlier call."""
    old = whole_record(case_folder(root, fault.where))
    if old is None or old.settings != settings.fingerprint:
        discard_case(root, fault.where)
        return fault
    kept = "; the store keeps this case as it was prepared before, which is older than its scan"
    return Fault(fault.where, f"{fault.message}{kept}")


def _is_still_named(old: CaseRecord, case: CaseFile, settings: StoreSettings) -> bool:
    """Whether names tell the modality that a case was prepared as, where they had a say in it.

    Folders are renamed to correct just that, and the content of the scan does not show it.
    """
    if settings.preparation.modality != "auto" or old.modality_from not in ("name", "histogram"):
        return True
    named = named_modality(case)
    return named == old.modality if named else old.modality_from == "histogram"


def _prepare_anew(job: Job, source: Source, wanted: Mapping[EngineName, str]) -> CaseRecord:
    case, settings = job.case, job.settings
    volume = read_volume(case.scan)
    require_scan(volume, label_maps=job.label_maps)
    prepared = prepare_volume(volume, settings.preparation)
    told = prepared.repairs + tuple(doubts(volume, prepared.modality))
    prepared = replace(prepared, repairs=told)
    scan = Scan(
        image=as_stored(prepared.image),
        grid=prepared.grid,
        spacing_mm=settings.preparation.spacing_mm,
        modality=prepared.modality,
        intensity=prepared.intensity,
    )
    found = propose_masks(
        job.root,
        case.case_id,
        scan,
        config=settings.masks,
        wanted=wanted,
        have={},
        where=case.path,
    )
    return write_case(
        job.root,
        case.case_id,
        prepared,
        joined(found),
        source=source,
        settings=settings,
        engines=engine_records(found),
    )


def _done(record: CaseRecord, *, kept: bool = False) -> Done:
    small = is_too_small(record.grid["shape"])
    return Done(kept, record.num_masks, record.repairs, mask_notes(record), small)
