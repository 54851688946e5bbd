"""`mass3d curve`: how many labels are enough, and what a start is worth beside others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mass3d.config import Regions
from mass3d.errors import OutputError
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import earlier_record, require_own_folder
from mass3d.execution.progress import progress
from mass3d.execution.summary import Report, few, write_provenance
from mass3d.files import only_writer
from mass3d.io.datasets.regions import Targets, require_no_regions
from mass3d.pages.curve import PAGE, write_curve_page
from mass3d.transfer.curves.curves import Curves
from mass3d.transfer.curves.files import write_files
from mass3d.transfer.curves.plan import (
    BOTH,
    BY_TASK,
    SHOWN,
    Plan,
    PlanConfig,
    Point,
    make_plan,
    odd_plan,
)
from mass3d.transfer.curves.points import Measured, finetuned_at
from mass3d.transfer.curves.shown import scores_of_task
from mass3d.transfer.finetuned.scans import structures_of
from mass3d.transfer.finetuned.settings import FinetuneConfig, FinetuneFitConfig, LearningConfig


class CurveConfig(LearningConfig, PlanConfig):
    """Settings of `mass3d curve`."""

    structures: Regions = None
    """Name and label value of the structures, or all values of a region; by default as in
    finetuning with all labels."""
    fit: FinetuneFitConfig = FinetuneFitConfig()
    """Optimisation of each finetuning."""


@dataclass(frozen=True)
class CurveReport(Report):
    """Dice against labels, and what it says."""

    output: Path
    curves: Curves
    warnings: tuple[str, ...] = ()  # sentences about what is odd, but no fault
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """A line for each thing that can be said."""
        lines = [f"{self.curves.told()} See {self.output / PAGE}.", *self.curves.verdict()]
        return "\n  ".join([*lines, *(f"Warning: {one}." for one in self.warnings)])


def run(config: CurveConfig) -> CurveReport:
    """Finetune and score every point of the curve; what is finished is not done again.

    Raises as `finetune` does, and `ConfigError` for more labels than there are, if asked for.
    """
    others = [Path(name) for name in config.against]
    given = (config.dataset, config.model, *(path for path in others if path.exists()))
    require_own_folder(config.output, "curve", inputs=given)
    plan = make_plan(config, seed=config.seed, channels=config.channels)
    targets = structures_of(plan.training, config.structures)
    structures = targets.plain()
    if any(start.name in BY_TASK for start in plan.starts):
        require_no_regions(targets, "against")
    with only_writer(config.output, OutputError):
        if not earlier_record(config.output):  # of results, which stay what they are till the end
            write_provenance(config.output, "curve", config, structures=structures)
        # regions of dataset.json also say with which values they are written
        wanted: Regions = config.structures if targets.regions else {**targets.values}
        measured = {
            point: _measure(config, plan, point, targets, wanted) for point in plan.points()
        }
        scores = {point: one.scores for point, one in measured.items() if one.scores}
        curves = Curves.of(plan, scores, tuple(structures))
        training = {point: tuple(plan.scans(point).ids()["training"]) for point in measured}
        write_files(config.output, plan, curves, training)
        odd = dict.fromkeys(sentence for one in measured.values() for sentence in one.warnings)
        starts = tuple(odd_plan(plan))
        told = {"structures": structures, "warnings": [*starts, *odd]}
        write_provenance(config.output, "curve", config, **told)
        warnings = (*starts, *few(odd))
        write_curve_page(config.output, curves, warnings=warnings)
    faults = dict.fromkeys(fault for one in measured.values() for fault in one.faults)
    return CurveReport(config.output, curves, warnings, tuple(faults))


def _measure(
    config: CurveConfig, plan: Plan, point: Point, targets: Targets, structures: Regions
) -> Measured:
    """Finetune, or make a task; what is scored already is read."""
    folder, seed, scans = config.output / point.folder, config.seed + point.draw, plan.scans(point)
    name = point.start.name
    if name in SHOWN:
        beside = config.output / plan.first(point).folder if name == BOTH else None
        with progress(name, len(scans.validation)) as advance:
            found = scores_of_task(
                folder,
                point.start.run,
                scans,
                targets,
                seed=seed,
                device=config.device,
                advance=advance,
                beside=beside,
            )
        return Measured(found, found.odd)
    settings = FinetuneConfig(
        images=(config.dataset,),
        model=point.start.run,
        output=folder,
        labels=point.labels,
        validation=0,
        start=point.start.start,
        structures=structures,
        partial=config.partial,
        channels=config.channels,
        seed=seed,
        device=config.device,
        fit=config.fit,
        views=config.views,
    )
    return finetuned_at(point, plan, settings, chosen=config.structures is not None)
