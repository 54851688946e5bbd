"""`mass3d segment`: find the structures of a task, or of a finetuned model, in every scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import Field

from mass3d.config import Config, Device, LabelMaps, Scans
from mass3d.errors import OutputError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.pool import run_cases
from mass3d.execution.progress import TellOnce
from mass3d.execution.summary import (
    Report,
    counted,
    few,
    first_of,
    in_short,
    warnings_told,
    write_provenance,
)
from mass3d.files import file_hash, only_writer
from mass3d.io.datasets.channels import read_channels_of
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.priors import prior_of, require_one_prior
from mass3d.io.datasets.source import image_hash, named_modality, source_hash
from mass3d.io.dicom.segmentation import require_highdicom, require_writable, write_segmentation
from mass3d.io.read import read_label
from mass3d.io.write import write_label
from mass3d.pages.segment import PAGE, write_segment_page
from mass3d.pages.viewed import show_found
from mass3d.transfer.knowledge import Knowledge, load_knowledge
from mass3d.transfer.maps import scratch_maps, write_maps
from mass3d.transfer.nearest import References, require_embeddings
from mass3d.transfer.references import require_several, volumes_ml
from mass3d.transfer.results import Entry, Index, ResultsFolder, begun_results, never_found
from mass3d.volume.doubts import require_scan


class SegmentConfig(Config):
    """Settings of `mass3d segment`."""

    inputs: Scans
    task: Path | None = Field(default=None, examples=["liver.task"])
    """Task file. A finetuned model needs none; with a task of the same structures the two are
    combined."""
    output: Path = Field(examples=["found"])
    """Folder for <case>.nii.gz on the exact grid of each scan."""
    model: Path | None = Field(default=None, examples=["run"])
    """Run folder or weights file; by default where it was when the task was made. A finetuned model
    segments its own structures, and is combined with a task if one is given."""
    alignment: bool = True
    """Align the references to each scan; if off, the network alone predicts, as it does where no
    alignment is accepted."""
    prior: Path | None = Field(default=None, examples=["rough.nii.gz"])
    """Label map of one scan, or a folder of <case> label maps, with the values of the task;
    replaces the labels propagated from the references."""
    references: References = "all"
    """References of the task used for each scan: all, or the given number of those most similar to
    it by the network's features."""
    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Overlap of neighbouring windows, as a fraction; more is smoother and slower."""
    probabilities: bool = False
    """Write probability maps, too: probabilities/<case>/<structure>.nii.gz."""
    agreement: bool = False
    """Write a map of how many references agree, too: agreement/<case>.nii.gz."""
    dicom_seg: bool = False
    """Write a DICOM segmentation of every series, too: <case>.dcm; needs highdicom."""
    label_maps: LabelMaps = False
    device: Device = "auto"


@dataclass(frozen=True)
class SegmentReport(Report):
    """What became of every scan."""

    output: Path
    volumes_ml: dict[str, dict[str, float]]  # case -> structure -> millilitres
    warnings: tuple[str, ...] = ()  # sentences about what is odd, but no fault
    faults: tuple[Fault, ...] = ()
    not_aligned: tuple[str, ...] = ()  # cases to which no reference could be aligned

    def summary(self) -> str:
        """One paragraph for people."""
        return f"{self.told(f' into {self.output}')} Look at {self.output / PAGE}."

    def told(self, place: str = "") -> str:
        """What was done, and what is odd; nothing of where, but for the words of `place`."""
        scans = counted(len(self.volumes_ml), "scan")
        first = f"Segmented {scans}{place}.{warnings_told(self.warnings)}"
        if not self.not_aligned:
            return first
        return (
            f"{first} No reference could be aligned to {first_of(self.not_aligned)}: the "
            "network alone segmented there, which is less certain."
        )


def run(config: SegmentConfig) -> SegmentReport:
    """Segment every scan; a scan that cannot be segmented becomes a fault and the others go on.

    Scans that the same task with the same overlap has already segmented into the same folder are
    not done again, as long as neither scan nor label map has changed. Raises `ModelError` when
    task and model do not fit, `ConfigError` when the folder holds anything but such results.
    """
    given = (*config.inputs, config.task, config.model, config.prior)
    require_own_folder(config.output, "segment", inputs=given)
    if config.dicom_seg:
        require_highdicom()
    keep_freed_memory()
    known = load_knowledge(config.task, config.model, prior=config.prior, device=config.device)
    cases = known.cases_in(config.inputs, exclude=config.output)
    require_one_prior(config.prior, scans=len(cases))
    require_embeddings(config.task or config.model, known.nearest, config.references)
    if config.agreement:
        require_several(config.task or config.model, known.task)
    with only_writer(config.output, OutputError):
        folder = ResultsFolder(config.output, begun_results(config.output, _wanted(config, known)))
        told = {"structures": known.targets.plain(), **known.told}
        write_provenance(config.output, "segment", config, task=known.fingerprint, **told)
        faults = _segment_all(cases, _Work(known, config, folder))
        folder.finish()
        report = _report(config, known, folder, cases, faults)
        write_segment_page(
            folder,
            known.targets,
            known.ranges,
            summary=report.told(),
            alone=frozenset(_alone(config, known, folder.done)),
            faults=faults,
            scans={case.case_id: case for case in cases},
        )
    return report


def _wanted(config: SegmentConfig, known: Knowledge) -> Index:
    return Index(
        task=known.fingerprint,
        overlap=config.overlap,
        alignment=config.alignment,
        references=config.references,
        probabilities=config.probabilities,
        agreement=config.agreement,
        dicom_seg=config.dicom_seg,
    )


def _report(
    config: SegmentConfig,
    known: Knowledge,
    folder: ResultsFolder,
    cases: Sequence[CaseFile],
    faults: tuple[Fault, ...],
) -> SegmentReport:
    done = {case.case_id: folder.done.get(case.case_id) for case in cases}
    entries = {name: entry for name, entry in done.items() if entry}
    volumes = {name: entry.volumes_ml for name, entry in entries.items()}
    notes = {name: [*entry.doubts, *entry.unusual()] for name, entry in entries.items()}
    return SegmentReport(
        config.output,
        volumes,
        (*known.odd, *in_short(notes), *few(never_found(known.structures, volumes))),
        faults,
        _alone(config, known, entries),
    )


def _alone(config: SegmentConfig, known: Knowledge, done: Mapping[str, Entry]) -> tuple[str, ...]:
    """The cases that the network answered alone, though references were to be aligned to them."""
    if not config.alignment or known.task is None or known.task.oneshot is None:
        return ()
    return tuple(name for name in sorted(done) if done[name].without_references)


@dataclass(frozen=True)
class _Work:
    known: Knowledge
    config: SegmentConfig
    folder: ResultsFolder
    warn: TellOnce = field(default_factory=TellOnce)


def _segment_all(cases: Sequence[CaseFile], work: _Work) -> tuple[Fault, ...]:
    jobs = {case.case_id: case for case in cases}
    return faults_of(run_cases(partial(_segment_one, work), jobs, workers=1, title="segment"))


def _segment_one(work: _Work, case: CaseFile) -> None:
    """Segment a scan, unless exactly that was done before."""
    prior = prior_of(work.config.prior, case.case_id)
    source, named = source_hash(case), named_modality(case)
    begun = Entry(source=source, named=named, prior=image_hash(prior) if prior else "")
    if work.folder.keeps(case.case_id, begun):
        return
    work.folder.begin(case.case_id, begun)
    work.folder.put(case.case_id, _segment_scan(work, case, prior, begun))


def _segment_scan(work: _Work, case: CaseFile, prior: Path | None, begun: Entry) -> Entry:
    """Segment one scan into the folder; returns what is known of it then."""
    known, config, folder = work.known, work.config, work.folder
    channels = read_channels_of(case)
    volume = channels[0]  # whose grid the results have
    for one in channels:
        require_scan(one, label_maps=config.label_maps)
    names = known.targets.header
    if config.dicom_seg:
        require_writable(case.scan, volume.source, names)
    given = None if prior is None else read_label(prior, like=volume)
    doubted = known.doubts(*channels)
    work.warn(case.case_id, doubted)  # before the minutes of work
    structures = known.structures
    wanted = len(structures) if config.probabilities else 0
    agreed = config.agreement and given is None
    with scratch_maps(config.output, volume.grid.shape, wanted, agreement=agreed) as maps:
        answer = known.segmenter.answer(
            channels,
            known.task,
            overlap=config.overlap,
            alignment=config.alignment,
            prior=given,
            maps=maps,
            references=config.references,
        )
        filled = answer.filled(maps)
        written = write_maps(config.output, case.case_id, filled, structures, volume.source)
    write_label(folder.label_map(case.case_id), answer.labels, volume.source, names=names)
    if config.dicom_seg:
        file = folder.segmentation(case.case_id)
        write_segmentation(file, answer.labels, volume.source, case.scan, names)
        written[file.name] = file_hash(file)
    volumes = volumes_ml(answer.labels, known.targets.members, volume.grid.voxel_ml)
    told = {
        "result": file_hash(folder.label_map(case.case_id)),
        "volumes_ml": volumes,
        **answer.told(),
        "doubts": (*doubted, *answer.odd),
        "maps": written,
        "odd_volumes": known.ranges.odd_volumes(volumes) if known.ranges else (),
    }
    entry = begun.model_copy(update=told)
    show_found(
        folder, case.case_id, entry, scan=volume, labels=answer.labels, targets=known.targets
    )
    return entry
