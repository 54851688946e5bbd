from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from mass3d.errors import ConfigError, ModelError
from mass3d.masks.sam2.settings import Sam2Config
from mass3d.masks.sam2.weights import locate, weights_id

HUB_ID = "facebook/sam2.1-hiera-tiny"


def at(checkpoint: Path | str, **others: object) -> Sam2Config:
    return Sam2Config.model_validate({"checkpoint": str(checkpoint), **others})


def copy(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put a checkpoint where the hub's cache has it; calls are listed."""
    calls: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: object) -> str:
        calls.append({"name": name, **options})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_a_folder_is_taken_as_it_is(random: Path) -> None:
    assert locate(at(random)) == random


def test_no_checkpoint_is_an_error_that_tells_of_the_how_to() -> None:
    with pytest.raises(ConfigError, match=r"sam2-masks\.md"):
        locate(Sam2Config())


def test_a_hub_id_that_is_not_in_the_cache_is_an_error_and_nothing_is_fetched() -> None:
    with pytest.raises(ModelError, match=f"hf download {HUB_ID}") as told:
        locate(at(HUB_ID))
    assert "nothing of this name in the local cache" in str(told.value)


def test_a_hub_id_is_fetched_only_when_that_is_asked_for(
    random: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = cached(random, monkeypatch)
    assert locate(at(HUB_ID)) == random
    assert locate(at(HUB_ID, download=True)) == random
    assert [call["local_files_only"] for call in calls] == [True, False]
    assert all("*.safetensors" in call["allow_patterns"] for call in calls)


def test_a_download_that_fails_is_told() -> None:
    """The hub is out of reach in tests."""
    with pytest.raises(ModelError, match="Check the name and the connection"):
        locate(at(HUB_ID, download=True))


def test_a_folder_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match="no such folder"):
        locate(at("no/such/folder/at/all"))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[sam2\]'"):
        locate(at(HUB_ID))


@pytest.mark.parametrize("content", ["", "[]", '{"model_type": "clip"}'])
def test_another_kind_of_model_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config.json|sam2_video"):
        locate(at(tmp_path))


def test_an_image_only_model_is_refused_because_it_cannot_follow(
    random: Path, tmp_path: Path
) -> None:
    folder = copy(random, tmp_path / "m")
    (folder / "config.json").write_text(json.dumps({"model_type": "sam2"}))
    with pytest.raises(ModelError, match="no memory to follow masks with"):
        locate(at(folder))


def test_pickled_weights_are_not_enough(random: Path, tmp_path: Path) -> None:
    folder = copy(random, tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \*.safetensors"):
        locate(at(folder))


def test_the_identity_is_that_of_the_content_wherever_it_lies(
    random: Path, bright: Path, tmp_path: Path
) -> None:
    assert weights_id(at(random)) == weights_id(at(copy(random, tmp_path / "m")))
    assert weights_id(at(random)) != weights_id(at(bright))


def test_the_identity_changes_with_a_byte_of_the_weights_or_the_architecture(
    random: Path, tmp_path: Path
) -> None:
    before = weights_id(at(random))
    for name in ("model.safetensors", "config.json"):
        folder = copy(random, tmp_path / name)
        content = bytearray((folder / name).read_bytes())
        content[-2] ^= 1
        (folder / name).write_bytes(content)
        if name == "config.json":
            (folder / name).write_text((random / name).read_text() + "\n")
        assert weights_id(at(folder)) != before


def test_changed_weights_are_read_again(random: Path, tmp_path: Path) -> None:
    folder = copy(random, tmp_path / "m")
    before = weights_id(at(folder))
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    os.utime(folder / "model.safetensors", ns=(0, 0))
    assert weights_id(at(folder)) != before


def test_where_and_in_what_portions_work_is_done_is_no_content(random: Path) -> None:
    here = at(random, device="cpu", points_per_batch=8, objects_per_chunk=3, download=True)
    assert here.content() == Sam2Config().content()
    assert at(random, interval_mm=20.0).content() != Sam2Config().content()
