"""No mutant of a scan file makes the readers crash, hang, blow up or read a wrong shape."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import fuzz

COUNT = int(os.environ.get("MASS3D_FUZZ_COUNT", "5000"))
SEED = int(os.environ.get("MASS3D_FUZZ_SEED", "0"))


@pytest.mark.slow
def test_mutated_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    findings, outcomes = fuzz.campaign(SEED, COUNT, keep=tmp_path / "found")
    assert findings == []
    assert sum(outcomes.values()) == COUNT
    for kind in ("nifti", "mha", "nrrd", "dicom", "zip"):  # the mutants are neither all sound
        read = outcomes[f"{kind} read"]  # nor all hopeless
        refused = sum(n for name, n in outcomes.items() if name.startswith(f"{kind} refused"))
        assert min(read, refused) > 0.005 * (read + refused), (kind, read, refused)


def test_a_mutant_is_a_function_of_seed_and_index(tmp_path: Path) -> None:
    one, other = (fuzz.sound(tmp_path / name) for name in ("a", "b"))
    for index in range(0, 400, 7):
        first, second = fuzz.mutant(3, index, one), fuzz.mutant(3, index, other)
        assert first == second
