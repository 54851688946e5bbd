"""Scripts of the experiments that others are compared with do what they say, on phantoms."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from mass3d.phantom import write_phantom_cohort
from mass3d.volume.volume import Volume

FOLDER = Path(__file__).resolve().parent.parent / "experiments"
METHODS = ["copy", "affine", "demons", "deformable", "task"]


@pytest.fixture
def floors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; like a script it finds what lies beside it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("floors", FOLDER / "floors.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "floors", module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_an_array_lies_in_the_world_of_itk_where_its_grid_says(floors: ModuleType) -> None:
    affine = np.array([[0, 2.0, 0, 5], [-3.0, 0, 0, 6], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    volume = Volume.from_file_order(np.arange(24, dtype=np.float32).reshape(2, 3, 4), affine)
    image = floors.as_itk(volume.voxels, volume.grid)
    for index in ((0, 0, 0), (3, 1, 2)):
        d, h, w = index
        place = (volume.grid.affine @ (d, h, w, 1))[:3]
        assert image.TransformIndexToPhysicalPoint((w, h, d)) == pytest.approx(place)
        assert image[w, h, d] == volume.voxels[index]


@pytest.mark.slow
def test_floors_are_measured_once_and_told_in_a_table(
    floors: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_phantom_cohort(tmp_path / "phantoms", cases=2, test_cases=2, seed=0)
    words = [str(data), "-o", str(tmp_path / "out"), "--references", "1", "--spacing", "4"]
    monkeypatch.setattr(sys, "argv", ["floors.py", *words])
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), torch.get_num_threads()
    try:
        floors.main()
        lines = (tmp_path / "out" / "floors.jsonl").read_text()
        floors.main()
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads[0])
        torch.set_num_threads(threads[1])
    assert (tmp_path / "out" / "floors.jsonl").read_text() == lines
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row["method"] for row in rows] == METHODS * 2
    mean = {row["method"]: np.mean(list(row["dice"].values())) for row in rows}
    assert mean["deformable"] > mean["affine"] > mean["copy"] > 0
    table = (tmp_path / "out" / "floors.md").read_text().splitlines()
    assert [line.split(" | ")[1] for line in table[2:]] == METHODS
