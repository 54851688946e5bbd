"""`mass3d demo`: the whole path, from unlabelled scans to a scored one-shot segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from mass3d.apps import evaluate, inspect, prepare, pretrain, segment, task
from mass3d.config import Config, Seed
from mass3d.errors import DataError
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.summary import Report, write_provenance
from mass3d.io.datasets.cohort import CaseFile, find_cases
from mass3d.io.datasets.dataset_json import read_structures
from mass3d.io.names import case_id_of
from mass3d.io.read import read_label
from mass3d.pages import demo_content as content
from mass3d.pages.demo import ReportContent, weaknesses, write_report
from mass3d.pages.demo_content import CaseDice, LabelledCase
from mass3d.pages.pictures import structure_colours
from mass3d.phantom import write_phantom_cohort
from mass3d.store.reader import Store
from mass3d.training.fit import METRICS, FitConfig

R = TypeVar("R", bound=Report)
PHANTOM_MM: Final = 4.7  # a few minutes of pretraining on two cores see the whole torso many times
MAX_CANDIDATES: Final = 20  # labels looked at for one that shows every structure


class DemoConfig(Config):
    """Settings of `mass3d demo`."""

    output: Path = Path("mass3d-demo")
    """Folder for everything the demo makes; the same command goes on where it stopped."""
    data: Path | None = Field(default=None, examples=["Dataset001_Liver"])
    """A raw dataset of nnU-Net (imagesTr, labelsTr, perhaps imagesTs, labelsTs) to use instead of
    the phantoms. Labels serve only as the one example and for the scores."""
    seed: Seed = 0
    cases: int = Field(default=24, ge=2)
    """Phantoms to learn from."""
    test_cases: int = Field(default=10, ge=1)
    """Scans to segment and score; the most that are taken from `data`."""
    steps: int = Field(default=1000, ge=1)
    """Steps of pretraining."""
    spacing_mm: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Voxel edge of the prepared scans; `auto` suits the scans, and is coarse for phantoms."""


@dataclass(frozen=True)
class DemoReport(Report):
    """Where the page lies and what it says."""

    page: Path
    dice: float  # mean over test cases and structures, pretrained
    dice_untrained: float
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        return (
            f"One-shot Dice {self.dice:.3f}, untrained {self.dice_untrained:.3f}. "
            f"Open {self.page.resolve()}."
        )


@dataclass(frozen=True)
class Cohort:
    """The scans of a demo. Labels of the training scans are not part of it, but for one."""

    training: tuple[CaseFile, ...]
    reference: LabelledCase  # one of the training scans
    test: tuple[LabelledCase, ...]
    structures: Mapping[str, int]


def run(config: DemoConfig) -> DemoReport:
    """Do every step that is not done yet, and write the page.

    Scans that cannot be used become faults; the others go on.
    """
    out, tell = config.output, Narrator(Console(stderr=True))
    require_own_folder(out, "demo", inputs=(config.data,))
    write_provenance(out, "demo", config)
    raw = _scans(config, tell)
    cohort = choose_cohort(raw, test_cases=config.test_cases, seed=config.seed)
    scans = tuple(case.path for case in cohort.training)
    inspected = tell.result(inspect.run(inspect.InspectConfig(inputs=scans)))
    prepared = _prepare(config, cohort, tell)
    _pretrain(config, tell)
    pretrained, faults = _one_shot(config, cohort, run="run", tell=tell)
    pretrain.save_untrained(out / "untrained", like=out / "run")
    untrained, _ = _one_shot(config, cohort, run="untrained", tell=tell)
    tell.stage("Report", "What was learned from, what was shown, what was found, how well.")
    found = _content(config, cohort, inspected, pretrained=pretrained, untrained=untrained)
    page = write_report(found, out)
    overall = found.overall
    report = DemoReport(
        page,
        overall.pretrained.mean.mean,
        overall.untrained.mean.mean,
        (*inspected.faults, *prepared.faults, *faults),
    )
    return tell.result(report)


class Narrator:
    """Says on the terminal which stage it is and what came of it."""

    def __init__(self, console: Console) -> None:
        self.console, self.number = console, 0

    def stage(self, title: str, meaning: str) -> None:
        """A heading, and one or two sentences on what happens now."""
        self.number += 1
        self.console.print()
        self.console.rule(f"[bold]{self.number}  {title}", align="left")
        self.console.print(Padding(meaning, (0, 3)), style="dim")

    def result(self, report: R) -> R:
        """What a step reports."""
        self.console.print(Padding(Text(report.summary()), (0, 3)))
        return report


def _scans(config: DemoConfig, tell: Narrator) -> Path:
    """The folder of scans: the user's, or phantoms made now."""
    if config.data is not None:
        tell.stage("Scans", f"Looking at {config.data}.")
        return config.data
    tell.stage(
        "Scans",
        f"Drawing {config.cases + config.test_cases} torso-like phantoms, CT and MR in turn, each "
        "with its own anatomy, spacing and orientation.",
    )
    return write_phantom_cohort(
        config.output / "scans",
        cases=config.cases,
        test_cases=config.test_cases,
        seed=config.seed,
    )


def _prepare(config: DemoConfig, cohort: Cohort, tell: Narrator) -> prepare.PrepareReport:
    tell.stage(
        "Masks",
        "Bringing every training scan onto one grid, and cutting it into thousands of nested "
        "regions by its edges alone. No label is read.",
    )
    settings = prepare.PrepareConfig(
        inputs=tuple(case.path for case in cohort.training),
        output=config.output / "store",
        spacing_mm=PHANTOM_MM
        if config.data is None and config.spacing_mm == "auto"
        else config.spacing_mm,
    )
    return tell.result(prepare.run(settings))


def _pretrain(config: DemoConfig, tell: Narrator) -> None:
    tell.stage(
        "Pretraining",
        "Showing a region in one view of a scan and asking for it in another view that is moved, "
        "bent and differently lit. No label is read.",
    )
    settings = pretrain.PretrainConfig(
        store=(config.output / "store",),
        output=config.output / "run",
        seed=config.seed,
        fit=FitConfig(steps=config.steps),
    )
    tell.result(pretrain.run(settings))


def _one_shot(
    config: DemoConfig, cohort: Cohort, *, run: str, tell: Narrator
) -> tuple[CaseDice, tuple[Fault, ...]]:
    """Make the task from the one example, segment the test scans, score them."""
    out, shown = config.output, cohort.reference
    if run == "untrained":
        tell.stage("The same, untrained", "The honest comparison: the first weights of this run.")
    else:
        tell.stage(
            "One example",
            f"{shown.case_id} is shown with its label ({', '.join(cohort.structures)}); then "
            f"{len(cohort.test)} new scans are segmented. No weight changes.",
        )
    settings = task.TaskConfig(
        images=(shown.image,),
        labels=(shown.label,),
        model=out / run,
        output=out / f"{run}.task",
        structures=dict(cohort.structures),
        tune=False,
    )
    tell.result(task.run(settings))
    found = segment.run(
        segment.SegmentConfig(
            inputs=tuple(case.image for case in cohort.test),
            task=out / f"{run}.task",
            output=out / f"segmented-{run}",
            alignment=False,  # what the network has learned is what the page shows
        )
    )
    tell.result(found)
    scored = evaluate.run(
        evaluate.EvaluateConfig(
            predictions=out / f"segmented-{run}",
            labels=cohort.test[0].label.parent,
            output=out / f"scores-{run}",
            seed=config.seed,
        )
    )
    tell.result(scored)
    wanted = {
        case: {name: value for name, value in dice.items() if name in cohort.structures}
        for case, dice in scored.dice.items()
    }
    return wanted, (*found.faults, *scored.faults)


def choose_cohort(folder: Path, *, test_cases: int, seed: int) -> Cohort:
    """Split a raw dataset of nnU-Net into training scans, one example and test scans.

    Test scans come from imagesTs and labelsTs, or, where there are none, are held out from the
    training scans by `seed`. The example is the first training scan that shows every structure,
    or else most of them. Raises `DataError` when labels are missing.
    """
    training = find_cases([folder / "imagesTr"])
    labelled = _labelled(training)
    if len(labelled) < 2:
        raise DataError(
            folder / "labelsTr",
            found=f"labels for {len(labelled)} of {len(training)} training scans",
            expected="at least two: one to show, one to score",
            fix="Name the labels like the scans, without the _0000.",
        )
    test = _labelled(find_cases([folder / "imagesTs"])) if (folder / "labelsTs").is_dir() else []
    rng = np.random.default_rng((seed, len(labelled)))
    if not test:
        held_out = max(1, min(test_cases, len(labelled) // 4))
        test = [labelled[i] for i in sorted(rng.permutation(len(labelled))[:held_out])]
    if len(test) > test_cases:
        test = [test[i] for i in sorted(rng.permutation(len(test))[:test_cases])]
    tested = {case.label for case in test}
    training = [case for case in training if not (case.label and tested & {*case.label.paths})]
    reference, structures = _choose_reference(
        [case for case in labelled if case.label not in tested],
        read_structures(folder / "labelsTr"),
    )
    return Cohort(tuple(training), reference, tuple(test), structures)


def _labelled(cases: Sequence[CaseFile]) -> list[LabelledCase]:
    """The scans that have a label map; of several channels with one label the first."""
    found: dict[Path, LabelledCase] = {}
    for case in sorted(cases, key=lambda case: case.path):
        if case.label and not case.label.names:
            label = case.label.paths[0]
            found.setdefault(label, LabelledCase(case_id_of(case.path), case.path, label))
    return sorted(found.values(), key=lambda case: case.case_id)


def _choose_reference(
    candidates: Sequence[LabelledCase], named: Mapping[str, int] | None
) -> tuple[LabelledCase, dict[str, int]]:
    """The example, and the structures it shows: name -> label value."""
    best, shown = candidates[0], set[int]()
    for case in candidates[:MAX_CANDIDATES]:
        values = {int(v) for v in np.unique(read_label(case.label).voxels)} - {0}
        if named:
            values &= set(named.values())
        if len(values) > len(shown):
            best, shown = case, values
        if named and len(shown) == len(named):
            break
    names = named or {str(value): value for value in sorted(shown)}
    return best, {name: value for name, value in names.items() if value in shown}


def _content(
    config: DemoConfig,
    cohort: Cohort,
    inspected: inspect.InspectReport,
    *,
    pretrained: CaseDice,
    untrained: CaseDice,
) -> ReportContent:
    """Fill the page from the folders of the demo."""
    out = config.output
    colours = structure_colours(dict(cohort.structures))
    named = {name: colours[value] for name, value in cohort.structures.items()}
    overall, structures = content.structure_scores(pretrained, untrained, named, seed=config.seed)
    predictions = (
        ("Found, pretrained", out / "segmented-run", pretrained),
        ("Found, untrained", out / "segmented-untrained", untrained),
    )
    by_id = {case.case_id: case for case in cohort.test}
    store = Store.open(out / "store")
    notes = weaknesses(structures, overall, cases=len(cohort.test))
    kinds = content.modality_note(cohort.reference, cohort.test, pretrained)
    if kinds:
        notes.append(kinds)
    if config.data is None:
        notes.append(PHANTOM_NOTE)
    return ReportContent(
        source=_source(config, cohort),
        reference_id=cohort.reference.case_id,
        steps=config.steps,
        overall=overall,
        structures=structures,
        cohort=content.cohort_table(inspected.cases, store, unreadable=len(inspected.faults)),
        proposals=content.proposal_rows(store),
        proposals_note=PROPOSALS_NOTE,
        curve=content.curve_rows(out / "run" / METRICS),
        reference=content.reference_pictures(cohort.reference, cohort.structures),
        cases=tuple(
            content.shown_case(
                by_id[case_id],
                role=role,
                predictions=predictions,
                structures=cohort.structures,
            )
            for role, case_id in content.best_median_worst(content.case_means(pretrained))
        ),
        notes=tuple(notes),
        commands=COMMANDS,
    )


def _source(config: DemoConfig, cohort: Cohort) -> str:
    kind = "phantom scans, CT and MR," if config.data is None else f"scans of {config.data.name}"
    return (
        f"A small network studied {len(cohort.training)} {kind} that nobody had labelled. Then it "
        f"saw {', '.join(cohort.structures)} outlined in a single one of them, and looked for "
        f"them in {len(cohort.test)} scans it had never met."
    )


PHANTOM_NOTE = (
    "Phantoms are not patients. They show that every part works on this computer; they say nothing "
    "about any organ, scanner or disease."
)
PROPOSALS_NOTE = (
    "Regions that edges alone suggest, nested from organs down to details. They have no names and "
    "no label was read: they are only things to recognise again."
)
COMMANDS = (
    ("mass3d inspect scans/", "What is in the folder, and what is wrong with it."),
    ("mass3d prepare scans/ -o store/", "One grid, one intensity scale, and masks for each scan."),
    ("mass3d pretrain store/ -o run/", "Learn from them. Longer is better: --steps 10000."),
    (
        "mass3d task -i a.nii.gz -l a_label.nii.gz -m run/ -o mine.task",
        "Show one labelled scan, or several.",
    ),
    ("mass3d segment new_scans/ --task mine.task -o found/", "Find the same in all others."),
)
