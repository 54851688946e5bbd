"""The engine `sam2` through the verbs, with a small model and a scan that it can find things in."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mass3d.apps import masks, prepare
from mass3d.errors import ModelError
from mass3d.io.write import write_image
from mass3d.store.reader import Store
from mass3d.volume.volume import Volume
from sam2_models import bright_sam2, save
from stores import check_store

QUICK = {"device": "cpu", "points_per_side": 2, "crop_layers": 0, "interval_mm": 20, "min_seeds": 2}

# A process that is killed when the engine has finished so many pieces of its work.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from mass3d.apps import masks
from mass3d.masks.sam2 import slice_files as work

write, count = work.write_masks, [int(sys.argv[2])]
def write_and_die(path, found):
    write(path, found)
    count[0] -= 1
    if count[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
work.write_masks = write_and_die
masks.run(masks.MasksConfig.model_validate(json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(bright_sam2(), tmp_path_factory.mktemp("bright"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of one CT: a cylinder of water in air, with two bright balls."""
    folder = tmp_path_factory.mktemp("prepared")
    d, h, w = np.indices((36, 40, 48))
    raw = np.where((h - 19.5) ** 2 + (w - 23.5) ** 2 < 19**2, 0.0, -991.0)
    raw[(d - 11) ** 2 + (h - 20) ** 2 + (w - 15) ** 2 < 7**2] = 400
    raw[(d - 24) ** 2 + (h - 20) ** 2 + (w - 34) ** 2 < 8**2] = 400
    raw += np.random.default_rng(0).normal(0, 5, raw.shape)
    write_image(folder / "ct.nii.gz", raw, Volume.from_array(raw).source)
    config = {"inputs": (folder,), "output": folder / "store", "workers": 1, "spacing_mm": 2.0}
    assert prepare.run(prepare.PrepareConfig.model_validate(config)).ok
    return folder / "store"


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "store"))


def settings(store: Path, weights: Path, **changes: Any) -> dict[str, Any]:
    sam2 = {"checkpoint": str(weights), **QUICK}
    return {
        "store": str(store),
        "masks": {"engines": ["sam2"], "sam2": sam2},
        "add": True,
    } | changes


def run(store: Path, weights: Path, **changes: Any) -> masks.MasksReport:
    return masks.run(masks.MasksConfig.model_validate(settings(store, weights, **changes)))


def cases(root: Path) -> dict[str, bytes]:
    files = (path for path in (root / "cases").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_sam2_adds_its_masks_to_a_store_in_one_process(store: Path, weights: Path) -> None:
    report = run(store, weights)  # nothing said about workers
    assert report.ok
    engines = report.cases["ct"].engines
    assert list(engines) == ["hierarchy", "sam2"]
    assert engines["sam2"].num_masks >= 2
    assert check_store(store) == []
    assert not (store / ".work").exists()
    assert run(store, weights).changed == ()
    moved = shutil.copytree(weights, store.parent / "moved")
    assert run(store, Path(moved)).changed == ()  # the same weights elsewhere


@pytest.mark.slow
def test_killed_while_sam2_is_at_work_the_same_call_goes_on_and_ends_with_the_same_bytes(
    store: Path, prepared: Path, weights: Path, tmp_path: Path
) -> None:
    undisturbed = Path(shutil.copytree(prepared, tmp_path / "undisturbed"))
    run(undisturbed, weights)
    for pieces in (1, 2):
        arguments = [json.dumps(settings(store, weights, workers=1)), str(pieces)]
        killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
        assert killed.returncode == -signal.SIGKILL
    # what the first run had finished was not done again by the second
    assert len(list((store / ".work/ct").rglob("*.npz"))) == 3
    assert run(store, weights).ok
    assert cases(store) == cases(undisturbed)
    assert not (store / ".work").exists()
    assert check_store(store) == []


def test_a_checkpoint_that_is_not_there_is_told_before_the_store_is_touched(
    store: Path, tmp_path: Path
) -> None:
    before = cases(store)
    with pytest.raises(ModelError, match="no readable config"):
        run(store, tmp_path)
    assert cases(store) == before
    assert Store.open(store).case_ids == ("ct",)
