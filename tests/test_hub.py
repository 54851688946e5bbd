from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mass3d
from mass3d.errors import ModelError
from mass3d.hub import cached_file, is_hub_id, why_not


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("owner/model", True),
        ("some-lab/mass3d_ct.v2", True),
        ("model", False),
        ("a/b/c", False),
        ("../model", False),
        ("owner/..", False),
        ("/model", False),
        ("owner/mo del", False),
        ("", False),
    ],
)
def test_an_owner_and_a_model_make_a_hub_id(name: str, expected: bool) -> None:
    assert is_hub_id(name) is expected
    if not expected:
        assert cached_file(name, "model.safetensors") is None


def test_without_the_library_of_the_hub_nothing_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert cached_file("owner/model", "model.safetensors") is None
    told = why_not("owner/model")
    assert "no huggingface_hub in this installation" in told.found
    assert "pip install '.[hub]' in a checkout" in told.fix
    assert "hf download" not in told.fix
    assert why_not("model") == ("", "")  # no name of the hub
    with pytest.raises(ModelError, match=r"no huggingface_hub .* pip install '\.\[hub\]'"):
        mass3d.load("owner/model")


def test_with_the_library_the_command_that_fetches_a_model_is_told() -> None:
    told = why_not("owner/model")
    assert "nothing of this name in the local cache" in told.found
    assert told.fix == " To fetch a model of the hub, run hf download owner/model."


def test_what_was_fetched_before_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants  # noqa: PLC0415

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert cached_file("owner/model", "model.safetensors") is None
    folder = tmp_path / "models--owner--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "snapshots/abc/model.safetensors").write_bytes(b"weights")
    found = cached_file("owner/model", "model.safetensors")
    assert found is not None
    assert found.read_bytes() == b"weights"
