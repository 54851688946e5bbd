"""The example scripts do what they say, on a tiny cohort."""

import importlib.util
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from mass3d.io.phantom import write_phantom_cohort

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
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
    assert found.ndim == 3
    assert set(np.unique(found)) <= {0, 1, 2, 3, 4}


def test_the_shown_masks_are_disjoint_and_no_larger_than_asked(out: Path, tmp_path: Path) -> None:
    where = [str(out / "store"), "ct_000", str(tmp_path / "masks.nii.gz")]
    script("masks_to_nifti").main([*where, "--layer", "1", "--largest-ml", "100"])
    image = nib.load(tmp_path / "masks.nii.gz")
    labels = np.asarray(image.dataobj)
    assert labels.max() > 3
    millilitres = np.bincount(labels.ravel())[1:] * np.prod(image.header.get_zooms()) / 1000
    assert 0 < millilitres.max() < 130  # a little more than asked: counted on the scan's own grid
