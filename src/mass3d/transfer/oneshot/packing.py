"""A reference in few bytes: two bits a feature, deflated; named tensors and facts for a file."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Annotated, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor

from mass3d.alignment.features import Level, ScanFeatures
from mass3d.config import Config
from mass3d.transfer.oneshot.reference import LabelledScan
from mass3d.transfer.oneshot.settings import MAX_STRUCTURES
from mass3d.transfer.tuning.head import VoxelHead
from mass3d.transfer.tuning.tune import TunedHead

STEPS: Final = 3  # features in [0, 1] are kept as 0, 1, 2 or 3 thirds: as good as all digits
MAX_CELLS: Final = 2**31  # of anything that is unpacked

Count = Annotated[int, Field(ge=1, le=2**20)]
Place = tuple[int, int, int]
Counts = tuple[Count, Count, Count]


class LevelFacts(Config):
    """A level of features."""

    stride: Count
    origin: Place
    shape: Counts
    channels: Count


class HeadFacts(Config):
    """A tuned head."""

    features: Count
    hidden: Count
    carried_dice: tuple[float, ...]
    tuned_dice: tuple[float, ...]
    network: bool = False
    places: tuple[NonNegativeInt, ...] | None = None
    """Of its structures in those of the task, if it does not know all."""

    @model_serializer(mode="wrap")
    def _told(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = usual(self)
        return {key: value for key, value in told.items() if key != "places" or value is not None}


class ScanFacts(Config):
    """What a file says of a reference beside its tensors."""

    shape: Counts
    origin: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
    size: Counts
    structures: Annotated[int, Field(ge=1, le=MAX_STRUCTURES)]
    label_origin: Place
    label_shape: Counts
    levels: tuple[LevelFacts, ...]
    head: HeadFacts | None = None
    modality: str = ""


def pack(scan: LabelledScan) -> tuple[dict[str, Tensor], ScanFacts]:
    """Tensors by name, and what is needed to read them. Features must lie in [0, 1]."""
    tensors = {"label": _deflated(scan.label.numpy())}
    for stride, level in scan.features.levels.items():
        thirds = (level.features * STEPS).round().clamp(0, STEPS).to(torch.uint8)
        tensors[f"features.{stride}"] = _deflated(_packed(thirds.flatten().numpy()))
        tensors[f"known.{stride}"] = _deflated(np.packbits(level.known.bool().numpy()))
    if scan.head is not None:
        tensors |= pack_head(scan.head)
    return tensors, _facts(scan)


def pack_head(tuned: TunedHead) -> dict[str, Tensor]:
    """Tensors by name."""
    state = tuned.head.state_dict()
    return {"used": tuned.used, **{f"head.{name}": t.half() for name, t in state.items()}}


def _facts(scan: LabelledScan) -> ScanFacts:
    levels = tuple(
        LevelFacts(
            stride=stride,
            origin=level.origin,
            shape=_counts(level.known),
            channels=len(level.features),
        )
        for stride, level in scan.features.levels.items()
    )
    return ScanFacts(
        shape=scan.features.shape,
        origin=scan.features.origin,
        size=scan.features.size,
        structures=scan.structures,
        label_origin=scan.origin,
        label_shape=_counts(scan.label),
        levels=levels,
        head=None if scan.head is None else head_facts(scan.head),
        modality=scan.modality,
    )


def _counts(volume: Tensor) -> Counts:
    d, h, w = volume.shape
    return d, h, w


def head_facts(tuned: TunedHead) -> HeadFacts:
    """What a file says of a head beside its tensors."""
    first = tuned.head.net[0]
    assert isinstance(first, torch.nn.Linear)
    return HeadFacts(
        features=len(tuned.head.mean),
        hidden=first.out_features,
        carried_dice=tuned.carried_dice,
        tuned_dice=tuned.tuned_dice,
        network=tuned.network,
        places=tuned.places,
    )


def unpack(tensors: Mapping[str, Tensor], facts: ScanFacts) -> LabelledScan:
    """The inverse of `pack`, but for digits. Raises `ValueError` for what it did not write."""
    label = _inflated(_take(tensors, "label"), math.prod(facts.label_shape))
    if label.max() > facts.structures:
        raise ValueError("a label with more structures than there are")
    levels = {one.stride: _level(tensors, one) for one in facts.levels}
    if not levels:
        raise ValueError("no level of features")
    return LabelledScan(
        ScanFeatures(facts.shape, facts.origin, facts.size, levels),
        torch.from_numpy(label.reshape(facts.label_shape)),
        facts.label_origin,
        facts.structures,
        None if facts.head is None else unpack_head(tensors, facts.structures, facts.head),
        facts.modality,
    )


def _level(tensors: Mapping[str, Tensor], facts: LevelFacts) -> Level:
    cells = math.prod(facts.shape)
    count = cells * facts.channels
    raw = _inflated(_take(tensors, f"features.{facts.stride}"), -(-count // 4))
    features = torch.from_numpy(_unpacked(raw)[:count].astype(np.float32)) / STEPS
    bits = np.unpackbits(_inflated(_take(tensors, f"known.{facts.stride}"), -(-cells // 8)))
    known = torch.from_numpy(bits[:cells].astype(np.float32)).view(facts.shape)
    return Level(facts.stride, facts.origin, features.view(facts.channels, *facts.shape), known)


def unpack_head(tensors: Mapping[str, Tensor], structures: int, facts: HeadFacts) -> TunedHead:
    """The inverse of `pack_head`. Raises `ValueError` for what it did not write."""
    # a size that a file tells is believed once its tensors bear it out
    for name, size in (("head.mean", facts.features), ("head.net.0.bias", facts.hidden)):
        if _take(tensors, name).shape != (size,):
            raise ValueError("a head of another shape")
    places = facts.places
    if places is not None:
        if len(set(places)) < len(places) or not set(places) <= set(range(structures)):
            raise ValueError("a head of structures that there are not")
        structures = len(places)
    head = VoxelHead(facts.features, structures, facts.hidden)
    wanted = head.state_dict()
    state = {name: _take(tensors, f"head.{name}").float() for name in wanted}
    used = _take(tensors, "used")
    shapes = all(state[name].shape == wanted[name].shape for name in wanted)
    if not shapes or used.shape != (structures,) or used.dtype != torch.bool:
        raise ValueError("a head of another shape")
    head.load_state_dict(state)
    head = head.eval().requires_grad_(False)
    return TunedHead(head, used, facts.carried_dice, facts.tuned_dice, facts.network, places)


def _take(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise ValueError(f"no tensor {name}")
    return tensors[name]


def _packed(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Values 0 to 3, four to a byte."""
    four = np.pad(values, (0, -len(values) % 4)).reshape(-1, 4)
    packed: NDArray[np.uint8] = (four << np.array([0, 2, 4, 6], np.uint8)).sum(1, dtype=np.uint8)
    return packed


def _unpacked(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], 1).reshape(-1)


def _deflated(values: NDArray[np.uint8]) -> Tensor:
    data = zlib.compress(np.ascontiguousarray(values).tobytes(), 9)
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _inflated(data: Tensor, size: int) -> NDArray[np.uint8]:
    """Exactly `size` bytes; a file from somebody else must not fill the memory."""
    if size > MAX_CELLS or data.dtype != torch.uint8:
        raise ValueError("more bytes than a scan has, or no bytes")
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data.numpy().tobytes(), size + 1)
    except zlib.error as error:
        raise ValueError(f"damaged bytes ({error})") from error
    if len(found) != size:
        raise ValueError(f"{len(found)} bytes where {size} are wanted")
    return np.frombuffer(found, np.uint8).copy()
