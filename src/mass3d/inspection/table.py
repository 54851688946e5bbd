"""Cases and warnings as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE
from rich.table import Table

from mass3d.inspection.case import CaseFacts
from mass3d.inspection.warnings import CaseWarning

NAMED = 4  # cases of a warning that are named on the screen


def case_table(cases: Iterable[tuple[str, CaseFacts]]) -> Table:
    """A row for each case."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("case", overflow="fold", min_width=12)
    for head in ("shape", "spacing mm", "axes", "modality", "values", "label"):
        table.add_column(head)
    for name, facts in cases:
        table.add_row(
            name,
            " x ".join(str(n) for n in facts.shape),
            " x ".join(f"{edge:.3g}" for edge in facts.spacing_mm),
            facts.orientation,
            facts.modality,
            f"{facts.intensity.lowest:.4g} to {facts.intensity.highest:.4g}",
            _label_cell(facts),
        )
    return table


def named(warning: CaseWarning) -> str:
    """The first cases of a warning with their figures."""
    told = [f"{name} ({figures})" if figures else name for name, figures in warning.cases.items()]
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return ", ".join(told[:NAMED]) + more


def _label_cell(facts: CaseFacts) -> str:
    """How many structures a label holds, of how many where some are missing; or nothing."""
    if facts.label is None:
        return "-"
    named, missing = len(facts.label.voxels), len(facts.label.missing)
    of = f"{named - missing} of " if missing else ""
    return f"{of}{named} structure{'' if named == 1 else 's'}"
