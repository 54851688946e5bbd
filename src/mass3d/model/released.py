"""The weights that MASS has published, as those of our network: every key is accounted for."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from mass3d.errors import ModelError
from mass3d.model.build import build_network
from mass3d.model.presets import IrisPreset

# Where the weights lie in a file, the first that is there; otherwise the file is the weights.
WEIGHTS_KEYS: Final = ("ema_model", "model")
WRAPPERS: Final = ("module.", "_orig_mod.")  # of training on several devices, of compilation

# An archive; or, from before torch 1.6, a pickle that begins with torch's number.
BEGINNINGS: Final = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")

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


class KeyRow(NamedTuple):
    """What becomes of one key of a published file."""

    released: str
    ours: str  # empty where it is left out
    why: str  # empty where it is taken


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
        width = max(len(row.released) for row in self.rows)
        lines = [
            f"{row.released:<{width}}  "
            + (
                f"left out: {row.why}"
                if row.why
                else "matched"
                if row.released == row.ours
                else f"renamed  {row.ours}"
            )
            for row in self.rows
        ]
        return "\n".join(lines)


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
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(max(BEGINNINGS, key=len))).startswith(BEGINNINGS)


def read_released(path: Path) -> Released:
    """Read a published file. Nothing but tensors and plain values is unpickled.

    Raises `ModelError` where that cannot be done, and for keys that are unknown, missing, or of
    another shape, naming them.
    """
    content = _unpickled(path)
    part = next((key for key in WEIGHTS_KEYS if isinstance(content.get(key), Mapping)), "")
    weights = content[part] if part else content
    state = {_bare(str(key)): value for key, value in weights.items()}
    rows = tuple(_row(key) for key in state)
    counts = Counter(row.ours for row in rows if row.ours)
    twice = [row.released for row in rows if counts[row.ours] > 1]
    if twice or len(state) < len(weights):
        raise _foreign(path, f"keys that are there twice: {_some(twice or list(weights))}")
    unknown = [key for key, value in state.items() if not isinstance(value, Tensor)]
    unknown += [row.released for row in rows if not row.ours and not row.why]
    if unknown:
        raise _foreign(path, f"keys that the released network has not: {_some(unknown)}")
    named = {row.ours: state[row.released] for row in rows if row.ours}
    preset = _preset_of(path, named)
    released = {row.ours: row.released for row in rows}
    tensors = _fitted(path, preset, named, released)
    step = content.get("iteration", 0) if part else 0
    return Released(preset, tensors, rows, part, step if isinstance(step, int) and step > 0 else 0)


def _unpickled(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as stream:
        archive = stream.read(2) == b"PK"
    try:
        with _numbers_of_numpy(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused in our own words
            # mapped: what training needs to go on lies beside the weights, and is not read
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except UnpicklingError as error:  # torch's own words tell how to run what a pickle holds
        raise ModelError(
            path,
            found="a pickle of other things than tensors and plain values, none of which was run",
            expected="weights that torch has saved",
            fix="Save its weights alone as tensors, on a machine where you trust it.",
        ) from error
    except (RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        raise ModelError(
            path,
            found=f"a file that cannot be read ({str(error).splitlines()[0][:200]})",
            expected="weights that torch has saved: tensors and plain values",
            fix="Copy it again, or save its weights alone as tensors.",
        ) from error
    if not isinstance(content, Mapping):
        raise _foreign(path, f"a {type(content).__name__}")
    return content


@contextmanager
def _numbers_of_numpy() -> Iterator[None]:
    """Let single numbers of numpy through, which checkpoints hold as their best score."""
    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64")]
    scalar: Any = np.float64(0).__reduce__()[0]
    old: Any = (scalar, "numpy.core.multiarray.scalar")  # as numpy 1 has written it
    with torch.serialization.safe_globals([scalar, old, np.dtype, *kinds]):
        yield


def _bare(key: str) -> str:
    """A key without what wrappers have put before it, in whatever order."""
    while key.startswith(WRAPPERS):
        key = key.removeprefix(next(one for one in WRAPPERS if key.startswith(one)))
    return key


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
            raise _foreign(path, f"{found} {_some(names)}")
    return {name: named[name].to(torch.float32) for name in wanted}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(name[:100] for name in names[:5]) + more


def _foreign(path: Path, found: str) -> ModelError:
    return ModelError(
        path,
        found=found,
        expected="the weights of the network that MASS has published",
        fix="Use the published file, or a run of mass3d.",
    )
