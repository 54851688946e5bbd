"""An update of all weights by Muon, the library's, which is in 16 bits, beside it.

What a processor without instructions for 16 bits takes is seen with these set:
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pytorch_optimizer import Muon as LibraryMuon
from support.measure import Row, main, side_by_side
from torch import nn

from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS, PresetName
from mass3d.training.muon import Muon


def measure(small: bool) -> Sequence[Row]:
    """Updates of networks for a laptop and for a GPU."""
    names: list[PresetName] = ["tiny"] if small else ["tiny", "small"]
    return [row for name in names for row in of_preset(name, repeats=1 if small else 5)]


def of_preset(name: PresetName, *, repeats: int) -> list[Row]:
    """One network, whose gradients are noise."""
    works = {}
    for label, kind in {"ours": Muon, "library": LibraryMuon}.items():
        net = build_network(PRESETS[name], seed=0)
        matrices = [p for p in net.parameters() if p.ndim > 1]
        optimizer = kind([{"params": matrices, "use_muon": True}], use_adjusted_lr=True)
        works[label] = Update(optimizer, matrices)
    seconds = side_by_side(works, repeats=repeats)
    what = f"an update of the kernels of {name} by Muon"
    return [Row(what, seconds["ours"], "CPU-s", seconds["library"], "the library's, 16 bits")]


class Update:
    """An update from new gradients."""

    def __init__(self, optimizer: torch.optim.Optimizer, matrices: list[nn.Parameter]) -> None:
        self.optimizer, self.matrices = optimizer, matrices
        self.gradients = [torch.randn_like(p) for p in matrices]

    def __call__(self) -> None:
        for p, gradient in zip(self.matrices, self.gradients, strict=True):
            p.grad = gradient.clone()
        self.optimizer.step()


if __name__ == "__main__":
    main(__file__, measure)
