"""A real CT through `mass3d prepare --engine sam2`, killed and resumed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SETTINGS = ("points_per_side=4", "crop_layers=0", "max_masks_per_slice=4", "device=cpu")


def prepare(scan: Path, checkpoint: Path, store: Path) -> list[str]:
    """The command; a coarse store and few prompts, because only the way is of interest."""
    settings = [word for name in SETTINGS for word in ("--set", f"masks.sam2.{name}")]
    code = "from mass3d.cli import main; main()"
    engine = ["--engine", "sam2", "--checkpoint", str(checkpoint), "--spacing", "8"]
    return [sys.executable, "-c", code, "prepare", str(scan), "-o", str(store), *engine, *settings]


def pieces(store: Path) -> int:
    return len(list(store.rglob("axial-*.npz")))


@pytest.mark.slow
@pytest.mark.data
def test_a_real_ct_is_finished_after_a_kill_with_the_same_bytes(
    data_dir: Path, random: Path, tmp_path: Path
) -> None:
    scan = data_dir / "abdomen_ct" / "ct.nii.gz"
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run(prepare(scan, random, tmp_path / "a"), env=env, check=True)
    child = subprocess.Popen([*prepare(scan, random, tmp_path / "b"), "--workers", "1"], env=env)
    while pieces(tmp_path / "b") < 5:
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert pieces(tmp_path / "b") >= 5
    subprocess.run(prepare(scan, random, tmp_path / "b"), env=env, check=True)
    for name in ("layers.b2nd", "masks.npz", "case.json"):
        made = (tmp_path / "b" / "cases" / "ct" / name).read_bytes()
        assert made == (tmp_path / "a" / "cases" / "ct" / name).read_bytes(), name
    assert pieces(tmp_path / "b") == 0  # what was kept on the way is gone
