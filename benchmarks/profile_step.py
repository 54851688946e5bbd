"""Where the time of a training step goes: convolutions, matrix products, and all else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from support.measure import Row, main
from support.synthetic import Shape
from support.training import train
from torch.profiler import ProfilerActivity, profile

from mass3d.training.config import FitConfig

KINDS = {
    "convolutions": ("convolution", "conv3d", "mkldnn_conv"),
    "matrix products": ("mm", "matmul", "linear", "dot"),
    "normalisation and activation": ("norm", "gelu", "relu", "silu", "softmax"),
    "sampling, pooling and padding": ("grid_sampler", "pool", "upsample", "pad"),
    "copies and changes of type": ("copy", "contiguous", "clone", "cat", "fill", "zero"),
    "the optimiser": ("_foreach", "lerp", "addcmul", "addcdiv", "adam"),
}


def measure(small: bool) -> Sequence[Row]:
    """Steps of 4 pairs of the preset tiny, in 32 bits and in what the processor is quickest in."""
    crop: Shape = (16, 16, 16) if small else (48, 64, 64)
    name = "x".join(map(str, crop))
    rows = []
    for precision in ("32-true", "auto"):
        spent = shares(crop, precision, steps=1 if small else 5)
        rows += [Row(f"{kind}, {name}, {precision}", share, "%") for kind, share in spent]
    return rows


def shares(crop: Shape, precision: str, *, steps: int) -> list[tuple[str, float]]:
    """Per cent of the CPU time of some updates, the largest first."""
    config = FitConfig.model_validate({"steps": steps, "log_every": 1, "precision": precision})
    found = profile(activities=[ProfilerActivity.CPU])
    train("tiny", crop, config, within=found)
    spent: Counter[str] = Counter()
    for event in found.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total
    return [(kind, 100 * us / spent.total()) for kind, us in spent.most_common()]


def kind_of(operation: str) -> str:
    """What an operation of torch is counted as."""
    name = operation.lower()
    hits = (kind for kind, words in KINDS.items() if any(word in name for word in words))
    return next(hits, "all else")


if __name__ == "__main__":
    main(__file__, measure)
