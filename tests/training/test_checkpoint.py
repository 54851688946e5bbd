from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from mass3d.config import Config
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


def every_kind() -> dict[str, torch.Tensor]:
    """Every kind of number there is a name for, of awkward shapes."""
    values = torch.arange(24).view(2, 3, 4)
    made = {f"a {kind}": values.to(kind) for kind in checkpoint.KINDS}
    turned = torch.randn(4, 6, generator=torch.Generator().manual_seed(7)).T
    return made | {
        "turned": turned,
        "part": torch.arange(20.0)[3::4],
        "one number": torch.tensor(2.5),
        "none": torch.empty(0, 5),
        "last axis first": torch.randn(1, 2, 3, 4, 5).to(memory_format=torch.channels_last_3d),
        "größe/\u03b1": torch.ones(1),
    }


def test_every_kind_of_number_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, every_kind(), kind="task", facts={"name": "größe"})
    tensors, facts, _ = checkpoint.load(path, kind="task")
    assert facts == {"name": "größe"}
    assert tensors.keys() == every_kind().keys()
    for name, tensor in every_kind().items():
        assert tensors[name].dtype == tensor.dtype
        if not name.startswith("last"):  # of random numbers
            assert torch.equal(tensors[name], tensor)


def test_the_file_is_one_that_the_library_would_write(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    kept = {name: tensor.contiguous() for name, tensor in every_kind().items()}
    checkpoint.save(ours, kept, kind="task", facts={"n": [1, None]})
    with safe_open(ours, framework="pt") as stream:
        metadata = stream.metadata()
    safetensors.torch.save_file(kept, theirs, metadata=metadata)
    read = safetensors.torch.load_file(ours)
    for name, tensor in safetensors.torch.load_file(theirs).items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_saving_copies_no_tensor_that_lies_in_order() -> None:
    tensors = {"a": torch.randn(300, 70), "b": torch.arange(9)}
    pieces = list(checkpoint._content(tensors, {}))
    for tensor in tensors.values():
        assert any(np.shares_memory(np.frombuffer(p, np.uint8), tensor.numpy()) for p in pieces[2:])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"good": torch.ones(3), "bad": torch.tensor([1.0, value])}
    checkpoint.save(path, tensors, kind="weights", facts={})
    with pytest.raises(ModelError, match="numbers in bad that are not finite"):
        checkpoint.load(path, kind="weights")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="found a folder"):
        checkpoint.load(tmp_path, kind="weights")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="not a regular file"):
        checkpoint.read_facts(tmp_path / "pipe", kind="weights")


@pytest.mark.parametrize("metadata", [None, {"mass3d": "{"}, {"mass3d": "[" * 100_000}])
def test_a_file_of_another_program_is_refused(
    metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file(TENSORS, path, metadata=metadata)
    with pytest.raises(ModelError, match="without a mass3d header"):
        checkpoint.load(path, kind="weights")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"format": 2}, "a weights file of format 2"),
        ({"digest": 5}, "digest is wrong"),
        ({"facts": None}, "facts is wrong"),
        ({"more": 1}, "more is wrong"),
    ],
)
def test_a_header_of_another_version_is_refused(
    change: dict[str, object], found: str, saved: Path
) -> None:
    with safe_open(saved, framework="pt") as stream:
        header = json.loads(stream.metadata()["mass3d"])
    metadata = {"mass3d": json.dumps(header | change)}
    safetensors.torch.save_file(TENSORS, saved, metadata=metadata)
    with pytest.raises(ModelError, match=found):
        checkpoint.read_facts(saved, kind="weights")


class Record(Config):
    """Facts of a file."""

    crop: tuple[int, int]
    """Two numbers."""


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [({}, "crop"), ({"crop": [1, "x"]}, r"crop\.1"), ({"crop": [1]}, r"crop\.1")],
)
def test_the_first_wrong_fact_is_named(facts: dict[str, object], wrong: str) -> None:
    assert checkpoint.validated(Record, {"crop": [1, 2]}, Path("x")).crop == (1, 2)
    with pytest.raises(ModelError, match=f"x: found a header in which {wrong} is wrong"):
        checkpoint.validated(Record, facts, Path("x"))


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
