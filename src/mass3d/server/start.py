"""The beginning and the end of a server: its project, its address, its jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mass3d.errors import ConfigError
from mass3d.files import real
from mass3d.hub import cached_file, why_not
from mass3d.io.datasets.cohort import CaseFile
from mass3d.server.commands import Further
from mass3d.server.listen import listener, serve, tell_address
from mass3d.server.routes import application
from mass3d.server.site import Site
from mass3d.training.run_files import WEIGHTS


def require_model(model: Path) -> None:
    """Raise `ConfigError` where no job could find the model."""
    if model.is_file() or (model / WEIGHTS).is_file() or cached_file(str(model), WEIGHTS):
        return
    reason = why_not(str(model))
    raise ConfigError(
        model,
        found=f"no run folder and no weights file{reason.found}",
        expected="the run folder of a pretrained model",
        fix=f"Check the path; mass3d pretrain makes one.{reason.fix}",
        setting="model",
    )


def require_outside(project: Path, inputs: Sequence[Path]) -> None:
    """Raise `ConfigError` for a project among the scans, where its label maps would be scans."""
    place = real(project)
    for given in inputs:
        if given.is_dir() and real(given) in place.parents:
            raise ConfigError(
                "output",
                found=f"{project}, which lies within the scans {given}",
                expected="a folder beside them",
                fix="Choose another output.",
                setting="output",
            )


def serve_project(
    folder: Path,
    model: Path,
    inputs: Sequence[Path],
    cases: Sequence[CaseFile],
    *,
    host: str,
    port: int,
    resume: bool,
    links: bool,
    further: Further,
    ready: Callable[[str, str], None] = tell_address,
) -> None:
    """Serve a project until a signal ends it.

    Raises `ConfigError` where it cannot be listened, `DataError` for a damaged project.
    """
    site = Site.of(folder, cases, inputs, links=links, further=further)
    with listener(host, port) as made:
        site.project.begin(model, tuple(inputs))
        site.jobs.recover(resume=resume)
        threading.Thread(target=site.scans.facts, daemon=True).start()  # before the page asks
        try:
            app = application(site)
            serve(app, made, host, ready=lambda address: ready(host, address))
        finally:
            site.jobs.close()
