from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mass3d.apps import demo
from mass3d.apps.demo import METHODS, DemoConfig
from mass3d.phantom import write_phantom_cohort

SMALL: dict[str, Any] = {"cases": 3, "test_cases": 2, "steps": 2, "spacing_mm": 6.0}


@pytest.mark.slow
def test_a_small_demo_goes_all_the_way_and_again_to_the_same_page(tmp_path: Path) -> None:
    config = DemoConfig(output=tmp_path / "demo", **SMALL)
    report = demo.run(config)
    assert report.ok, report.faults
    page = report.page.read_bytes()
    assert b"Found in 2 new scans" in " ".join(page.decode().split()).encode()
    assert re.findall(rb"<h2>(.*?)</h2>", page)[:2] == [b"The idea", b"How it learned"]
    assert (tmp_path / "demo/overview.png").exists()
    assert page.count(b'data-volume="viewer/') == 1 + 2  # the example, and both test cases
    assert len(list((tmp_path / "demo/viewer").glob("*.js"))) == 1 + 3
    assert list(report.dice) == list(METHODS)
    assert all(0 <= dice <= 1 for dice in report.dice.values())
    assert "affine registration" in report.summary()
    weights = (tmp_path / "demo/run/model.safetensors").stat().st_mtime_ns
    again = demo.run(config)
    assert again == report
    assert again.page.read_bytes() == page
    assert (tmp_path / "demo/run/model.safetensors").stat().st_mtime_ns == weights


@pytest.mark.slow
def test_a_demo_runs_on_a_folder_of_the_users_own(tmp_path: Path) -> None:
    raw = write_phantom_cohort(tmp_path / "raw", cases=6, test_cases=1, seed=0)
    for name in ("imagesTs", "labelsTs"):
        shutil.rmtree(raw / name)
    settings = {**SMALL, "data": raw}
    report = demo.run(DemoConfig(output=tmp_path / "demo", **settings))
    assert report.ok, report.faults
    assert "Phantoms are not patients" not in report.page.read_text()
