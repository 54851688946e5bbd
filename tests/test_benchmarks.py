"""The benchmark scripts still run; their numbers at this size mean nothing."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))

SLOW = {"share_weights"}  # it starts processes that load torch


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> object:
    """A benchmark as a module; like a script it finds what lies beside it."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def module(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        assert spec
        assert spec.loader
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, loaded)  # dataclasses look there
        spec.loader.exec_module(loaded)
        return loaded

    return module


def test_every_budget_has_its_script() -> None:
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one in SLOW else one for one in SCRIPTS]
)
def test_a_benchmark_measures_something(name: str, load) -> None:
    rows = load(name).measure(True)
    assert rows
    for row in rows:
        assert math.isfinite(row.ours)
        assert "|" not in "".join(row.cells())
