"""`mass3d masks`: how good the masks of a store are, and new ones for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field
from rich.console import Console

from mass3d.config import Config, Scheduler, Workers
from mass3d.errors import ConfigError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.memory import case_bytes
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.pool import run_cases
from mass3d.execution.proposals import notes_sentence
from mass3d.execution.renewing import COARSER, renew
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.files import write_json
from mass3d.inspection.masks import (
    CaseMasks,
    Deviation,
    MeasureJob,
    dice_sentence,
    mean_best_dice,
    measured,
    outliers,
)
from mass3d.masks.settings import MaskConfig
from mass3d.pages.masks import PAGE, PageContent, pictured_cases, write_masks_page
from mass3d.pages.viewed import DrawJob, DrawnMasks, drawn_masks
from mass3d.pages.volumes import MAX_CASES, write_scripts
from mass3d.store.reader import Store, readable_grids

SHOWN = 3  # outliers that a summary names; the page shows all


class MasksConfig(Config):
    """Settings of `mass3d masks`."""

    store: Path = Field(examples=["store"])
    """Prepared store."""
    masks: MaskConfig | None = None
    """Propose masks with these engines; by default the masks stay as they are."""
    add: bool = False
    """Keep the masks of engines that are not named; otherwise they are removed."""
    labels: Path | None = Field(default=None, examples=["labelsTr"])
    """Folder of label maps <case>.nii.gz to compare the masks with; they do not affect the
    masks."""
    output: Path | None = Field(default=None, examples=["quality"])
    """Folder for quality.json and masks.html; by default `masks` in the store."""
    workers: Workers = None
    scheduler: Scheduler = None


@dataclass(frozen=True)
class MasksReport(Report):
    """What the masks of a store are like."""

    store: Path
    page: Path
    cases: dict[str, CaseMasks]
    outliers: Mapping[str, tuple[Deviation, ...]]  # cases that stand out, the farthest first
    changed: tuple[str, ...]  # cases that got new masks
    fingerprint: str
    labels: Path | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def notes(self) -> dict[str, tuple[str, ...]]:
        """Case -> masks that could not be taken, in words."""
        return {name: case.notes for name, case in self.cases.items() if case.notes}

    def summary(self) -> str:
        """One paragraph for people."""
        counts = [case.quality.num_masks for case in self.cases.values()]
        changed = counted(len(self.changed), "case")
        new = f"Proposed new masks for {changed}. " if self.changed else ""
        odd = ", ".join(list(self.outliers)[:SHOWN]) + (", ..." * (len(self.outliers) > SHOWN))
        stand_out = f" {len(self.outliers)} stand out ({odd})." if self.outliers else ""
        dice = "" if self.labels is None else dice_sentence(self.cases)
        return (
            f"{new}{counted(len(self.cases), 'case')} with {min(counts, default=0)} to "
            f"{max(counts, default=0)} masks (median {np.median(counts or [0]):.0f}) "
            f"in {self.store}.{stand_out}{dice}{notes_sentence(self.notes)}"
        )

    def show(self, console: Console) -> None:
        """The summary and where the page is, then every fault on a line of its own."""
        super().show(console)
        console.print(f"Look at {self.page}.", highlight=False, markup=False)


def run(config: MasksConfig) -> MasksReport:
    """Measure the masks of every case, after proposing new ones where that is asked for.

    Killed at any moment, the same call goes on where it was. A case without any new mask becomes
    a fault and leaves the store's index until a later call finds masks in it. Raises `ConfigError`
    when an engine lacks what it needs, `StoreError` when the store cannot be trusted, or no case
    has new masks; the store is then what it was.
    """
    _require_sense(config)
    output = config.output or config.store / "masks"
    require_own_folder(output, "masks", inputs=(config.store, config.labels))
    changed, faults = (
        ((), ())
        if config.masks is None
        else renew(
            config.store,
            config.masks,
            add=config.add,
            workers=config.workers,
            scheduler=config.scheduler,
        )
    )
    store = Store.open(config.store)
    memory = case_bytes(readable_grids(config.store, store.index))
    each = partial(run_cases, workers=config.workers, scheduler=config.scheduler, instead=COARSER)
    measuring = {name: MeasureJob(config.store, name, config.labels) for name in store.case_ids}
    outcomes = each(measured, measuring, title="measure", bytes_each=memory)
    cases = {name: found for name, found in outcomes.items() if isinstance(found, CaseMasks)}
    far = outliers(
        {name: case.quality for name, case in cases.items()},
        {name: case.modality for name, case in cases.items()},
    )
    drawing = {
        name: DrawJob(config.store, name, viewed=place < MAX_CASES)
        for place, name in enumerate(pictured_cases(cases, far))
    }
    drawn = each(drawn_masks, drawing, title="draw", bytes_each=memory)
    report = MasksReport(
        store=config.store,
        page=output / PAGE,
        cases=cases,
        outliers=far,
        changed=changed,
        fingerprint=store.fingerprint,
        labels=config.labels,
        faults=faults + faults_of(outcomes) + faults_of(drawn),
    )
    write_provenance(output, "masks", config, fingerprint=store.fingerprint)
    _write(report, output, store, drawn)
    return report


def _require_sense(config: MasksConfig) -> None:
    """Raise `ConfigError` for settings that ask for nothing."""
    if config.add and config.masks is None:
        raise ConfigError(
            "add",
            found="no engine to add",
            expected="the engines that propose masks",
            fix="Name one, such as sam2.",
            setting="masks.engines",
        )
    if config.labels is not None and not config.labels.is_dir():
        raise ConfigError(
            "labels",
            found=f"{config.labels}, which is not a folder",
            expected="a folder of label maps by case id",
            fix="Check the path.",
            setting="labels",
        )


def _write(
    report: MasksReport, output: Path, store: Store, drawn: Mapping[str, DrawnMasks | Fault]
) -> None:
    """Write quality.json and the page; a case whose picture failed is shown without."""
    dice = mean_best_dice(report.cases)
    write_json(
        output / "quality.json",
        {
            "store": report.fingerprint,
            "cases": {name: case.plain() for name, case in report.cases.items()},
            "outliers": {
                name: [asdict(one) for one in deviations]
                for name, deviations in report.outliers.items()
            },
            "best_dice": dice,
        },
    )
    found = {name: one for name, one in drawn.items() if isinstance(one, DrawnMasks)}
    content = PageContent(
        summary=report.summary(),
        spacing_mm=store.spacing_mm,
        cases=report.cases,
        outliers=report.outliers,
        best_dice=dice,
        pictures={name: one.pictures for name, one in found.items()},
        volumes=write_scripts(output, {name: one.script for name, one in found.items()}),
        faults=report.faults,
    )
    write_masks_page(report.page, content)
