"""Scans without labels to learn from as well: a task of the labelled ones says what they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from mass3d.errors import ConfigError, DataError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.pool import run_cases
from mass3d.execution.summary import by_sentence, counted, first_of
from mass3d.files import text_hash
from mass3d.io.datasets.channels import channels_of, grouped, read_channels_of
from mass3d.io.datasets.cohort import CaseFile, find_cohort
from mass3d.io.datasets.dataset_json import read_ignored
from mass3d.io.datasets.regions import Targets, require_no_regions
from mass3d.io.datasets.source import seen_hash, source_hash
from mass3d.transfer.adaptation.answers import Answers, label_of
from mass3d.transfer.finetuned.scans import Split, read_labelled, values_of
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import read_run, require_matching
from mass3d.transfer.tuning.settings import DEFAULT as TUNING
from mass3d.views.labelled import LabelledCase
from mass3d.volume.doubts import require_scan
from mass3d.volume.preparation import prepare_label, prepare_volume, prepared_grid

ANSWERS: Final = "answers"  # folder in that of the run, until the training has ended


class TeachingError(DataError):
    """Scans without labels can teach nothing, while those with labels may do."""


def task_of(segmenter: Segmenter, training: Sequence[CaseFile], targets: Targets) -> Task | None:
    """A task of labelled scans; what none of them shows on the model's grid is no part of it.

    None where that is everything. Raises `ModelError` for a network that never learned to match,
    `DataError` for a bad scan.
    """
    scans = [read_labelled(case, targets) for case in training]
    labels = [scan.volume.with_voxels(values_of(scan, targets)) for scan in scans]
    spacing_mm = segmenter.trained.preparation.spacing_mm
    left = {
        int(value)
        for label in labels
        for value in np.unique(prepare_label(label, prepared_grid(label, spacing_mm)))
    }
    shown = {name: value for name, value in targets.values.items() if value in left}
    if not shown:
        return None
    names = [scan.case_id for scan in scans]
    return segmenter.task([scan.volume for scan in scans], labels, shown, references=names)


def find_unlabelled(paths: Sequence[Path], labelled: Sequence[CaseFile]) -> tuple[CaseFile, ...]:
    """Scans among files and folders, but for those that have labels, or are kept apart.

    They are known by the content of their files. Raises as `find_cohort` does, `ConfigError` where
    a case has several channels or no scan is left.
    """
    channels = channels_of(labelled[0])
    if len(channels) > 1:
        raise ConfigError(
            "unlabelled",
            found=f"scans without labels for a model of {len(channels)} channels",
            expected="one channel, as a task, which says what they show, is made of single scans",
            fix="Leave them out, or choose one channel with the setting channels.",
            setting="unlabelled",
        )
    known = {source_hash(case) for case in labelled}
    cases = grouped(find_cohort(paths).cases, channels)
    found = tuple(case for case in cases if source_hash(case) not in known)
    if not found:
        raise ConfigError(
            "unlabelled",
            found=f"{counted(len(cases), 'scan')}, all of them labelled",
            expected="scans without labels beside the labelled ones",
            fix="Name a folder that has others, too, or leave the setting out.",
            setting="unlabelled",
        )
    return found


def require_teachable(model: Path, targets: Targets) -> None:
    """Raise an error where no task can be made, before anything is written.

    `ConfigError` for regions, `ModelError` for a network that never learned to match.
    """
    require_no_regions(targets, "unlabelled")
    require_matching(read_run(model)[0])


def background_told(parts: Split) -> Iterator[str]:
    """A sentence where scans without labels are taught by a task that takes too much as background.

    Raises as `read_ignored` does.
    """
    if parts.unlabelled:
        yield from ignored_told(parts.training)


def ignored_told(labelled: Sequence[CaseFile]) -> Iterator[str]:
    """A sentence about a task of labels of which dataset.json names an ignore label."""
    tables = dict.fromkeys(case.label.table for case in labelled if case.label)
    ignored = {read_ignored(table.parent) for table in tables if table} - {None}
    if ignored:
        yield (
            f"voxels of nnU-Net's ignore label ({', '.join(map(str, ignored))}) are background in "
            "the task, which cannot leave them out as finetuning does"
        )


def fingerprint_of(unlabelled: Sequence[CaseFile]) -> str:
    """SHA-256 over ids and content of the scans, and how they are answered."""
    scans = [[case.case_id, seen_hash(case)] for case in unlabelled]
    return text_hash([scans, TUNING.plain()])


class Taught(NamedTuple):
    """Answered scans, to be learned from like labelled ones."""

    cases: tuple[LabelledCase, ...] = ()
    odd: tuple[str, ...] = ()  # sentences about scans that are not learned from
    faults: tuple[Fault, ...] = ()  # of scans that could not be answered


@dataclass(frozen=True)
class Teacher:
    """What answers scans without labels: a pretrained model and its labelled scans as a task."""

    segmenter: Segmenter
    task: Task
    targets: Targets
    partial: bool  # structures that an answer does not show may be there all the same

    def teach(self, unlabelled: Sequence[CaseFile], folder: Path) -> Taught:
        """Answer scans, one after the other; answers that the folder holds are not made again.

        A scan that cannot be read becomes a fault; one of another modality than the labelled ones,
        or to which none of them can be aligned, is told and not learned from. Raises `DataError`
        where none is left, `TeachingError` if all of them could be read.
        """
        part = self.task.oneshot
        assert part is not None, "of a task that was just made"
        answers = Answers(folder, part, self.segmenter.encoder_of(part))
        jobs = {case.case_id: case for case in unlabelled}
        found = run_cases(partial(self._ask, answers), jobs, workers=1, title="answer")
        faults, cases = faults_of(found), list[LabelledCase]()
        doubts: dict[str, list[str]] = {}
        for name, one in found.items():
            if isinstance(one, LabelledCase):
                cases.append(one)
            elif isinstance(one, str):
                doubts[name] = [f"without labels, and nothing is learned from it: {one}"]
        odd = tuple(by_sentence(doubts))
        if not cases:
            why = odd[0] if odd else faults[0].message
            kind = DataError if faults else TeachingError
            raise kind(
                "unlabelled",
                found=f"{counted(len(jobs), 'scan')} that nothing can be learned from ({why})",
                expected="scans that are like the labelled ones",
                fix="Give other scans, or leave the setting out.",
                setting="unlabelled",
            )
        return Taught(tuple(cases), odd, faults)

    def _ask(self, answers: Answers, case: CaseFile) -> LabelledCase | str:
        """A scan with its answer; or why nothing is to be learned from it."""
        volume = read_channels_of(case)[0]
        require_scan(volume)
        scan = prepare_volume(volume, self.segmenter.trained.preparation)
        kinds = sorted({one.modality for one in answers.part.scans})
        if scan.modality not in kinds:  # across modalities an answer is much worse
            return f"{scan.modality}, where the labelled scans are {' and '.join(kinds)}"
        facts = answers.ask(case.case_id, seen_hash(case), lambda: scan)
        if not facts.believed:
            return "no labelled scan could be aligned to it"
        numbers = {name: number for number, name in enumerate(self.targets.values, start=1)}
        table = np.array([0, *(numbers[name] for name in self.task.structures)], np.uint8)
        label = table[label_of(answers.load(case.case_id), facts)]
        shown = np.isin(list(numbers.values()), label).tolist()
        known = tuple(one or not self.partial for one in shown)
        image = scan.image.astype(np.float16)
        return LabelledCase(case.case_id, image, label, scan.intensity.outside, known)


def teacher_of(
    model: Path, training: Sequence[CaseFile], targets: Targets, *, partial: bool, device: str
) -> Teacher:
    """A teacher of labelled scans.

    Raises as `task_of` does, and `TeachingError` where they show nothing on the model's grid.
    """
    segmenter = Segmenter.load(model, device=device)
    task = task_of(segmenter, training, targets)
    if task is None:
        raise TeachingError(
            first_of([case.case_id for case in training]),
            found=nothing_left(segmenter),
            expected="at least one structure in one of them, for a task to teach other scans with",
            fix="Choose labelled scans that show some, or leave the scans without labels out.",
            setting="unlabelled",
        )
    return Teacher(segmenter, task, targets, partial)


def nothing_left(segmenter: Segmenter) -> str:
    """In words, what is wrong with labels that no task can be made of."""
    spacing_mm = segmenter.trained.preparation.spacing_mm
    return f"no voxel of any structure in the labels, on the {spacing_mm:g} mm grid of the model"
