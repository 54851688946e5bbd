"""The preset base at 128^3: a forward pass and its parts, against the facts written out plainly."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from support.measure import Cost, Row, cost, main
from torch import Tensor

from mass3d.model.build import build_network
from mass3d.model.iris import IrisNet
from mass3d.model.presets import PRESETS, IrisPreset
from mass3d.model.released import renamed

if TYPE_CHECKING:
    from oracles.iris import PlainIris

TESTS = Path(__file__).resolve().parent.parent / "tests"  # the plain version is their oracle
PLAIN = "written out plainly"


def measure(small: bool) -> Sequence[Row]:
    """One target and one reference with 5 masks, then the task of 13 masks alone."""
    edge = 32 if small else 128
    preset = IrisPreset(channels=(2, 4, 32, 32, 32)) if small else PRESETS["base"]
    ours, plain = networks(cast("IrisPreset", preset))
    generator = torch.Generator().manual_seed(0)
    target, reference = torch.randn(2, 1, 1, edge, edge, edge, generator=generator).unbind(0)
    masks = (torch.rand(1, 13, edge, edge, edge, generator=generator) > 0.5).float()
    size = f"{edge}^3"
    with torch.no_grad():
        forward = both(
            lambda: forward_of(ours, target, reference, masks[:, :5]),
            lambda: plain(target, reference, masks[:, :5]),
        )
        maps = ours.encode(reference)
        task = both(lambda: ours.encode_task(maps, masks), lambda: plain.encode_task(maps, masks))
    return [
        row(f"forward, {size}, 5 masks", forward, "<= 60 s, half of the plain"),
        memory(f"memory of the same, beside {weights_gib(ours):.2g} GiB of weights", forward),
        row(f"task of 13 masks, {size}", task, "<= 5 s"),
        memory("memory of the same", task, budget=""),
    ]


def networks(preset: IrisPreset) -> tuple[IrisNet, PlainIris]:
    """Ours and the plain one, of the same made-up weights."""
    sys.path.append(str(TESTS))
    from oracles.iris import PlainIris, released_shapes  # noqa: PLC0415 - found from here on

    net = cast("IrisNet", build_network(preset, seed=0)).eval().requires_grad_(False)
    state = net.state_dict()
    shapes = released_shapes(preset.channels)
    ours = {key: renamed(key) for key in shapes}
    plain = PlainIris({key: state[name] for key, name in ours.items() if name})
    # as runs have it; torch's stubs do not know the argument
    return net.to(memory_format=torch.channels_last_3d), plain  # type: ignore[call-overload]


def forward_of(net: IrisNet, target: Tensor, reference: Tensor, masks: Tensor) -> Tensor:
    """As in use: the reference first, of which only its task is kept."""
    task = net.encode_task(net.encode(reference), masks)
    return net.decode(net.encode(target), task)


def both(ours: Callable[[], object], plain: Callable[[], object]) -> tuple[Cost, Cost]:
    """One run of each, which is long enough."""
    return cost(ours), cost(plain)


def row(what: str, found: tuple[Cost, Cost], budget: str) -> Row:
    """CPU seconds of both."""
    return Row(what, found[0].cpu_s, "CPU-s", found[1].cpu_s, PLAIN, budget)


def memory(what: str, found: tuple[Cost, Cost], *, budget: str = "half of the plain") -> Row:
    """What both hold at most beside their weights and inputs."""
    return Row(what, found[0].gib, "GiB", found[1].gib, PLAIN, budget)


def weights_gib(net: IrisNet) -> float:
    """Of the network."""
    return sum(p.numel() * p.itemsize for p in net.parameters()) / 2**30


if __name__ == "__main__":
    main(__file__, measure)
