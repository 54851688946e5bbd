"""Write a raw dataset of nnU-Net: every file whole, what is there not again."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import DataError, OutputError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.pool import run_cases
from mass3d.execution.summary import counted, first_of, in_short, warnings_told
from mass3d.files import file_hash, only_writer, text_hash, whole_file, write_json, write_text
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.dataset_json import IGNORE, read_targets_in
from mass3d.io.datasets.label_names import label_names
from mass3d.io.datasets.layouts import TABLE, LabelFiles
from mass3d.io.datasets.regions import Targets
from mass3d.io.datasets.source import source_hash
from mass3d.io.formats.gunzip import GZIP
from mass3d.io.formats.sniff import sniff
from mass3d.io.read import read_label, read_volume
from mass3d.io.write import write_image, write_label
from mass3d.transfer.finetuned.scans import ignored_in, label_content, read_labelled
from mass3d.transfer.raw_dataset.plan import BACKGROUND, Item, Plan, Results
from mass3d.transfer.raw_dataset.settings import How, RawCase, RawConfig, RawIndex, begun_dataset
from mass3d.transfer.results import CASES, can_be_read, not_as_written
from mass3d.views.labelled import UNKNOWN
from mass3d.volume.intensity import modality_of
from mass3d.volume.volume import Volume

ENDING: Final = ".nii.gz"
CHANNELS: Final = {"ct": "CT", "mr": "MR", "pet": "PET"}  # nnU-Net has a rule of its own for CT
MIXED: Final = "image"
READERS: Final[tuple[Callable[[Path], Volume], ...]] = (read_volume, read_label)  # of `paths`
WAYS: Final = {"link": "linked", "copy": "copied", "written": "written anew"}


@dataclass(frozen=True)
class RawDataset:
    """What was written."""

    output: Path
    labels: Mapping[str, int]  # true, found -> cases
    images: Mapping[str, int]  # link, copy, written -> cases
    bytes: int  # that the dataset takes, but for what links lead to
    left_out: Mapping[str, float | None]  # case -> agreement
    warnings: tuple[str, ...]
    faults: tuple[Fault, ...]

    def in_words(self) -> str:
        """One paragraph for people."""
        images = ", ".join(f"{n} {WAYS[how]}" for how, n in sorted(self.images.items()))
        first = (
            f"Raw dataset of nnU-Net of {counted(sum(self.labels.values()), 'case')} in "
            f"{self.output}: {self.labels.get('found', 0)} with labels that were found, "
            f"{self.labels.get('true', 0)} with true labels. Scans: {images or 'none'}; all in all "
            f"{self.bytes / 1e6:.1f} MB."
        )
        if self.left_out:
            told = first_of([f"{case} ({_number(one)})" for case, one in self.left_out.items()])
            first += f" Left out, as references agree too little: {told}."
        return first + warnings_told(self.warnings)


def _number(agreement: float | None) -> str:
    return "none" if agreement is None else f"{agreement:.2f}"


def write_raw(
    output: Path,
    results: Results,
    plan: Plan,
    config: RawConfig,
    *,
    told: Mapping[str, str],
    claim: Callable[[], None],
) -> RawDataset:
    """Write scans and labels of all cases, and dataset.json in the end, with what else is `told`.

    What is whole in the folder is not written again. claim: says whose the folder is, before
    anything is written into it. Raises `ConfigError` where it has a dataset of other settings,
    `OutputError` where it cannot be written to.
    """
    with only_writer(output, OutputError):
        wanted = RawIndex(
            task=results.index.task, images=config.images, min_agreement=config.min_agreement
        )
        writer = _Writer(output, begun_dataset(output, wanted), results, config)
        claim()
        stayed = writer.drop({*plan.items, *(fault.where for fault in plan.faults)})
        outcomes = run_cases(partial(_write_one, writer), plan.items, workers=1, title="export")
        writer.save()
        done = writer.done
        channel, mixed = _channel(config, done)
        table = _table(results.targets, channel, done) | {k: v for k, v in told.items() if v}
        if done:
            # not sorted: nnU-Net draws regions in the order of the file, one over the other
            write_text(output / TABLE, json.dumps(table, indent=2) + "\n")
    notes = {name: case.notes for name, case in done.items()}
    return RawDataset(
        output,
        Counter(case.label for case in done.values()),
        Counter(case.image for case in done.values()),
        sum(path.lstat().st_size for path in output.rglob("*") if path.is_file()),
        plan.left_out,
        (*plan.notes, *stayed, *mixed, *in_short(notes)),
        (*plan.faults, *faults_of(outcomes)),
    )


@dataclass(frozen=True)
class _Writer:
    """The dataset in a folder, and the file that lists its cases."""

    output: Path
    index: RawIndex
    results: Results
    config: RawConfig
    cases: dict[str, RawCase] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cases.update(self.index.cases)

    @property
    def done(self) -> dict[str, RawCase]:
        """The finished ones."""
        return {name: self.cases[name] for name in sorted(self.cases) if self.cases[name].files}

    def paths(self, name: str) -> tuple[Path, Path]:
        """Where scan and label of a case are."""
        scan = self.output / "imagesTr" / f"{name}_0000{ENDING}"
        return scan, self.output / "labelsTr" / f"{name}{ENDING}"

    def put(self, name: str, case: RawCase) -> None:
        """Note what is known of a case now."""
        self.cases[name] = case
        self.save()

    def save(self) -> None:
        """Write the list of cases."""
        write_json(self.output / CASES, self.index.model_copy(update={"cases": self.cases}).plain())

    def drop(self, kept: set[str]) -> tuple[str, ...]:
        """Remove what was written of cases that are not wanted any more.

        What somebody has changed since stays; returns a sentence about each such file.
        """
        stayed: list[Path] = []
        for name in sorted(self.cases.keys() - kept):
            changed = self._changed(name)
            for path in {*self.paths(name)} - {*changed}:
                path.unlink(missing_ok=True)
            del self.cases[name]
            stayed += changed
        why = "was changed by hand and stays, though its case has gone from the dataset"
        return tuple(f"{path} {why}" for path in stayed)

    def keeps(self, name: str, begun: RawCase) -> bool:
        """Whether a case is there as it should be.

        One that is being written, damaged, or of other files than before is written again. Raises
        `DataError` for a file of somebody else, such as a label map corrected by hand.
        """
        old = self.cases.get(name)
        if old is None:
            for path in self.paths(name):
                if os.path.lexists(path):
                    raise DataError(
                        path,
                        found="a file that mass3d has not written",
                        expected="no file",
                        fix="Give it another name, or choose another output.",
                    )
            return False
        if old.files and all(map(self._is_whole, old.files, old.files.values())):
            return (old.source, old.label) == (begun.source, begun.label)
        for path in self._changed(name):
            fix = "It stays as it is; move it elsewhere to have the case written again."
            raise not_as_written(path, fix=fix)
        return False

    def _changed(self, name: str) -> list[Path]:
        """The files of a case that somebody has changed: whole, but not as they were written."""
        listed = self.cases[name].files
        return [
            path
            for path, read in zip(self.paths(name), READERS, strict=True)
            if (one := path.relative_to(self.output).as_posix()) in listed
            if path.is_file() and not path.is_symlink()  # what a link leads to is not overwritten
            if file_hash(path) != listed[one] and can_be_read(path, read)
        ]

    def _is_whole(self, name: str, digest: str) -> bool:
        path = self.output / name
        return path.is_file() and file_hash(path) == digest


def _write_one(writer: _Writer, item: Item) -> None:
    """Write scan and label of a case, unless they are there."""
    name = item.case.case_id
    begun = RawCase(source=_made_of(writer, item), label=item.kind)
    if writer.keeps(name, begun):
        return
    writer.put(name, begun)
    found, paths = _written(writer, item), writer.paths(name)
    files = {path.relative_to(writer.output).as_posix(): file_hash(path) for path in paths}
    writer.put(name, begun.model_copy(update=found | {"files": files}))


def _label_map(writer: _Writer, item: Item) -> Path:
    return writer.results.folder / f"{item.case.case_id}{ENDING}"


def _made_of(writer: _Writer, item: Item) -> str:
    """SHA-256 over scan and label. Raises `DataError` for another scan than was segmented."""
    source = source_hash(item.case)
    if item.entry is not None and item.entry.source != source:
        raise DataError(
            item.case.path,
            found="a scan that has changed since it was segmented",
            expected="the scan that was segmented",
            fix="Segment it again, or say where that scan is.",
        )
    if item.case.label is None:
        return text_hash([source, file_hash(_label_map(writer, item))])
    return text_hash([source, *label_content(item.case.label)])


def _written(writer: _Writer, item: Item) -> dict[str, Any]:
    """Write both files; returns what is said of them in `RawCase`."""
    scan, label = writer.paths(item.case.case_id)
    volume = read_volume(item.case.scan)
    numbers, notes = _numbers(writer, item, volume)
    image = _put_scan(item.case, volume, scan, writer.config.images)
    unknown = numbers == UNKNOWN
    ignored = len(writer.results.targets.classes) + 1
    write_label(label, np.where(unknown, ignored, numbers.astype(np.uint16)), volume.source)
    return {
        "image": image,
        "modality": modality_of(volume)[0],
        "unknown": bool(unknown.any()),
        "notes": notes,
    }


def _numbers(
    writer: _Writer, item: Item, volume: Volume
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The label (D, H, W) with the number of its class for every value, and what is odd."""
    targets = writer.results.targets
    if item.case.label is not None:
        truth = read_labelled(item.case, targets)
        if truth.odd and not item.chosen:
            _require_named(item.case.label, writer.results, volume)
        pairs = zip(targets.values, targets.table, strict=True)
        absent = [name for name, row in pairs if not np.array(truth.shown)[row].any()]
        told = f"its true label shows no {' and no '.join(absent)}, which nnU-Net takes for absence"
        return truth.numbers, (told,) if absent else ()
    path = _label_map(writer, item)
    label = read_label(path, like=volume)
    numbers = writer.results.values[label.voxels]
    _require_no_others(path, label, numbers == UNKNOWN, targets)
    assert item.entry is not None, "what was found"
    corrected = file_hash(path) != item.entry.result
    by_hand = ("its label map was changed by hand and is taken as it is",) * corrected
    return numbers, (*item.entry.doubts, *by_hand)


def _require_named(files: LabelFiles, results: Results, volume: Volume) -> None:
    """Raise `DataError` for values of a true label map that nothing names.

    Those that `dataset.json` beside it or its own header names are of structures that the results
    do not have: they are background.
    """
    (path,) = files.paths  # masks of one structure each have no other values
    label = read_label(path, like=volume)
    near = read_targets_in(files.table).classes if files.table else ()
    ignored = ignored_in(files)
    named = [*label_names(path).values(), *(value for some in near for value in some), ignored]
    table = results.values
    table[[value for value in named if value is not None and value < table.size]] = 0
    _require_no_others(path, label, table[label.voxels] == UNKNOWN, results.targets)


def _require_no_others(
    path: Path, label: Volume, unknown: NDArray[np.bool_], targets: Targets
) -> None:
    """Raise `DataError` where there are voxels (D, H, W) of unknown values."""
    strange = np.unique(label.voxels[unknown])
    if strange.size:
        raise DataError(
            path,
            found=f"label values that no structure has ({', '.join(map(str, strange))})",
            expected=f"values of {', '.join(targets.values)}",
            fix="Correct the label map, or segment the scan again.",
        )


def _put_scan(case: CaseFile, volume: Volume, target: Path, how: How) -> str:
    """Bring the scan into the dataset; returns how."""
    if not _is_usable(case, volume):
        write_image(target, volume.voxels, volume.source)
        return "written"
    with whole_file(target) as partial_file:
        if how == "link":
            partial_file.symlink_to(case.path.resolve())
        else:
            shutil.copyfile(case.path, partial_file)
    return how


def _is_usable(case: CaseFile, volume: Volume) -> bool:
    """Whether nnU-Net reads from the very file what we read."""
    if case.series is not None or volume.repairs or sniff(case.path) != "nifti":
        return False
    with case.path.open("rb") as stream:
        return stream.read(2) == GZIP


def _channel(config: RawConfig, cases: Mapping[str, RawCase]) -> tuple[str, tuple[str, ...]]:
    """What the channel is called, and a sentence where the scans are of several kinds."""
    kinds = Counter(case.modality for case in cases.values())
    if config.channel or len(kinds) < 2:
        return config.channel or CHANNELS[next(iter(kinds), "mr")], ()
    told = ", ".join(f"{CHANNELS[kind]} ({n})" for kind, n in sorted(kinds.items()))
    return MIXED, (f"the scans are of several kinds, {told}: nnU-Net will treat all as one",)


def _table(targets: Targets, channel: str, cases: Mapping[str, RawCase]) -> dict[str, Any]:
    """dataset.json."""
    labels: dict[str, int | list[int]] = {BACKGROUND: 0}
    for name, row in zip(targets.values, targets.table, strict=True):
        numbers = [int(number) for number in np.flatnonzero(row) + 1]
        labels[name] = numbers if len(numbers) > 1 else numbers[0]
    if any(case.unknown for case in cases.values()):
        labels[IGNORE] = len(targets.classes) + 1
    own = {value: number for number, some in enumerate(targets.classes, 1) for value in some}
    order = [own[value] for value in targets.values.values()]
    return {
        "channel_names": {"0": channel},
        "labels": labels,
        **({"regions_class_order": order} if targets.regions else {}),
        "numTraining": len(cases),
        "file_ending": ENDING,
    }
