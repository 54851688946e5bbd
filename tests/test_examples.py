"""The example scripts do what they say, on a tiny cohort."""

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mass3d.phantom import write_phantom_cohort
from mass3d.store.reader import Store

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one_shot.py makes of three phantoms in a single step."""
    raw = write_phantom_cohort(tmp_path_factory.mktemp("raw"), cases=3, test_cases=1, seed=0)
    out = tmp_path_factory.mktemp("out")
    places = [raw / "imagesTr", raw / "imagesTr/ct_000_0000.nii.gz", raw / "labelsTr/ct_000.nii.gz"]
    few = ["--steps", "1", "--spacing", "9"]
    script("one_shot").main([*map(str, [*places, raw / "imagesTs", out]), *few])
    return out


def test_one_shot_segments_the_new_scans(out: Path) -> None:
    assert {path.name for path in out.iterdir()} >= {"store", "run", "one.task", "found"}
    assert (out / "found" / "ct_test_000.nii.gz").exists()


def test_in_memory_segments_an_array(out: Path) -> None:
    found = script("in_memory").main(out / "run")
    assert set(np.unique(found.voxels)) <= {0, 1, 2, 3, 4}


def test_frozen_features_tell_neighbours_and_labels(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_phantom_cohort(tmp_path / "raw", cases=4, test_cases=0, seed=0)
    names = [path.name.removesuffix("_0000.nii.gz") for path in (raw / "imagesTr").iterdir()]
    labels = tmp_path / "labels.csv"
    labels.write_text("case,kind\n" + "".join(f"{name},{name[:2]}\n" for name in names))
    words = [raw / "imagesTr", labels, out / "run", tmp_path / "frozen", "--folds", "2"]
    script("frozen_features").main([*map(str, words)])
    told = capsys.readouterr().out
    assert all(f"{name} is most like " in told for name in names)
    assert "kind size linear" in told


def test_a_label_curve_tells_dice_from_both_starts(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_phantom_cohort(tmp_path / "raw", cases=3, test_cases=0, seed=0)
    words = ["--labels", "1", "all", "--validation", "1", "--steps", "1"]
    script("label_curve").main([str(out / "run"), str(raw), str(tmp_path / "curve"), *words])
    lines = [line for line in capsys.readouterr().out.splitlines() if "labels," in line]
    assert [line.partition(":")[0] for line in lines] == [
        f"{number} labels, {start}" for number in (1, 2) for start in ("pretrained", "scratch")
    ]


def test_the_shown_masks_are_disjoint_and_no_larger_than_asked(out: Path, tmp_path: Path) -> None:
    where = [str(out / "store"), "ct_000", str(tmp_path / "masks.nii.gz")]
    script("masks_to_nifti").main([*where, "--layer", "1", "--largest-ml", "100"])
    image = nib.load(tmp_path / "masks.nii.gz")
    labels = np.asarray(image.dataobj)
    assert labels.max() > 3
    millilitres = np.bincount(labels.ravel())[1:] * np.prod(image.header.get_zooms()) / 1000
    assert 0 < millilitres.max() < 130  # a little more than asked: counted on the scan's own grid


# what SLURM does, for one machine and at once; the number of a job is that of its process
SBATCH = """#!/bin/sh
cp "$1" "$SLURM_HERE/$$.sh"
setsid sh "$SLURM_HERE/$$.sh" > "$SLURM_HERE/$$.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -9 "-$1"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the jobs that `sbatch` has started."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (jobs / name).write_text(text)
        (jobs / name).chmod(0o755)
    places = (jobs, Path(sys.executable).parent, os.environ["PATH"])
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, places)))
    monkeypatch.setenv("SLURM_HERE", str(jobs))
    return jobs


def test_on_slurm_prepares_scans_in_jobs(slurm: Path, tmp_path: Path) -> None:
    raw = write_phantom_cohort(tmp_path / "raw", cases=3, test_cases=1, seed=0)
    prepare = ["prepare", str(raw / "imagesTr"), "-o", str(tmp_path / "store"), "--spacing", "9"]
    assert script("on_slurm").main(["--jobs", "2", "--memory", "2GiB", "--", *prepare]) == 0
    assert len(Store.open(tmp_path / "store").case_ids) == 3
    assert len(list(slurm.glob("*.sh"))) == 2
    job = next(slurm.glob("*.sh")).read_text()
    assert "#SBATCH --mem=2G" in job
    assert "--nthreads 1 --memory-limit 2.00GiB" in job


def test_on_slurm_shows_the_script_of_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert script("on_slurm").main(["--show", "--queue", "cpu", "--prologue", "module load x"]) == 0
    job = capsys.readouterr().out
    page = (ROOT / "docs/how-to/cluster.md").read_text()
    told = [line for line in job.splitlines() if line.startswith("#SBATCH")]
    assert told
    assert all(line in page for line in told)
    assert "\nmodule load x\n" in job


def test_the_notebook_runs_from_top_to_bottom_and_holds_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = json.loads((ROOT / "examples" / "first_hour.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in code:
        exec("".join(cell["source"]), names)
    assert names["found"].ok
    assert names["tuned"].ok
    assert 0 < names["dice"]("found") <= 1
