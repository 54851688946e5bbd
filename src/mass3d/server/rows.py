"""The table of the page: a row for every case, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mass3d.files import text_hash
from mass3d.server.labels import Labels
from mass3d.server.project import Project, State
from mass3d.server.rounds import Round, Rounds
from mass3d.server.scans import Facts, Scans, stamp_of
from mass3d.transfer.results import Entry

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Where the rows come from."""

    project: Project
    scans: Scans
    rounds: Rounds
    labels: Labels

    def rows(self, one: Round | None) -> list[Row]:
        """All cases in a round, those that want to be looked at first."""
        state = self.project.state()
        results = self.rounds.results(one) if one else {}
        faults = self.rounds.faults(one) if one else {}
        rows = [
            self._row(name, facts, state, results.get(name), faults.get(name))
            for name, facts in self.scans.facts().items()
        ]
        return sorted(rows, key=_worst_first)

    def revision(self, case_id: str, one: Round | None) -> str:
        """What changes when the thumbnail of a case does."""
        entry = self.rounds.results(one).get(case_id) if one else None
        facts = self.scans.facts()[case_id]
        return self._revision(case_id, facts, self.project.state(), entry)

    def _row(
        self, name: str, facts: Facts, state: State, entry: Entry | None, fault: str | None
    ) -> Row:
        drawn = self.labels.is_drawn(name)
        error = facts.error or (None if entry else fault)
        volumes = entry.volumes_ml if entry else self.labels.known_volumes_ml(name, facts, state)
        return {
            "id": name,
            "state": _state(name, state, drawn=drawn, segmented=bool(entry), error=error),
            "modality": facts.modality.upper() if facts.modality else None,
            "shape": facts.shape,
            "spacing_mm": facts.spacing_mm,
            "agreement": min(entry.agreement.values(), default=None) if entry else None,
            "expected_dice": min(entry.expected_dice.values(), default=None) if entry else None,
            "volumes_ml": volumes,
            "notes": list(_notes(entry, several=len(state.references) > 0)) if entry else [],
            "error": error,
            "drawn": drawn,
            "corrected": drawn and name in state.corrected,
            "reference": name in state.references,
            "segmented": entry is not None,
            "revision": self._revision(name, facts, state, entry),
        }

    def _revision(self, name: str, facts: Facts, state: State, entry: Entry | None) -> str:
        shown = [facts.stamp, entry.result if entry else "", stamp_of(self.project.label(name))]
        return text_hash([*shown, [one.colour for one in state.structures]])[:16]


def _state(name: str, state: State, *, drawn: bool, segmented: bool, error: str | None) -> str:
    if error:
        return "fault"
    if drawn:
        return "reference" if name in state.references else "drawn"
    return "segmented" if segmented else "new"


def _notes(entry: Entry, *, several: bool) -> Iterator[str]:
    """What is to be looked at in a result, a sentence each."""
    yield from entry.doubts
    for name in entry.odd_volumes:
        if entry.volumes_ml.get(name):
            yield f"the volume of {name} is far from that in all references"
        else:
            yield f"{name} was not found"
    if entry.method == "network" and several:
        yield "no reference could be aligned to this scan; the network segmented it alone"


def _worst_first(row: Mapping[str, Any]) -> tuple[bool, bool, float, float, str]:
    expected, agreed = (
        1.0 if row[name] is None else row[name] for name in ("expected_dice", "agreement")
    )
    return row["error"] is None, not row["notes"], expected, agreed, row["id"]
