from __future__ import annotations

from pathlib import Path

import numpy as np

from mass3d.execution.memory import (
    LABEL_BYTES,
    READ_BYTES,
    WORK_BYTES,
    WORKER_BYTES,
    case_bytes,
    comparing_bytes,
    readable_grids,
    reading_bytes,
)
from mass3d.io.datasets.cohort import find_cases
from mass3d.volume.geometry import Grid


def grid(edge: int, spacing_mm: float = 1.0) -> Grid:
    return Grid.make((edge,) * 3, np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0]))


def test_the_largest_scan_decides_what_a_worker_needs() -> None:
    large, small = grid(100), grid(50)
    assert reading_bytes([small, large]) == WORKER_BYTES + READ_BYTES * 100**3
    assert case_bytes([large, small], spacing_mm=4.0) == reading_bytes([large, small])
    assert case_bytes([small, large], spacing_mm=0.5) == WORKER_BYTES + WORK_BYTES * 200**3
    assert case_bytes([small, large]) == WORKER_BYTES + WORK_BYTES * 100**3
    assert case_bytes([]) == reading_bytes([]) == comparing_bytes([]) == WORKER_BYTES
    assert comparing_bytes([7, 9]) == WORKER_BYTES + LABEL_BYTES * 9


def test_a_scan_without_a_readable_header_has_no_grid(cohort: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_text("no scan")
    cases = find_cases([cohort / "imagesTr", broken])
    assert len(readable_grids(cases)) == len(cases) - 1
