"""What a verb of many stages says on the terminal."""

from __future__ import annotations

from typing import TypeVar

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from mass3d.execution.summary import Report

R = TypeVar("R", bound=Report)


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

    def note(self, sentence: str) -> None:
        """What happens now, within a stage."""
        self.console.print(Padding(Text(sentence), (1, 3, 0, 3)), style="bold")

    def result(self, report: R) -> R:
        """What a step reports."""
        self.console.print(Padding(Text(report.summary()), (0, 3)))
        return report
