"""`mass3d show`: what a task file, a model or a store is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from mass3d.config import Config, Paths
from mass3d.errors import Mass3dError
from mass3d.execution.faults import Fault
from mass3d.execution.progress import tell
from mass3d.execution.summary import Report
from mass3d.files import json_bytes
from mass3d.pages.shown import facts_of, in_words


class ShowConfig(Config):
    """Settings of `mass3d show`."""

    paths: Paths = Field(examples=[["liver.task"]])
    """Task files, run folders, weights files or stores."""
    as_json: bool = False
    """Print JSON instead of text."""


@dataclass(frozen=True)
class ShowReport(Report):
    """What was looked at, by its path as it was given."""

    facts: Mapping[str, Mapping[str, Any]]
    as_json: bool
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """A paragraph for each, or JSON of all."""
        if self.as_json:
            return json_bytes(self.facts).decode().rstrip("\n")
        return "\n\n".join(in_words(path, facts) for path, facts in self.facts.items())

    def show(self, console: Console) -> None:
        """As `summary`; JSON alone on stdout, and faults on stderr then."""
        if self.as_json:
            console.out(self.summary(), highlight=False)
            for fault in self.faults:
                tell(f"{fault.where}: {fault.message}")
        else:
            super().show(console)


def run(config: ShowConfig) -> ShowReport:
    """Say what files and folders of ours are; one that is none of ours becomes a fault."""
    facts: dict[str, Mapping[str, Any]] = {}
    faults = []
    for path in config.paths:
        try:
            facts[str(path)] = facts_of(Path(path))
        except Mass3dError as error:
            faults.append(Fault.of(error))
    return ShowReport(facts, config.as_json, tuple(faults))
