"""The page of `mass3d embed`: what the network sees in each scan, and which scans are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mass3d.execution.faults import Fault
from mass3d.pages.html import write_page
from mass3d.transfer.frozen.folder import EmbeddingsFolder
from mass3d.transfer.frozen.neighbours import Neighbour

PAGE: Final = "embeddings.html"
MAX_ROWS: Final = 2000  # beyond, a browser waits


@dataclass(frozen=True)
class Near:
    """A scan beside another one."""

    name: str
    picture: str
    similarity: float


@dataclass(frozen=True)
class Row:
    """One scan."""

    name: str
    picture: str  # relative to the page
    features: str
    near: tuple[Near, ...]
    notes: tuple[str, ...]


def write_embed_page(
    folder: EmbeddingsFolder,
    near: Mapping[str, Sequence[Neighbour]],
    *,
    summary: str,
    faults: Sequence[Fault],
) -> Path:
    """Write the page beside the pictures it shows; returns where it is."""
    rows = [_row(folder, case, near[case]) for case in list(near)[:MAX_ROWS]]
    return write_page(
        folder.path / PAGE,
        "embed.html",
        summary=summary,
        faults=faults,
        rows=rows,
        cases=len(near),
        width=sum(2 * channels for _, channels in folder.index.maps),
    )


def _row(folder: EmbeddingsFolder, case: str, near: Sequence[Neighbour]) -> Row:
    def address(path: Path) -> str:
        return path.relative_to(folder.path).as_posix()

    others = (Near(one.case, address(folder.picture(one.case)), one.similarity) for one in near)
    return Row(
        case,
        address(folder.picture(case)),
        address(folder.feature_picture(case)),
        tuple(others),
        folder.entries[case].doubts,
    )
