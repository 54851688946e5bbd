"""`mass3d inspect`: what a folder of scans holds and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.console import Console
from rich.table import Table

from mass3d.apps.outcome import Fault, Report, left_out_sentence
from mass3d.apps.pool import run_cases
from mass3d.apps.prepare import readable_grids, reading_bytes
from mass3d.config import Config
from mass3d.io.cohort import CaseFile, find_cohort
from mass3d.io.dicom.series import LeftOut
from mass3d.io.read import read_volume
from mass3d.record import write_json
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.intensity import modality_of
from mass3d.volume.spacing import automatic_spacing_mm
from mass3d.volume.volume import Modality

LETTERS = ("SI", "AP", "RL")  # of the canonical axes (D, H, W), each way
SHOWN = 200  # rows of the table on the screen; inspect.json has all


class InspectConfig(Config):
    """Settings of `mass3d inspect`."""

    inputs: tuple[Path, ...] = Field(min_length=1)
    """Scans, folders of scans, or archives (.zip) of DICOM."""
    output: Path | None = None
    """Folder for inspect.json; None writes nothing."""
    modality: Modality | Literal["auto"] = "auto"
    """Kind of scan; auto goes by DICOM tags, else by the name of each file and its histogram."""
    workers: int | None = Field(default=None, ge=1)
    """Processes; None takes as many as cores and memory allow, 1 works in this very process."""
    scheduler: str | None = None
    """Address of a running dask scheduler, whose workers are used instead of processes here."""


@dataclass(frozen=True)
class CaseFacts:
    """What one scan is."""

    file: str
    shape: tuple[int, int, int]  # voxels along (D, H, W)
    spacing_mm: tuple[float, float, float]  # along (D, H, W)
    orientation: str  # towards which side each axis of the file grows, such as RAS
    modality: Modality
    modality_from: str  # "setting", "tags", "name" or "histogram"
    lowest: float
    highest: float
    mended: tuple[str, ...]


@dataclass(frozen=True)
class InspectReport(Report):
    """What a cohort is."""

    cases: dict[str, CaseFacts]
    spacing_mm: float  # that `prepare` would choose
    left_out: tuple[LeftOut, ...] = ()  # files that are part of no scan, and why
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        kinds = Counter(facts.modality for facts in self.cases.values())
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        mended = sum(bool(facts.mended) for facts in self.cases.values())
        return (
            f"Read {len(self.cases)} scans ({told or 'none'}); {len(self.faults)} faults"
            + (f", {mended} scans mended" if mended else "")
            + f". Prepare would resample to {self.spacing_mm:g} mm."
            + left_out_sentence(self.left_out)
        )

    def show(self, console: Console) -> None:
        """The table of cases, the summary and every fault."""
        console.print(self._table())
        if len(self.cases) > SHOWN:
            console.print(f"... and {len(self.cases) - SHOWN} more.", highlight=False)
        super().show(console)

    def _table(self) -> Table:
        heads = ("case", "shape", "spacing mm", "axes", "modality", "intensity", "mended")
        table = Table(*heads)
        for name, facts in list(self.cases.items())[:SHOWN]:
            table.add_row(
                name,
                " x ".join(str(n) for n in facts.shape),
                " x ".join(f"{edge:.3g}" for edge in facts.spacing_mm),
                facts.orientation,
                f"{facts.modality} ({facts.modality_from})",
                f"{facts.lowest:.4g} to {facts.highest:.4g}",
                " ".join(facts.mended),
            )
        return table


@dataclass(frozen=True)
class _Job:
    case: CaseFile
    modality: Modality | Literal["auto"]


def run(config: InspectConfig) -> InspectReport:
    """Read every scan; all faults are told at once. Raises `DataError` for a bad path."""
    cohort = find_cohort(config.inputs)
    cases = cohort.cases
    grids = readable_grids(cases)
    outcomes = run_cases(
        _inspect,
        {case.case_id: _Job(case, config.modality) for case in cases},
        workers=config.workers,
        scheduler=config.scheduler,
        title="inspect",
        bytes_each=reading_bytes(grids),
    )
    report = InspectReport(
        cases={name: facts for name, facts in outcomes.items() if isinstance(facts, CaseFacts)},
        spacing_mm=automatic_spacing_mm(grids),
        left_out=cohort.left_out,
        faults=tuple(found for found in outcomes.values() if isinstance(found, Fault)),
    )
    if config.output is not None:
        left_out = [entry.plain() for entry in report.left_out]
        write_json(config.output / "inspect.json", asdict(report) | {"left_out": left_out})
    return report


def orientation(source: SourceGrid) -> str:
    """Towards which side each axis of the file grows: RAS, LPS, ..."""
    letters = [""] * 3
    for axis, (file_axis, flipped) in enumerate(zip(source.permutation, source.flips, strict=True)):
        letters[file_axis] = LETTERS[axis][flipped]
    return "".join(letters)


def _inspect(job: _Job) -> CaseFacts:
    volume = read_volume(job.case.scan)
    modality, told_by = modality_of(volume) if job.modality == "auto" else (job.modality, "setting")
    return CaseFacts(
        file=job.case.path.name,
        shape=volume.grid.shape,
        spacing_mm=volume.spacing_mm,
        orientation=orientation(volume.source),
        modality=modality,
        modality_from=told_by,
        lowest=float(volume.voxels.min()),
        highest=float(volume.voxels.max()),
        mended=volume.mended,
    )
