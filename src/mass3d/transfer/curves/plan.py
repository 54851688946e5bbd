"""What is finetuned for a curve of labels: from which starts, on which scans, scored on which."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, Field

from mass3d.config import Config
from mass3d.errors import ConfigError
from mass3d.execution.progress import tell_all
from mass3d.execution.summary import counted
from mass3d.io.datasets.channels import channels_of
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.labelled import find_labelled, find_tests
from mass3d.transfer.finetuned.apart import seen_before
from mass3d.transfer.finetuned.scans import Number, Split, count_of, split
from mass3d.transfer.finetuned.segmenter import Start
from mass3d.transfer.finetuned.taught import ignored_told
from mass3d.transfer.trained import read_run, require_matching

SCRATCH: Final = "scratch"  # the name of random initialisation among the starts
TASK: Final = "task"  # and of the run as it is, shown the labelled scans without training
BOTH: Final = "both"  # and of the finetuned run together with that
TAUGHT: Final = "taught"  # and of the run finetuned with the other scans, too, by that task
SHOWN: Final = (TASK, BOTH)
BY_TASK: Final = (TAUGHT, *SHOWN)
NOT_RUNS: Final = (SCRATCH, *BY_TASK)
HELD_OUT_SHARE: Final = 5  # one in as many is held out where a dataset has no test part


def _parts(given: Any) -> Any:
    """Values that are typed with commas between them, one by one."""
    values = given if isinstance(given, list | tuple) else [given]
    parts = [one.split(",") if isinstance(one, str) else [one] for one in values]
    return tuple(part for some in parts for part in some if part != "")


Numbers = Annotated[tuple[Number, ...], BeforeValidator(_parts), Field(min_length=1)]
"""Several numbers of labels: `1,5,20%,all`."""
Starts = Annotated[tuple[str, ...], BeforeValidator(_parts)]
"""Several starts: run folders, `scratch`, `task`, `taught` and `both`."""


class PlanConfig(Config):
    """What a curve is made of."""

    dataset: Path = Field(examples=["dataset"])
    """Labelled scans in the layout of nnU-Net or another; imagesTs is scored if there is one."""
    model: Path = Field(examples=["run"])
    """Run folder or weights file of the pretrained model, or the published weights of MASS."""
    output: Path = Field(examples=["curve"])
    """Folder for all finetunings, curve.json, curve.csv, curve.svg and curve.html."""
    labels: Numbers = (1, 2, 5, 10, "20%", "40%", "all")
    """Numbers of labelled scans, percentages of all such as 10%, or all, separated by commas.
    Default values above the number of labelled scans are left out."""
    draws: int = Field(default=3, ge=1, le=1000)
    """Random draws of the labelled scans; within a draw, a larger number includes the scans of a
    smaller one."""
    against: Starts = ("scratch",)
    """What the model is compared with: scratch (random initialisation), task (in-context: the
    labelled scans are references, nothing is trained), both (the finetuned model combined with that
    task), taught (finetuned also on the remaining training scans, with pseudo-labels by that task)
    and other run folders."""
    most_references: int = Field(default=10, ge=1)
    """Maximum number of labels for which a task is tried: every reference is aligned to every
    scan."""
    held_out: int | None = Field(default=None, ge=1, examples=[10])
    """Labelled scans held out and scored; by default the test part of the dataset, or a fifth if it
    has none. Scans of one subject or of one label file are on one side."""


class CurveStart(NamedTuple):
    """What finetunings begin with; those called `task` and `both` are not finetuned."""

    name: str
    run: Path  # pretrained; of scratch, it only tells the network and the preparation
    start: Start


class Point(NamedTuple):
    """One finetuning, or one task."""

    start: CurveStart
    labels: int
    draw: int

    @property
    def folder(self) -> Path:
        """Where it lies in the folder of the curve."""
        return Path(self.start.name, f"{self.labels}-{self.draw}")


@dataclass(frozen=True)
class Plan:
    """All finetunings of a curve."""

    training: tuple[CaseFile, ...]  # labelled scans that are drawn from
    tests: tuple[CaseFile, ...]  # never learned from
    starts: tuple[CurveStart, ...]  # the first is compared with each of the others
    labels: tuple[int, ...]  # ascending
    draws: int
    seed: int
    most_references: int  # labels up to which a task is tried
    left_out: tuple[int, ...] = ()  # numbers that nobody asked for and no scans are there for

    def first(self, point: Point) -> Point:
        """The finetuning of the first start on the same scans."""
        return point._replace(start=self.starts[0])

    def points(self) -> Iterator[Point]:
        """Draw by draw, so that a curve that is cut short compares what it has."""
        for draw in range(self.draws):
            for labels in self.labels:
                for start in self.starts:
                    if self._is_tried(start.name, labels):
                        yield Point(start, labels, draw)

    def _is_tried(self, name: str, labels: int) -> bool:
        """Whether a task is not too large, and for one that teaches there are scans left."""
        if name == TAUGHT and labels == len(self.training):
            return False
        return name not in BY_TASK or labels <= self.most_references

    def scans(self, point: Point) -> Split:
        """The scans of a point: of one draw, those of more labels hold those of fewer."""
        seed = self.seed + point.draw
        drawn = split(self.training, point.labels, validation=0, seed=seed).training
        others = [case for case in self.training if case not in drawn]
        return Split(drawn, self.tests, tuple(others) if point.start.name == TAUGHT else ())


def make_plan(config: PlanConfig, *, seed: int, channels: Sequence[str] = ()) -> Plan:
    """Find scans and starts. Raises as `find_labelled`, `split` and `read_run` do.

    channels: as for `find_labelled`. Raises `ConfigError` for a task where a case has several.
    """
    labelled = find_labelled([config.dataset], channels=channels)
    known = channels_of(labelled[0])
    shown = [name for name in BY_TASK if name in config.against]
    if shown and len(known) > 1:
        raise ConfigError(
            "against",
            found=f"{shown[0]}, and cases of {len(known)} channels",
            expected="starts that are finetuned, as a task is made of single scans",
            fix="Leave it out, or choose one channel with the setting channels.",
            setting="against",
        )
    held_out = config.held_out
    tests = tuple(find_tests(config.dataset, known)) if held_out is None else ()
    apart = 0 if tests else held_out or max(1, len(labelled) // HELD_OUT_SHARE)
    parts = split(labelled, "all", validation=apart, seed=seed)
    counts, left_out = sizes(config.labels, len(parts.training))
    plan = Plan(
        parts.training,
        tests or parts.validation,
        find_starts(config.model, config.against),
        counts,
        config.draws,
        seed,
        config.most_references,
        left_out,
    )
    tell_all(_background_in_tasks(plan))  # before the hours of work
    return plan


def sizes(labels: Sequence[Number], among: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many scans the numbers mean, and what of the default is left out as it is too large.

    Raises `ConfigError` for a larger number than there are scans, unless it is one of the default.
    """
    counts = sorted({count_of(number, among) for number in labels})
    fitting = tuple(count for count in counts if count <= among)
    left_out = tuple(counts[len(fitting) :])
    # by its value, as config.toml of a curve names the default like any other
    if left_out and tuple(labels) != PlanConfig.model_fields["labels"].default:
        raise ConfigError(
            "labels",
            found=f"{left_out[0]} labels",
            expected=f"at most {among}, the labelled scans that are not scored",
            fix="Ask for fewer, for all, or for a share such as 40%.",
            setting="labels",
        )
    return fitting, left_out


def find_starts(model: Path, against: Sequence[str]) -> tuple[CurveStart, ...]:
    """The run and what it is compared with.

    Raises `ModelError` for what is no pretrained run, and for a task of one that cannot match.
    A start is called as its folder; where two are called alike, as the folder above it, too.
    """
    runs = [model, *(Path(name) for name in against if name not in NOT_RUNS)]
    records = [read_run(run)[0] for run in runs]
    often = Counter(_normal(run).name for run in runs)
    starts = [CurveStart(_name(run, often), run, "pretrained") for run in runs]
    if SCRATCH in against:
        starts.append(CurveStart(SCRATCH, model, "scratch"))
    for name in BY_TASK:
        if name in against:
            require_matching(records[0])
            starts.append(CurveStart(name, model, "pretrained"))
    twice = [name for name, times in Counter(one.name for one in starts).items() if times > 1]
    if twice:
        raise ConfigError(
            "against",
            found=f"two starts called {twice[0]}",
            expected="runs in folders of different names",
            fix="Name each once; rename a folder where two differ.",
            setting="against",
        )
    return tuple(starts)


def _name(run: Path, often: Counter[str]) -> str:
    path = _normal(run)
    alone = often[path.name] == 1 and path.name not in NOT_RUNS
    return path.name if alone else f"{path.parent.name}-{path.name}"


def _normal(run: Path) -> Path:
    """The path without `..`, which as the name of a start would lead out of the output."""
    return Path(os.path.normpath(run.absolute()))


def odd_plan(plan: Plan) -> Iterator[str]:
    """Sentences about what is odd before anything is finetuned. Raises as `source_hash` does."""
    if plan.left_out:
        numbers = " and ".join(map(str, plan.left_out))
        there = counted(len(plan.training), "labelled scan")
        yield f"{numbers} labels are left out, as there are {there} to learn from"
    yield from _background_in_tasks(plan)
    yield from seen_before(plan.training, plan.tests)
    yield from odd_starts(plan.starts)


def _background_in_tasks(plan: Plan) -> Iterator[str]:
    """A sentence where a start is a task and labels have voxels that nobody has annotated."""
    if any(start.name in BY_TASK for start in plan.starts):
        yield from ignored_told(plan.training)


def odd_starts(starts: Sequence[CurveStart]) -> Iterator[str]:
    """A sentence for every start whose network or preparation is not that of the first."""
    ours = read_run(starts[0].run)[0]
    for start in starts[1:]:
        theirs = read_run(start.run)[0]
        if (theirs.preset, theirs.crop_vox) != (ours.preset, ours.crop_vox):
            yield f"{start.name} has another network or crop: more than the start differs"
        elif theirs.preparation != ours.preparation:
            yield f"{start.name} has another preparation: more than the start differs"
