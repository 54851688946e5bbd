"""`mass3d serve`: a local page on which one example becomes the segmentations of a cohort."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from mass3d.config import Config, Device, LabelMaps, Scans
from mass3d.errors import OutputError
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.files import only_writer
from mass3d.io.datasets.cohort import find_cohort
from mass3d.server.commands import Further
from mass3d.server.extra import require_server


class ServeConfig(Config):
    """Settings of `mass3d serve`."""

    model: Path = Field(examples=["run"])
    """Run folder or weights file of the pretrained model, or the published weights of MASS."""
    inputs: Scans
    output: Path = Field(examples=["project"])
    """Project folder: label maps, tasks, results and jobs, as files that the other commands read,
    too."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. Any but the loopback address lets other machines in that have the
    token."""
    port: int = Field(default=8765, ge=0, le=65535)
    """Port to listen on; 0: any free one."""
    resume: bool = True
    """Resume at once a job that was interrupted when an earlier server ended."""
    links: bool = False
    """Also show scans outside of the given folders that links in them point to."""
    tune: bool = True
    """Tune a head on every reference, as `mass3d task` does. On by default; 0 turns it off."""
    label_maps: LabelMaps = False
    device: Device = "auto"


@dataclass(frozen=True)
class ServeReport(Report):
    """What was served."""

    output: Path
    cases: int
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        return f"Served {counted(self.cases, 'scan')}; everything is in {self.output}."


def run(config: ServeConfig) -> ServeReport:
    """Serve the page until a signal ends it; what runs then is interrupted, and kept.

    Raises `ConfigError` where the server is not installed, the port is taken, or the project is
    not a folder of its own; `OutputError` where another server has it.
    """
    require_server()
    from mass3d.server.start import (  # noqa: PLC0415  an optional part
        require_model,
        require_outside,
        serve_project,
    )

    require_own_folder(config.output, "serve", inputs=(*config.inputs, config.model))
    require_outside(config.output, config.inputs)
    require_model(config.model)
    cases = find_cohort(config.inputs, exclude=config.output).cases
    with only_writer(config.output, OutputError):
        write_provenance(config.output, "serve", config)
        serve_project(
            config.output,
            config.model,
            config.inputs,
            cases,
            further=Further(config.device, config.label_maps, config.tune),
            **config.model_dump(include={"host", "port", "resume", "links"}),
        )
    return ServeReport(config.output, len(cases))
