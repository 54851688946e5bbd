"""`mass3d curve`: how many labels are enough, and what a start is worth beside others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from mass3d.apps.finetune import FinetuneConfig, FinetuneReport, run_on
from mass3d.config import Config, Device, Seed, Structures
from mass3d.errors import OutputError
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import earlier_record, require_own_folder
from mass3d.execution.summary import Report, few, write_provenance
from mass3d.files import only_writer
from mass3d.pages.curve import PAGE, write_curve_page
from mass3d.transfer.curves.curves import Curves
from mass3d.transfer.curves.files import write_files
from mass3d.transfer.curves.plan import Numbers, Plan, Point, Starts, make_plan, odd_starts
from mass3d.transfer.finetuned.learn import FinetuneFitConfig
from mass3d.transfer.finetuned.scans import structures_of
from mass3d.views.labelled import LabelledViewConfig


class CurveConfig(Config):
    """Settings of `mass3d curve`."""

    dataset: Path = Field(examples=["dataset"])
    """Labelled scans in the layout of nnU-Net or another; imagesTs is scored where there is one."""
    model: Path = Field(examples=["run"])
    """Run folder of the pretrained model."""
    output: Path = Field(examples=["curve"])
    """Folder for all finetunings, curve.json, curve.csv, curve.svg and curve.html."""
    labels: Numbers = (1, 2, 5, 10, "20%", "40%", "all")
    """Numbers of labelled scans, shares of all such as 10%, or all, with commas between them."""
    draws: int = Field(default=3, ge=1, le=1000)
    """Choices of the labelled scans; in each, a larger number adds to what a smaller one has."""
    against: Starts = ("scratch",)
    """What the model is compared with: scratch (first weights) and other run folders."""
    held_out: int | None = Field(default=None, ge=1, examples=[10])
    """Labelled scans that are kept apart and scored; by default the test part of the dataset, or a
    fifth where it has none."""
    structures: Structures = None
    """Name and label value of the structures; by default as in finetuning with all labels."""
    partial: bool = False
    """Structures that a label map does not show at all may be in the scan all the same."""
    seed: Seed = 0
    device: Device = "auto"
    fit: FinetuneFitConfig = FinetuneFitConfig()
    """Optimisation of each finetuning."""
    views: LabelledViewConfig = LabelledViewConfig()
    """Crops of the labelled scans."""


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

    Raises as `finetune` does, and `ConfigError` for more labels than there are.
    """
    others = [Path(name) for name in config.against]
    given = (config.dataset, config.model, *(path for path in others if path.exists()))
    require_own_folder(config.output, "curve", inputs=given)
    plan = make_plan(
        config.dataset,
        config.model,
        config.against,
        labels=config.labels,
        draws=config.draws,
        held_out=config.held_out,
        seed=config.seed,
    )
    structures = structures_of(plan.training, config.structures)
    config.output.mkdir(parents=True, exist_ok=True)
    with only_writer(config.output, OutputError):
        if not earlier_record(config.output):  # of results, which stay what they are till the end
            write_provenance(config.output, "curve", config, structures=structures)
        reports = {point: _finetune(config, plan, point, structures) for point in plan.points()}
        scores = {point: one.scores for point, one in reports.items() if one.scores}
        curves = Curves.of(plan, scores, tuple(structures))
        training = {point: one.training for point, one in reports.items()}
        write_files(config.output, plan, curves, training)
        write_provenance(config.output, "curve", config, structures=structures)
        odd = dict.fromkeys(sentence for one in reports.values() for sentence in one.warnings)
        warnings = (*odd_starts(plan.starts), *few(odd))
        write_curve_page(config.output, curves, warnings=warnings)
    return CurveReport(config.output, curves, warnings)


def _finetune(
    config: CurveConfig, plan: Plan, point: Point, structures: dict[str, int]
) -> FinetuneReport:
    settings = FinetuneConfig(
        images=(config.dataset,),
        model=point.start.run,
        output=config.output / point.folder,
        labels=point.labels,
        validation=0,
        start=point.start.start,
        structures=structures,
        partial=config.partial,
        seed=config.seed + point.draw,
        device=config.device,
        fit=config.fit,
        views=config.views,
    )
    return run_on(settings, plan.scans(point))
