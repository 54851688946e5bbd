"""`mass3d demo`: the whole path, from unlabelled scans to a scored one-shot segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import Field
from rich.console import Console

from mass3d.apps import evaluate, inspect, prepare, pretrain, segment, task
from mass3d.config import Config, Seed
from mass3d.execution.faults import Fault
from mass3d.execution.narrator import Narrator
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.summary import Report, write_provenance
from mass3d.pages.demo import write_report
from mass3d.pages.demo_content import CaseDice
from mass3d.pages.demo_story import METHODS, Course, told
from mass3d.phantom import write_phantom_cohort
from mass3d.store.reader import Store
from mass3d.transfer.cohort import Cohort, choose_cohort
from mass3d.transfer.oneshot.floor import segment_by_affine
from mass3d.transfer.trained import save_untrained
from mass3d.volume.preparation import SpacingMm

ALIGNMENTS: Final = 24  # of pairs of scans, before pretraining


class DemoConfig(Config):
    """Settings of `mass3d demo`."""

    output: Path = Path("mass3d-demo")
    """Folder for everything the demo writes; the same command continues where it stopped."""
    data: Path | None = Field(default=None, examples=["Dataset001_Liver"])
    """A raw dataset of nnU-Net (imagesTr, labelsTr, optionally imagesTs, labelsTs) to use instead
    of the phantoms. Labels are used only for the one example and for the scores."""
    seed: Seed = 0
    cases: int = Field(default=24, ge=2)
    """Phantoms to train on."""
    test_cases: int = Field(default=10, ge=1)
    """Scans to segment and score; the maximum number taken from `data`."""
    steps: int = Field(default=40, ge=1)
    """Pretraining steps."""
    spacing_mm: SpacingMm | Literal["auto"] = "auto"
    """Voxel size of the prepared scans; `auto`: chosen from the scans."""


@dataclass(frozen=True)
class DemoReport(Report):
    """Where the page lies and what it says."""

    page: Path
    dice: dict[str, float]  # mean over test cases and structures, by method
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        told = (f"{METHODS[key].name} {dice:.3f}" for key, dice in self.dice.items())
        return f"Dice from one example: {', '.join(told)}. Open {self.page.resolve()}."


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
    save_untrained(out / "untrained", like=out / "run")
    _example(cohort, tell)
    scored: dict[str, CaseDice] = {}
    faults = [*inspected.faults, *prepared.faults]
    for key in METHODS:
        scored[key], found = _found(config, cohort, key, tell)
        faults += found
    tell.stage("Report", "The idea, how it was learned, the example, what was found, how well.")
    course = Course(
        out,
        config.data,
        config.steps,
        config.seed,
        cohort,
        inspected.cases,
        unreadable=len(inspected.faults),
    )
    page = told(course, scored)
    means = (sample.mean.mean for sample in page.overall.samples)
    dice = dict(zip(METHODS, means, strict=True))
    return tell.result(DemoReport(write_report(page, out), dice, tuple(faults)))


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
        spacing_mm=config.spacing_mm,
    )
    return tell.result(prepare.run(settings))


def _pretrain(config: DemoConfig, tell: Narrator) -> None:
    tell.stage(
        "Pretraining",
        "Showing a region in one view of a scan and asking for it in another view that is moved, "
        "deformed and changed in intensity. No label is read.",
    )
    settings = pretrain.PretrainConfig.model_validate(
        {
            "store": (config.output / "store",),
            "output": config.output / "run",
            "seed": config.seed,
            "fit": {"steps": config.steps},
            "views": {"alignments": ALIGNMENTS},
        }
    )
    tell.result(pretrain.run(settings))


def _example(cohort: Cohort, tell: Narrator) -> None:
    tell.stage(
        "One example",
        f"{cohort.reference.case_id} is shown with its label ({', '.join(cohort.structures)}). "
        f"Then {len(cohort.test)} new scans are segmented; the same is done by simple baselines.",
    )


def _found(
    config: DemoConfig, cohort: Cohort, key: str, tell: Narrator
) -> tuple[CaseDice, tuple[Fault, ...]]:
    """Segment the test scans by one method and score them."""
    tell.note(f"{METHODS[key].name}: {METHODS[key].meaning}")
    folder = config.output / f"segmented-{key}"
    if key == "affine":
        preparation = Store.open(config.output / "store").preparation
        faults = segment_by_affine(cohort, preparation, folder)
    else:
        faults = _by_task(config, cohort, key, tell)
    scored = evaluate.run(
        evaluate.EvaluateConfig(
            predictions=folder,
            labels=cohort.test[0].label.parent,
            output=config.output / f"scores-{key}",
            seed=config.seed,
        )
    )
    tell.result(scored)
    wanted = {
        case: {name: value for name, value in dice.items() if name in cohort.structures}
        for case, dice in scored.dice.items()
    }
    return wanted, (*faults, *scored.faults)


def _by_task(config: DemoConfig, cohort: Cohort, key: str, tell: Narrator) -> tuple[Fault, ...]:
    """Make a task of the one example and segment with it."""
    out, default = config.output, key == "run"
    settings = task.TaskConfig(
        images=(cohort.reference.image,),
        labels=(cohort.reference.label,),
        model=out / ("untrained" if key == "untrained" else "run"),
        output=out / f"{key}.task",
        structures=dict(cohort.structures),
        tune=default,
    )
    tell.result(task.run(settings))
    found = segment.run(
        segment.SegmentConfig(
            inputs=tuple(case.image for case in cohort.test),
            task=settings.output,
            output=out / f"segmented-{key}",
            alignment=default,
        )
    )
    return tell.result(found).faults
