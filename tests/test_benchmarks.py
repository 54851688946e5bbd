"""The benchmark scripts still run; their numbers at this size mean nothing."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

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


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", None),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("Tesla T4", None),
        ("", None),
    ],
)
def test_the_peak_of_a_card_goes_by_its_name(card: str, peak: float | None, load) -> None:
    assert load("gpu_step").peak_of(card) == peak


def test_the_share_of_the_peak_is_flops_over_seconds(load, monkeypatch) -> None:
    script = load("gpu_step")
    monkeypatch.setattr(script, "card", lambda _: "NVIDIA H200")
    speed = script.Speed(seconds=0.5, batch=4, gib=10.0, flops=int(98.9e12))
    rows = script.of_step("tiny", script.GPU, speed, torch.device("cuda"))
    assert [row.unit for row in rows] == ["s", "samples/s", "GiB", "% of the peak"]
    assert [row.ours for row in rows] == pytest.approx([0.5, 8, 10, 20])


def test_beside_other_work_a_time_within_its_limit_holds_and_no_other(load) -> None:
    row = load("base").Row
    assert row("a step", 12.0, "s", limit=20).holds(busy=True)
    assert not row("a step", 21.0, "s", limit=20).holds(busy=True)
    assert not row("a step", 12.0, "s").holds(busy=True)
    assert row("a step", 12.0, "s").holds(busy=False)
