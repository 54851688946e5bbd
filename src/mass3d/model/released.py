"""The weights that MASS has published, as those of our network: every key is accounted for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from torch import Tensor

from mass3d.errors import ModelError
from mass3d.model.build import build_network
from mass3d.model.presets import IrisPreset
from mass3d.model.torch_file import KeyRow, bare, is_of_torch, key_table, some_of, unpickled

# Where the weights lie in a file, the first that is there; otherwise the file is the weights.
WEIGHTS_KEYS: Final = ("ema_model", "model")

LEFT_OUT: Final = "random numbers that the release never trained nor used"
UNUSED: Final = re.compile(r"task_prior_[012]")

_PARTS: Final = {
    "prior_aggregate_block": "gather",
    "prior_ffn": "update",
    "feat_aggregate_block": "spread",
    "feat_ffn": "refine",
    "prior_attn_block": "attend",
    "prior_ffn_2": "update_after",
    "query_attn_block_1": "attend_before",
    "query_ffn_1": "update_before",
    "query_aggregate_block": "gather",
    "query_aggregate_ffn": "update",
    "query_attn_block_2": "attend_after",
    "query_ffn_2": "update_after",
}
_INNER: Final = {
    "norm": "norm",
    "norm1": "norm",
    "norm2": "norm_context",
    "fn.mha.in_proj_": "to_all",
    "fn.mha.out_proj": "to_out",
    "fn.fc1": "mlp.linear1",
    "fn.fc2": "mlp.linear2",
}
_STAGE: Final = {
    "task_query": "queries",
    "pos_embed.embedding": "positions",
    "norm_query": "norm_queries",
    "norm_combined": "norm_tokens",
    "norm_post": "norm_out",
    "expand.2": "expand",
    "merge.2": "merge",
    "squeeze.2": "squeeze",
}
_CONV: Final = r"(conv1|conv2|shortcut)\.conv\.weight"


@dataclass(frozen=True)
class Released:
    """Published weights, as our network takes them."""

    preset: IrisPreset
    tensors: Mapping[str, Tensor]  # float32, by our names
    rows: tuple[KeyRow, ...]  # every key of the file's weights
    part: str  # of the file that they are: "ema_model", "model", or empty where it is all weights
    step: int  # updates behind them, as far as the file says

    def table(self) -> str:
        """What became of every key: a line each, columns of equal width."""
        return key_table(self.rows)


def renamed(key: str) -> str | None:
    """Our name of a released parameter; None where there is none."""
    for pattern, make in _RULES:
        match = re.fullmatch(pattern, key)
        if match:
            return make(match)
    return None


def _encoder_stage(match: re.Match[str]) -> str:
    stage, block, conv = match.groups()
    return f"encoder.stages.{int(stage) - 1}.{('first', 'second')[int(block) - 1]}.{conv}.weight"


def _decoder_stage(match: re.Match[str]) -> str:
    stage, block, conv = match.groups()
    return f"decoder.stages.{int(stage) - 1}.{('first', 'second')[int(block)]}.{conv}.weight"


def _attention_part(match: re.Match[str]) -> str | None:
    room, stage, block, part, inner, kind = match.groups()
    if part not in _PARTS or inner not in _INNER:
        return None
    ours = "decoder.fusions" if room == "decoder.prior_fuse" else "tasks"
    return f"{ours}.{stage}.blocks.{block}.{_PARTS[part]}.{_INNER[inner]}.{kind}"


def _task_stage(match: re.Match[str]) -> str:
    stage, name, kind = match.groups()
    return f"tasks.{stage}.{_STAGE.get(name, name)}{kind or ''}"


_RULES: Final = (
    (r"encoder\.inc\.conv1\.weight", lambda _: "encoder.stem.weight"),
    (rf"encoder\.inc\.conv2\.{_CONV}", lambda m: f"encoder.first.{m[1]}.weight"),
    (rf"encoder\.down([1-4])\.conv\.([12])\.{_CONV}", _encoder_stage),
    (rf"decoder\.up([1-4])\.conv\.([01])\.{_CONV}", _decoder_stage),
    (
        r"(decoder\.prior_fuse|task_embedding)\.([012])\.attn_layers\.([01])\.(\w+)\."
        r"(norm[12]?|fn\.mha\.in_proj_|fn\.mha\.out_proj|fn\.fc[12])\.?(weight|bias)",
        _attention_part,
    ),
    (
        r"task_embedding\.([012])\.(task_query|pos_embed\.embedding|norm_\w+|"
        r"(?:expand|merge|squeeze)\.2)(\.weight|\.bias)?",
        _task_stage,
    ),
    (r"out\.norm\.(weight|bias)", lambda m: f"classifier.norm.{m[1]}"),
    (
        r"out\.classifier_pred\.([01])\.fc([12])\.(weight|bias)",
        lambda m: f"classifier.{('write', 'refine')[int(m[1])]}.linear{m[2]}.{m[3]}",
    ),
)


def is_released(path: Path) -> bool:
    """Whether a regular file is one that torch saved, by its first bytes, rather than ours."""
    return is_of_torch(path)


def read_released(path: Path) -> Released:
    """Read a published file. Nothing but tensors and plain values is unpickled.

    Raises `ModelError` where that cannot be done, and for keys that are unknown, missing, or of
    another shape, naming them.
    """
    content = unpickled(path)
    part = next((key for key in WEIGHTS_KEYS if isinstance(content.get(key), Mapping)), "")
    weights = content[part] if part else content
    state = {bare(str(key)): value for key, value in weights.items()}
    rows = tuple(_row(key) for key in state)
    counts = Counter(row.ours for row in rows if row.ours)
    twice = [row.released for row in rows if counts[row.ours] > 1]
    if twice or len(state) < len(weights):
        raise _foreign(path, f"keys that are there twice: {some_of(twice or list(weights))}")
    unknown = [key for key, value in state.items() if not isinstance(value, Tensor)]
    unknown += [row.released for row in rows if not row.ours and not row.why]
    if unknown:
        raise _foreign(path, f"keys that the released network has not: {some_of(unknown)}")
    named = {row.ours: state[row.released] for row in rows if row.ours}
    preset = _preset_of(path, named)
    released = {row.ours: row.released for row in rows}
    tensors = _fitted(path, preset, named, released)
    step = content.get("iteration", 0) if part else 0
    return Released(preset, tensors, rows, part, step if isinstance(step, int) and step > 0 else 0)


def _row(key: str) -> KeyRow:
    if UNUSED.fullmatch(key):
        return KeyRow(key, "", LEFT_OUT)
    return KeyRow(key, renamed(key) or "", "")


def _preset_of(path: Path, named: Mapping[str, Tensor]) -> IrisPreset:
    """The sizes of the network, which its tensors tell."""
    wanted = ["encoder.first.conv2.weight"]
    wanted += [f"encoder.stages.{stage}.second.conv2.weight" for stage in range(4)]
    try:
        return IrisPreset(
            channels=tuple(named[name].shape[0] for name in wanted),  # type: ignore[arg-type]
            queries=named["tasks.0.queries"].shape[0],
            position_edge=named["tasks.0.positions"].shape[-1],
        )
    except (KeyError, IndexError, ValidationError) as error:
        raise _foreign(path, f"no sizes of a network ({error})".splitlines()[0]) from error


def _fitted(
    path: Path, preset: IrisPreset, named: Mapping[str, Tensor], released: Mapping[str, str]
) -> dict[str, Tensor]:
    """The tensors of exactly the network of a preset, in 32 bits. Raises `ModelError`."""
    with torch.device("meta"):
        wanted = build_network(preset, seed=0).state_dict()
    missing = [name for name in wanted if name not in named]
    other = [
        f"{released[name]} of shape {list(named[name].shape)}, not {list(wanted[name].shape)}"
        for name in named
        if name in wanted and named[name].shape != wanted[name].shape
    ]
    surplus = [released[name] for name in named if name not in wanted]
    bad = [
        released[name]
        for name, tensor in named.items()
        if not (tensor.is_floating_point() and tensor.isfinite().all())
    ]
    for found, names in (
        ("keys that are missing, by our names:", missing),
        ("keys of another shape:", other),
        ("keys that the released network has not:", surplus),
        ("numbers that are not finite, or whole, in", bad),
    ):
        if names:
            raise _foreign(path, f"{found} {some_of(names)}")
    return {name: named[name].to(torch.float32) for name in wanted}


def _foreign(path: Path, found: str) -> ModelError:
    return ModelError(
        path,
        found=found,
        expected="the weights of the network that MASS has published",
        fix="Use the published file, or a run of mass3d.",
    )
