"""`mass3d segment`: find the structures of a task, or of a finetuned model, in every scan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mass3d.config import Config, Device, LabelMaps, Scans
from mass3d.errors import ConfigError, DataError, OutputError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.pool import run_cases
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.files import file_hash, only_writer, read_json, write_json
from mass3d.io.datasets.cohort import CaseFile, find_cohort, find_label
from mass3d.io.datasets.source import image_hash, source_hash
from mass3d.io.read import read_label, read_volume
from mass3d.io.write import write_label
from mass3d.transfer.knowledge import Knowledge, load_knowledge
from mass3d.volume.doubts import doubts, require_scan
from mass3d.volume.preparation import prepared_modality

CASES = "cases.json"


class SegmentConfig(Config):
    """Settings of `mass3d segment`."""

    inputs: Scans
    task: Path | None = Field(default=None, examples=["liver.task"])
    """Task file; a finetuned model needs none."""
    output: Path = Field(examples=["found"])
    """Folder for <case>.nii.gz on the exact grid of each scan."""
    model: Path | None = Field(default=None, examples=["run"])
    """Run folder; by default where it was when the task was made. Of a finetuned run, its own
    structures are found."""
    alignment: bool = True
    """Align the references to each scan; without, the network alone answers, as it does where no
    alignment is believed."""
    prior: Path | None = Field(default=None, examples=["rough.nii.gz"])
    """Label map of one scan, or a folder of <case> label maps, with the values of the task: takes
    the place of what is carried over from the references."""
    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Share of a window that its neighbours see too; more is smoother and slower."""
    label_maps: LabelMaps = False
    device: Device = "auto"


class Entry(Config):
    """What is known of one segmented scan."""

    source: str
    """SHA-256 of the scan."""
    result: str = ""
    """SHA-256 of the label map; empty while it is being written."""
    prior: str = ""
    """SHA-256 of the label map that was given for it, if any."""
    volumes_ml: dict[str, float] = Field(default_factory=dict)
    """Structure -> millilitres."""
    method: str = ""
    """How it was segmented: `network`, `alignment`, `prior` or `finetuned`."""
    similarity: tuple[float, ...] = ()
    """Of each aligned reference."""
    doubts: tuple[str, ...] = ()
    """What cannot be right about the scan."""


class Index(Config):
    """cases.json: what the label maps in a folder were made with, and from."""

    task: str
    """Fingerprint of the task, which names the model, too; or of the finetuned model."""
    overlap: float
    alignment: bool
    cases: dict[str, Entry] = Field(default_factory=dict)


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
        told = "".join(f" Warning: {warning}." for warning in self.warnings)
        first = f"Segmented {counted(len(self.volumes_ml), 'scan')} into {self.output}.{told}"
        if not self.not_aligned:
            return first
        return (
            f"{first} No reference could be aligned to {', '.join(self.not_aligned)}: what the "
            "network says alone is less certain there."
        )


def run(config: SegmentConfig) -> SegmentReport:
    """Segment every scan; a scan that cannot be segmented becomes a fault and the others go on.

    Scans that the same task with the same overlap has already segmented into the same folder are
    not done again, as long as neither scan nor label map has changed. Raises `ModelError` when
    task and model do not fit, `ConfigError` when the folder holds anything but such results.
    """
    given = (*config.inputs, config.task, config.model, config.prior)
    require_own_folder(config.output, "segment", inputs=given)
    keep_freed_memory()
    known = load_knowledge(config.task, config.model, prior=config.prior, device=config.device)
    cases = find_cohort(config.inputs, exclude=config.output).cases
    _require_one_prior(config, cases)
    config.output.mkdir(parents=True, exist_ok=True)
    with only_writer(config.output, OutputError):
        folder = _Folder(config.output, _begin(config, known))
        write_provenance(config.output, "segment", config, task=known.fingerprint)
        faults = _segment_all(cases, _Work(known, config, folder))
        folder.save()
    return _report(config, known, folder, cases, faults)


def _report(
    config: SegmentConfig,
    known: Knowledge,
    folder: _Folder,
    cases: Sequence[CaseFile],
    faults: tuple[Fault, ...],
) -> SegmentReport:
    done = {case.case_id: folder.done.get(case.case_id) for case in cases}
    entries = {name: entry for name, entry in done.items() if entry}
    volumes = {name: entry.volumes_ml for name, entry in entries.items()}
    part = known.task.oneshot if known.task else None
    hoped = config.alignment and config.prior is None and part is not None
    alone = [name for name in sorted(entries) if entries[name].method == "network"]
    doubted = [f"{name}: {doubt}" for name, entry in entries.items() for doubt in entry.doubts]
    return SegmentReport(
        config.output,
        volumes,
        (*doubted, *_never_found(known.structures, volumes)),
        faults,
        tuple(alone) if hoped else (),
    )


@dataclass(frozen=True)
class _Folder:
    """The results in a folder, and the file that lists them."""

    path: Path
    index: Index
    entries: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entries.update(self.index.cases)

    @property
    def done(self) -> dict[str, Entry]:
        """The finished ones."""
        return {name: entry for name, entry in self.entries.items() if entry.result}

    def put(self, case_id: str, entry: Entry) -> None:
        """Note what is known of a case now."""
        self.entries[case_id] = entry
        self.save()

    def save(self) -> None:
        """Write the list of results."""
        index = self.index.model_copy(update={"cases": self.entries})
        write_json(self.path / CASES, index.plain())


@dataclass(frozen=True)
class _Work:
    known: Knowledge
    config: SegmentConfig
    folder: _Folder


def _segment_all(cases: Sequence[CaseFile], work: _Work) -> tuple[Fault, ...]:
    jobs = {case.case_id: case for case in cases}
    return faults_of(run_cases(partial(_segment_one, work), jobs, workers=1, title="segment"))


def _segment_one(work: _Work, case: CaseFile) -> None:
    """Segment a scan, unless exactly that was done before."""
    target = work.folder.path / f"{case.case_id}.nii.gz"
    prior = _prior_of(work.config, case)
    begun = Entry(source=source_hash(case), prior=image_hash(prior) if prior else "")
    old = work.folder.entries.get(case.case_id)
    if target.exists() and _is_kept(target, begun, old):
        return
    work.folder.put(case.case_id, begun)
    found = segment_case(work.known, case, target, config=work.config, prior=prior)
    work.folder.put(case.case_id, begun.model_copy(update=found | {"result": file_hash(target)}))


def _is_kept(target: Path, begun: Entry, old: Entry | None) -> bool:
    """Whether the label map is the finished one of this scan and prior.

    One that is being written, damaged, or of the scan as it was before is made again. Raises
    `DataError` for a file of somebody else, such as a label map corrected by hand.
    """
    if old is not None and not old.result:
        return False
    if old is not None and file_hash(target) == old.result:
        return (old.source, old.prior) == (begun.source, begun.prior)
    try:
        read_label(target)
    except DataError:
        if old is not None:
            return False
    raise DataError(
        target,
        found="a file that is not as mass3d wrote it",
        expected="no file, or the label map that was written here",
        fix="Move it elsewhere to have the scan segmented again.",
    )


def _never_found(
    structures: Iterable[str], volumes: Mapping[str, Mapping[str, float]]
) -> Iterator[str]:
    """A sentence for every structure that no scan shows."""
    for name in structures if volumes else ():
        if not any(found.get(name) for found in volumes.values()):
            yield f"{name} was found in none of {counted(len(volumes), 'scan')}"


def segment_case(
    known: Knowledge,
    case: CaseFile,
    target: Path,
    *,
    config: SegmentConfig,
    prior: Path | None = None,
) -> dict[str, Any]:
    """Segment one scan into `target`; returns how, and the volume of every structure in ml."""
    volume = read_volume(case.scan)
    require_scan(volume, label_maps=config.label_maps)
    given = None if prior is None else read_label(prior, like=volume)
    modality = prepared_modality(volume, known.segmenter.trained.preparation)
    answer = known.segmenter.answer(
        volume, known.task, overlap=config.overlap, alignment=config.alignment, prior=given
    )
    write_label(target, answer.labels, volume.source)
    return {
        "volumes_ml": _volumes_ml(answer.labels, known.structures, volume.grid.voxel_ml),
        "method": answer.method,
        "similarity": tuple(round(one, 4) for one in answer.similarity),
        "doubts": tuple(doubts(volume, modality, known.modalities)),
    }


def _prior_of(config: SegmentConfig, case: CaseFile) -> Path | None:
    """The label map that takes the place of what is carried over to a case, if any is given."""
    given = config.prior
    if given is None:
        return None
    found = find_label(given, case.case_id) if given.is_dir() else given
    if found is None or not found.exists():
        raise DataError(
            given,
            found=f"no label map of the case {case.case_id!r}",
            expected="a label map for every scan",
            fix="Add it, or leave the scan out.",
        )
    return found


def _require_one_prior(config: SegmentConfig, cases: Sequence[CaseFile]) -> None:
    """Raise `ConfigError` when one label map is given for several scans."""
    if config.prior is not None and not config.prior.is_dir() and len(cases) > 1:
        raise ConfigError(
            config.prior,
            found=f"one label map for {len(cases)} scans",
            expected="a folder of label maps that are called as the cases",
            fix="Give a folder, or one scan.",
            setting="prior",
        )


def _volumes_ml(
    labels: np.ndarray[Any, Any], structures: Mapping[str, int], voxel_ml: float
) -> dict[str, float]:
    counts = np.bincount(labels.ravel(), minlength=max(structures.values()) + 1)
    return {name: round(float(counts[value]) * voxel_ml, 4) for name, value in structures.items()}


def read_results(folder: Path) -> Index:
    """The list of results in a folder. Raises `DataError` for a damaged one."""
    file = folder / CASES
    try:
        return Index.model_validate(read_json(file))
    except (OSError, ValueError, RecursionError) as error:  # pydantic's errors are ValueErrors
        raise DataError(
            file,
            found="a damaged list of results",
            expected="the list that mass3d segment wrote",
            fix="Remove this file and the label maps, or choose another output.",
        ) from error


def _begin(config: SegmentConfig, known: Knowledge) -> Index:
    """The results that the folder holds. Raises `ConfigError` for those of other settings."""
    wanted = Index(task=known.fingerprint, overlap=config.overlap, alignment=config.alignment)
    if not (config.output / CASES).exists():
        return wanted
    found = read_results(config.output)
    if found.task != wanted.task:
        raise _other_results(config, "results of another task or model", "this one")
    for name in ("overlap", "alignment"):
        old, new = getattr(found, name), getattr(wanted, name)
        if old != new:
            raise _other_results(config, f"results with {name} = {old}", f"{name} = {new}")
    return found


def _other_results(config: SegmentConfig, found: str, wanted: str) -> ConfigError:
    return ConfigError(
        config.output,
        found=found,
        expected=f"an empty folder, or results of {wanted}",
        fix="Choose another output.",
        setting="output",
    )
