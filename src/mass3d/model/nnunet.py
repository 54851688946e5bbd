"""The weights of our residual encoder U-Net as nnU-Net keeps them, and back.

nnU-Net registers some parts twice: every convolution and norm also in a list, and the encoder also
in the decoder. So its files know most tensors by two or four names, all of which it asks for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from mass3d.errors import ModelError
from mass3d.files import write_text
from mass3d.model.plan import ResEncPlan
from mass3d.model.presets import Preset, ResEncPreset
from mass3d.model.resenc import ResEncTrunk
from mass3d.model.torch_file import KeyRow, bare, key_table, some_of, unpickled

STACKS: Final = ("encoder.", "decoder.")
WEIGHTS_KEY: Final = "network_weights"
LISTED: Final = {"conv": "all_modules.0", "norm": "all_modules.1"}
HEADS: Final = "decoder.seg_layers."
HEAD: Final = "a head, which knows the classes of its training alone"
EXTRA: Final = "no part of encoder or decoder"
TABLE: Final = "first-weights.txt"  # what became of every key, in the folder of a run


def their_names(name: str) -> tuple[str, ...]:
    """All names of a tensor of ours in nnU-Net, ours among them, as the first."""
    names = [name]
    match = re.fullmatch(r"(.+)\.(conv|norm)\.(weight|bias)", name)
    if match:
        names.append(f"{match[1]}.{LISTED[match[2]]}.{match[3]}")
    return (*names, *(f"decoder.{one}" for one in names if one.startswith("encoder.")))


def to_nnunet(stacks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of encoder and decoder by all their names in nnU-Net; none is there twice."""
    return {other: stacks[name] for name in stacks for other in their_names(name)}


def stacks_of(trunk: ResEncTrunk) -> dict[str, Tensor]:
    """Encoder and decoder of a trunk, as 32-bit tensors of the CPU."""
    return {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in trunk.state_dict().items()
        if name.startswith(STACKS)
    }


def shapes_of(plan: ResEncPlan) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of encoder and decoder; takes no memory."""
    with torch.device("meta"):
        state = ResEncTrunk(plan, width=1).state_dict()
    return {name: tuple(one.shape) for name, one in state.items() if name.startswith(STACKS)}


def misfits(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """What keeps tensors of these shapes from being those that are wanted, a sentence each."""
    missing = [f"{name} is missing" for name in wanted if name not in found]
    other = [
        f"{name} of shape {list(found[name])}, not {list(wanted[name])}"
        for name in found
        if name in wanted and found[name] != wanted[name]
    ]
    return [*other, *missing, *(f"{name} is too much" for name in found if name not in wanted)]


@dataclass(frozen=True)
class Stacks:
    """Encoder and, where there is one, decoder of a file of nnU-Net or nnssl."""

    tensors: Mapping[str, Tensor]  # float32, by our names
    rows: tuple[KeyRow, ...]  # every key of the file's weights

    @property
    def has_decoder(self) -> bool:
        """Whether the decoder is there, too."""
        return any(name.startswith("decoder.") for name in self.tensors)

    def table(self) -> str:
        """What became of every key: a line each, columns of equal width."""
        return key_table(self.rows)

    def facts(self) -> dict[str, str]:
        """What decides the weights of a run that begins with these; nothing where it does not."""
        if not self.tensors:
            return {}
        state = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            state.update(name.encode())
            state.update(tensor.contiguous().numpy().tobytes())
        return {"began": state.hexdigest()}

    def write(self, run: Path) -> None:
        """Write the table into the folder of a run that begins with these."""
        if self.tensors:
            write_text(run / TABLE, self.table() + "\n")

    def in_words(self) -> str:
        """A sentence; empty where nothing was taken."""
        if not self.tensors:
            return ""
        what = "encoder and decoder" if self.has_decoder else "the encoder alone"
        return f"It began with {what} of another run: {len(self.tensors)} tensors matched."


def read_stacks(path: Path, plan: ResEncPlan) -> Stacks:
    """Encoder and decoder of a checkpoint; nothing but tensors and plain values is unpickled.

    Raises `ModelError` where that cannot be done, and where it does not fit the plan, naming the
    tensors. A checkpoint may be without the decoder.
    """
    content = unpickled(path)
    weights = content.get(WEIGHTS_KEY, content)
    if not isinstance(weights, Mapping):
        raise _unfit(path, [f"{WEIGHTS_KEY} is a {type(weights).__name__}"])
    state = {bare(str(key)): value for key, value in weights.items()}
    wanted = shapes_of(plan)
    ours = {other: name for name in wanted for other in their_names(name)}
    rows = tuple(_row(name, ours) for name in state)
    tensors = {row.ours: state[row.ours] for row in rows if row.ours}
    if not any(name.startswith("decoder.") for name in tensors):
        wanted = {name: shape for name, shape in wanted.items() if name.startswith("encoder.")}
    faults = [f"{name} is no tensor" for name in tensors if not isinstance(state[name], Tensor)]
    faults += ["keys are there twice"] if len(state) < len(weights) else []
    faults = faults or misfits({name: tuple(one.shape) for name, one in tensors.items()}, wanted)
    faults = faults or [
        f"{name} has numbers that are not finite"
        for name, one in tensors.items()
        if not (one.is_floating_point() and one.isfinite().all())
    ]
    faults = faults or [
        f"{row.released} differs from {ours[row.released]}"
        for row in rows
        if row.released in ours and not row.ours and _differs(state, row.released, ours)
    ]
    if faults:
        raise _unfit(path, faults)
    return Stacks({name: tensors[name].to(torch.float32) for name in wanted}, rows)


def first_stacks(net: nn.Module, preset: Preset, path: Path | None) -> Stacks:
    """Give a new network encoder and decoder of a checkpoint; none where there is no path.

    Raises `ModelError` as `read_stacks` does.
    """
    if path is None:
        return Stacks({}, ())
    assert isinstance(preset, ResEncPreset), "refused for other presets"
    stacks = read_stacks(path, preset.plan)
    trunk = net.trunk
    assert isinstance(trunk, ResEncTrunk)
    trunk.load_state_dict(dict(stacks.tensors), strict=False)
    return stacks


def _row(name: str, ours: Mapping[str, str]) -> KeyRow:
    if name.startswith(HEADS):
        return KeyRow(name, "", HEAD)
    if name in ours and ours[name] != name:
        return KeyRow(name, "", f"the same as {ours[name]}")
    second = ".all_modules." in name or name.startswith("decoder.encoder.")
    if name in ours or (name.startswith(STACKS) and not second):
        return KeyRow(name, name, "")  # or too much, of a larger network
    return KeyRow(name, "", EXTRA)


def _differs(state: Mapping[str, object], name: str, ours: Mapping[str, str]) -> bool:
    one, other = state[name], state.get(ours[name])
    return not (isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other))


def _unfit(path: Path, faults: list[str]) -> ModelError:
    return ModelError(
        path,
        found=some_of(faults),
        expected="encoder and decoder of nnU-Net that fit the plan of this network",
        fix="Choose the plan that the checkpoint was made with: its plans file, or values.",
        setting="resenc.init",
    )
