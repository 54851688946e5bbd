from pathlib import Path

import pytest
import torch

from mass3d.errors import ModelError
from mass3d.training import checkpoint
from small_disk import run_on_small_disk

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([True, False])}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "x.safetensors", TENSORS, kind="weights", facts={"step": 3})
    return tmp_path / "x.safetensors"


def test_what_is_saved_comes_back(saved: Path) -> None:
    tensors, facts, fingerprint = checkpoint.load(saved, kind="weights")
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert facts == {"step": 3}
    assert fingerprint == checkpoint.digest(TENSORS, {"step": 3})


def test_a_changed_byte_is_found(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ModelError, match="differs from what the file was written with"):
        checkpoint.load(saved, kind="weights")


def test_changed_facts_are_found(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().replace(rb"\"step\": 3", rb"\"step\": 4"))
    with pytest.raises(ModelError, match="differs from what the file was written with"):
        checkpoint.load(saved, kind="weights")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04pickle"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged or foreign"):
        checkpoint.load(path, kind="weights")


def test_a_truncated_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-5])
    with pytest.raises(ModelError, match="damaged or foreign"):
        checkpoint.load(saved, kind="weights")


def test_another_kind_is_refused(saved: Path) -> None:
    with pytest.raises(ModelError, match="weights file"):
        checkpoint.load(saved, kind="resume")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        checkpoint.load(tmp_path / "none.safetensors", kind="weights")


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("x", "y"):
        checkpoint.save(tmp_path / name, TENSORS, kind="weights", facts={"b": 1, "a": [2]})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


FULL = """
import torch
from mass3d.training import checkpoint
from mass3d.errors import OutputError

mount("size=40k")
path = disk / "model.safetensors"
checkpoint.save(path, {"a": torch.zeros(10)}, kind="weights", facts={})
before = path.read_bytes()
try:
    checkpoint.save(path, {"a": torch.zeros(20000)}, kind="weights", facts={})
    told = ""
except OutputError as error:
    told = str(error)
left = [child.name for child in disk.iterdir()]
print(json.dumps({"told": told, "left": left, "same": path.read_bytes() == before}))
"""


def test_a_full_disk_is_told_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    found = run_on_small_disk(FULL, tmp_path)
    assert "model.safetensors: found no space left on device" in found["told"]
    assert (found["left"], found["same"]) == (["model.safetensors"], True)
