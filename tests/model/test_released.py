"""Published weights: every key is accounted for, and nothing but tensors is unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mass3d.errors import ModelError
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS, IrisPreset
from mass3d.model.released import LEFT_OUT, is_released, read_released, renamed
from oracles.iris import PlainIris, made_inputs, made_state, released_shapes

CHANNELS = (2, 4, 32, 32, 32)
EDGE = 32


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return made_state(released_shapes(CHANNELS, edge=EDGE, prior_rows=3), seed=5)


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_it_is_the_network_that_was_published(state: dict[str, Tensor], tmp_path: Path) -> None:
    published = read_released(saved(tmp_path / "mass_base.pth", {"model": state, "iteration": 7}))
    assert published.preset == IrisPreset(channels=CHANNELS, position_edge=EDGE)
    assert (published.part, published.step) == ("model", 7)
    net = build_network(published.preset, seed=0)
    net.load_state_dict(dict(published.tensors))
    target, reference, masks = made_inputs((32, 16, 32), 2, 0)
    with torch.no_grad():
        found = net.eval()(reference, masks, target)
        wanted = PlainIris(state)(target, reference, masks)
    assert (found - wanted).norm() / wanted.norm() < 1e-4


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("part", ["model", "ema_model", ""])
def test_weights_are_found_wherever_they_lie(
    prefix: str, part: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    wrapped = {prefix + key: value for key, value in state.items()}
    path = saved(tmp_path / "x.pth", {part: wrapped, "epoch": 3} if part else wrapped)
    published = read_released(path)
    assert published.part == part
    assert published.tensors["encoder.stem.weight"].equal(state["encoder.inc.conv1.weight"])
    assert is_released(path)


def test_the_average_of_the_weights_goes_first(state: dict[str, Tensor], tmp_path: Path) -> None:
    average = {key: value + 1 for key, value in state.items()}
    best = {"best_metric": np.float64(0.7), "config": {"run": "/a", "sizes": [1, 2]}}
    content = {"model": state, "ema_model": average, "iteration": "?", **best}
    published = read_released(saved(tmp_path / "x.pth", content))
    assert (published.part, published.step) == ("ema_model", 0)
    assert published.tensors["classifier.norm.bias"].equal(state["out.norm.bias"] + 1)


def test_every_key_is_in_the_table_once(state: dict[str, Tensor], tmp_path: Path) -> None:
    published = read_released(saved(tmp_path / "x.pth", state))
    assert [row.released for row in published.rows] == list(state)
    taken = [row.ours for row in published.rows if row.ours]
    assert sorted(taken) == sorted(build_network(published.preset, seed=0).state_dict())
    left = [row.released for row in published.rows if not row.ours]
    assert left == ["task_prior_0", "task_prior_1", "task_prior_2"]
    lines = published.table().splitlines()
    assert len(lines) == len(state)
    assert lines[0].split("  ", 1) == ["task_prior_0", lines[0].split("  ", 1)[1]]
    assert lines[0].endswith(f"left out: {LEFT_OUT}")
    assert any(
        line.startswith("encoder.inc.conv1.weight ")
        and line.endswith("  renamed  encoder.stem.weight")
        for line in lines
    )


@pytest.mark.data
def test_all_published_keys_have_a_place(parity_dir: Path) -> None:
    rows = (parity_dir / "iris_base_state_dict.tsv").read_text().splitlines()[1:]
    cells = [row.split("\t") for row in rows]
    shapes = {key: [int(n) for n in shape.strip("[]").split(",")] for key, shape, *_ in cells}
    assert len(shapes) == 572
    with torch.device("meta"):
        wanted = build_network(PRESETS["base"], seed=0).state_dict()
    found = {renamed(key): shape for key, shape in shapes.items() if "task_prior" not in key}
    assert found == {name: list(tensor.shape) for name, tensor in wanted.items()}


def test_half_precision_becomes_32_bits(state: dict[str, Tensor], tmp_path: Path) -> None:
    half = {key: value.half() for key, value in state.items()}
    tensors = read_released(saved(tmp_path / "x.pth", half)).tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


QUERY = "task_embedding.1.norm_query.bias"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({QUERY: None}, "missing, by our names: tasks.1.norm_queries.bias"),
        ({QUERY: torch.zeros(3)}, f"another shape: {QUERY} of shape [3], not [32]"),
        ({"decoder.new.weight": torch.zeros(1)}, "the released network has not: decoder.new.weigh"),
        (
            {"decoder.prior_fuse.0.attn_layers.0.query_ffn_9.norm.bias": torch.zeros(1)},
            "the released network has not: decoder.prior_fuse.0",
        ),
        ({"out.norm.fc1.weight": torch.zeros(1)}, "has not: out.norm.fc1.weight"),
        ({"task_embedding.0.norm_x.bias": torch.zeros(1)}, "has not: task_embedding.0.norm_x.bias"),
        ({QUERY: 3}, f"has not: {QUERY}"),
        ({QUERY: torch.full((32,), torch.nan)}, f"not finite, or whole, in {QUERY}"),
        ({QUERY: torch.zeros(32, dtype=torch.int64)}, f"not finite, or whole, in {QUERY}"),
        ({"encoder.inc.conv2.conv2.conv.weight": None}, "no sizes of a network"),
        ({"task_embedding.0.pos_embed.embedding": torch.zeros(1, 8)}, "no sizes of a network"),
    ],
)
def test_what_is_not_the_published_network_is_named(
    change: dict[str, Any], told: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    changed = {key: value for key, value in (state | change).items() if value is not None}
    path = saved(tmp_path / "x.pth", {"model": changed})
    with pytest.raises(ModelError) as caught:
        read_released(path)
    assert caught.value.where == str(path)
    assert told in caught.value.found


@pytest.mark.parametrize(
    "again",
    [
        "module.encoder.inc.conv1.weight",
        "decoder.prior_fuse.0.attn_layers.0.query_aggregate_ffn.norm.weight",
    ],
)
def test_a_key_that_is_there_twice_is_refused(
    again: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = saved(tmp_path / "x.pth", state | {again: torch.zeros(1)})
    with pytest.raises(ModelError, match="there twice"):
        read_released(path)


def test_of_many_strange_keys_some_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {f"key{number}": torch.zeros(1) for number in range(9)})
    with pytest.raises(ModelError, match="key0, key1, key2, key3, key4 and 4 more"):
        read_released(path)


class Evil:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize("archive", [True, False])
def test_code_in_a_file_is_not_run(archive: bool, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"model": state, "more": Evil()}, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(ModelError, match="none of which was run"):
        read_released(path)


def test_a_damaged_file_is_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", state)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        read_released(path)


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a list"):
        read_released(saved(tmp_path / "x.pth", [1, 2]))


def test_files_that_torch_did_not_save_are_none_of_these(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("PK, but no archive")
    (tmp_path / "pickle").write_bytes(pickle.dumps({}, protocol=2))
    # of safetensors, whose first byte depends on the length of the header
    (tmp_path / "ours").write_bytes((640).to_bytes(8, "little") + b"{" + 639 * b" ")
    assert (tmp_path / "ours").read_bytes()[:2] == (tmp_path / "pickle").read_bytes()[:2]
    assert not any(map(is_released, [tmp_path, *tmp_path.iterdir()]))


def test_files_of_old_versions_of_torch_are_read(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"model": state}, path, _use_new_zipfile_serialization=False)
    assert is_released(path)
    assert read_released(path).part == "model"
