"""A step of finetuning with `torch.compile`, which mass3d does not use, beside it as it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from support.measure import Row, main, side_by_side
from torch import Tensor, nn

from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.model.segmentation import SegmentationNetwork


def measure(small: bool) -> Sequence[Row]:
    """Forward and backward of two crops, in 32 and in 16 bits."""
    crop = (16, 16, 16) if small else (56, 56, 56)
    return [row for bits in (32, 16) for row in of_bits(bits, crop, small=small)]


def of_bits(bits: int, crop: tuple[int, int, int], *, small: bool) -> list[Row]:
    """One precision."""
    torch.manual_seed(0)
    net = SegmentationNetwork(build_network(PRESETS["tiny"], seed=0), 7)  # type: ignore[arg-type]
    nn.init.normal_(net.out.weight, std=0.1)
    image = torch.randn(2, 1, *crop)
    compiled = torch.compile(net, backend="eager" if small else "inductor")
    begin = time.perf_counter()
    step(net, image, bits, compiled)
    first = time.perf_counter() - begin
    works = {
        "ours": lambda: step(net, image, bits),
        "compiled": lambda: step(net, image, bits, compiled),
    }
    seconds = side_by_side(works, repeats=1 if small else 9)
    what = f"forward and backward of two crops of {'x'.join(map(str, crop))}, tiny, {bits} bits"
    return [
        Row(what, seconds["ours"], "CPU-s", seconds["compiled"], "torch.compile"),
        Row("the first of the compiled ones, on the clock", first, "s"),
    ]


def step(
    net: nn.Module, image: Tensor, bits: int, run: Callable[[Tensor], Tensor] | None = None
) -> None:
    """Gradients of all weights. run: the network, another way."""
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bits == 16):
        found: Tensor = (net if run is None else run)(image)
    found.square().mean().backward()


if __name__ == "__main__":
    main(__file__, measure)
