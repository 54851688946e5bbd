"""The five commands of the README do what it promises, typed as they stand there."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest

from mass3d.phantom import write_phantom_cohort

ROOT = Path(__file__).resolve().parent.parent
FEW = {  # what the test adds, for speed
    "prepare": ["--spacing", "9"],
    "pretrain": ["--steps", "2", "--set", "fit.batch_size=1", "--set", "views.num_masks=3"],
}


def commands() -> list[list[str]]:
    """The five commands in words."""
    text = (ROOT / "README.md").read_text()
    block = re.search(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.M)
    assert block
    return [shlex.split(line, comments=True) for line in block.group(1).splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the README supposes it: scans, a labelled one, and new ones."""
    raw = write_phantom_cohort(tmp_path / "raw", cases=3, test_cases=2, seed=0)
    home = tmp_path / "home"
    shutil.copytree(raw / "imagesTr", home / "scans")
    shutil.copytree(raw / "imagesTs", home / "new_scans")
    shutil.copy(raw / "imagesTr" / "ct_000_0000.nii.gz", home / "a.nii.gz")
    shutil.copy(raw / "labelsTr" / "ct_000.nii.gz", home / "a_label.nii.gz")
    return home


def test_there_are_five_commands() -> None:
    verbs = [command[1] for command in commands()]
    assert verbs == ["inspect", "prepare", "pretrain", "task", "segment"]


@pytest.mark.slow
def test_the_five_commands_lead_to_segmentations(folder: Path) -> None:
    program = [sys.executable, "-c", "from mass3d.cli import main; main()"]
    for _, verb, *words in commands():
        told = subprocess.run(
            [*program, verb, *words, *FEW.get(verb, [])],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, f"{verb}: {told.stdout}{told.stderr}"
    for scan in (folder / "new_scans").iterdir():
        found = nib.load(folder / "found" / scan.name.replace("_0000", ""))
        assert found.shape == nib.load(scan).shape
    assert (folder / "store" / "store.json").exists()
    assert (folder / "run" / "model.safetensors").exists()
    assert (folder / "mine.task").exists()
