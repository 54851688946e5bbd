"""Files that are part of no scan, and why: reports list them, whatever their format."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LeftOut:
    """Files that are part of no scan, and why."""

    path: Path  # the first of them
    reason: str
    files: int = 1

    def plain(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self) | {"path": str(self.path)}
