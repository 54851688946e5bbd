"""`mass3d inspect`: what a folder of scans holds and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.console import Console
from rich.text import Text

from mass3d.config import Config, Scans, Scheduler, Workers
from mass3d.execution.faults import Fault
from mass3d.execution.memory import readable_grids, reading_bytes
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.pool import run_cases
from mass3d.execution.summary import (
    Report,
    counted,
    left_out_sentence,
    repairs_sentence,
    write_provenance,
)
from mass3d.files import write_json
from mass3d.inspection.case import CaseFacts, Inspection, InspectionJob, measure_case
from mass3d.inspection.cohort import (
    ModalityFacts,
    StructureFacts,
    modality_facts,
    structure_facts,
)
from mass3d.inspection.jobs import inspection_jobs, workers_here
from mass3d.inspection.table import case_table, named
from mass3d.inspection.warnings import CaseWarning, find_leaks, find_warnings
from mass3d.io.datasets.cohort import PAIRED, find_cohort
from mass3d.io.left_out import LeftOut
from mass3d.pages.inspect import write_inspect_page
from mass3d.pages.pictures import jpeg_uri
from mass3d.pages.scan_pictures import scan_picture
from mass3d.volume.spacing import automatic_spacing_mm
from mass3d.volume.volume import Modality

SHOWN = 200  # rows of the table on the screen; inspect.json and the page have all
WIDEST = 1000  # letters of a line in a file


class InspectConfig(Config):
    """Settings of `mass3d inspect`."""

    inputs: Scans
    output: Path | None = Field(default=None, examples=["inspected"])
    """Folder for inspect.json and inspect.html; without it nothing is written."""
    modality: Modality | Literal["auto"] = "auto"
    """Modality; `auto`: from DICOM tags, else from words in the names of the file and of its two
    parent folders, else from the histogram."""
    workers: Workers = None
    scheduler: Scheduler = None


@dataclass(frozen=True)
class InspectReport(Report):
    """What a cohort is."""

    cases: dict[str, CaseFacts]
    modalities: dict[Modality, ModalityFacts]
    structures: tuple[StructureFacts, ...]
    spacing_mm: float  # that `prepare` would choose
    warnings: tuple[CaseWarning, ...] = ()  # what is odd, but no fault
    left_out: tuple[LeftOut, ...] = ()  # files that are part of no scan, and why
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        kinds = Counter(facts.modality for facts in self.cases.values())
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        labels = sum(facts.label is not None for facts in self.cases.values())
        repairs = {name: facts.repairs for name, facts in self.cases.items()}
        return (
            f"Read {counted(len(self.cases), 'scan')} ({told or 'none'}), {labels} with a label; "
            f"{counted(len(self.faults), 'fault')}, {counted(len(self.warnings), 'warning')}. "
            f"Prepare would resample to {self.spacing_mm:g} mm."
            f"{repairs_sentence(repairs)}{left_out_sentence(self.left_out)}"
        )

    def show(self, console: Console) -> None:
        """The table of cases, the summary, every fault and every warning."""
        table = case_table(list(self.cases.items())[:SHOWN])
        if not console.is_terminal:  # a file or a pipe has no edge at which to break lines
            wide = console.options.update(max_width=WIDEST)
            console.width = max(console.width, console.measure(table, options=wide).maximum)
        console.print(table)
        if len(self.cases) > SHOWN:
            console.print(f"... and {len(self.cases) - SHOWN} more.", highlight=False)
        super().show(console)
        for warning in self.warnings:
            text = Text(f"  {len(warning.cases)} x ", style="bold yellow")
            text.append(f"{warning.message}: {named(warning)}", "")
            console.print(text, soft_wrap=not console.is_terminal)

    def plain(self) -> dict[str, object]:
        """JSON-able form."""
        return asdict(self) | {"left_out": [entry.plain() for entry in self.left_out]}


@dataclass(frozen=True)
class _Job:
    case: InspectionJob
    picture: bool


@dataclass(frozen=True)
class _Done:
    inspection: Inspection
    picture: str | None


def run(config: InspectConfig) -> InspectReport:
    """Read every scan and its label; all faults are told at once.

    Raises `DataError` for a bad path or a folder without scans.
    """
    if config.output is not None:
        require_own_folder(config.output, "inspect", inputs=config.inputs)
    cohort = find_cohort(config.inputs, exclude=config.output)
    grids = readable_grids(cohort.cases)
    spacing_mm = automatic_spacing_mm(grids)
    jobs, broken_tables = inspection_jobs(
        cohort.cases, config.inputs, modality=config.modality, spacing_mm=spacing_mm
    )
    pictured = config.output is not None
    outcomes = run_cases(
        _inspect,
        {name: _Job(job, picture=pictured) for name, job in jobs.items()},
        workers=config.workers or (None if config.scheduler else workers_here(cohort.cases, grids)),
        scheduler=config.scheduler,
        title="inspect",
        bytes_each=reading_bytes(grids),
    )
    done = {name: found for name, found in outcomes.items() if isinstance(found, _Done)}
    cases = {name: found.inspection.facts for name, found in done.items()}
    report = InspectReport(
        cases=cases,
        modalities=modality_facts(cases),
        structures=structure_facts(cases),
        spacing_mm=spacing_mm,
        warnings=find_warnings(cases, spacing_mm=spacing_mm),
        left_out=tuple(entry for entry in cohort.left_out if entry.reason != PAIRED),
        faults=(*broken_tables, *_faults(outcomes), *find_leaks(cases)),
    )
    if config.output is not None:
        _write(config, report, done)
    return report


def _inspect(job: _Job) -> _Done:
    """Measure a case and draw it, while its voxels are in memory."""
    measured = measure_case(job.case)
    picture = jpeg_uri(scan_picture(measured)) if job.picture else None
    return _Done(measured.inspection, picture)


def _faults(outcomes: Mapping[str, _Done | Fault]) -> Iterator[Fault]:
    """Of scans that cannot be read and of labels that cannot be used, in the order of cases."""
    for name, found in outcomes.items():
        if isinstance(found, Fault):
            yield found
        else:
            yield from (Fault(name, message) for message in found.inspection.faults)


def _write(config: InspectConfig, report: InspectReport, done: Mapping[str, _Done]) -> None:
    assert config.output is not None
    write_provenance(
        config.output,
        "inspect",
        config,
        cases=len(report.cases),
        warnings=len(report.warnings),
        faults=[fault.plain() for fault in report.faults],
    )
    write_json(config.output / "inspect.json", report.plain())
    write_inspect_page(
        config.output / "inspect.html",
        {name: found.inspection for name, found in done.items()},
        pictures={name: found.picture for name, found in done.items() if found.picture},
        summary=report.summary(),
        faults=report.faults,
        warnings=report.warnings,
        modalities=report.modalities,
        structures=report.structures,
        left_out=report.left_out,
    )
