"""Which trees together cover labelled structures best: how the defaults were chosen.

    python experiments/choose_trees.py DATA [--cases 8] [--trees 6] [--sets ...]

Every combination of window, smoothing and merging order makes masks of training scans; then the
tree that raises the mean best Dice most is added until there are enough, and single trees are
exchanged while that raises it. Labels serve this choice alone: the engine never sees one.
Modalities are chosen apart.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import get_args

import numpy as np

from masks import SETS, Dice, cohort, mean_best, prepared, proposed
from mass3d.masks.hierarchy.settings import (
    WINDOWS,
    WINDOWS_HU,
    HierarchyConfig,
    Merging,
    TreeConfig,
)
from mass3d.masks.quality import best_dice

SIGMAS = (0.3, 0.5, 1.0)
Found = dict[str, list[dict[TreeConfig, Dice]]]  # set -> cases -> what each tree reaches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--trees", type=int, default=6)
    parser.add_argument("--sets", nargs="+", default=[*SETS, "abdomen_ct"])
    asked = parser.parse_args()
    found = {name: scored(asked.data, name, asked.cases) for name in asked.sets}
    for modality in ("ct", "mr", "pet"):
        sets = {name: cases for name, cases in found.items() if modality_of(name) == modality}
        trees = best(sets, candidates(modality), asked.trees) if sets else []
        for tree in trees:
            print(f'("{tree.window}", {tree.sigma_vox:g}, "{tree.merging}"),')
        for name, cases in sets.items():
            print(f"# {name}: {score({name: cases}, trees):.3f}")


def modality_of(name: str) -> str:
    """Of a set, by its name."""
    return {"hippocampus": "mr", "brain_t1": "mr"}.get(name, name.rsplit("_", maxsplit=1)[-1])


def candidates(modality: str) -> list[TreeConfig]:
    """Every combination for a modality."""
    windows = WINDOWS_HU if modality == "ct" else WINDOWS
    return [
        TreeConfig(window=window, sigma_vox=sigma, merging=merging)
        for window, sigma, merging in itertools.product(windows, SIGMAS, get_args(Merging))
    ]


def scored(data: Path, name: str, count: int) -> list[dict[TreeConfig, Dice]]:
    """The best Dice of each candidate by itself, on training scans of a set."""
    spacing, cases = cohort(data, name, "Tr", count)
    found = []
    for case, label_path in cases:
        scan, label = prepared(case, label_path, spacing)
        trees = candidates(modality_of(name))
        found.append(
            {t: best_dice(proposed(scan, only(t, modality_of(name))), label) for t in trees}
        )
        print(f"# {name} {case.case_id}", flush=True)
    return found


def only(tree: TreeConfig, modality: str) -> HierarchyConfig:
    """The engine with one tree."""
    return HierarchyConfig.model_validate({modality: (tree,)})


def best(sets: Found, trees: list[TreeConfig], count: int) -> list[TreeConfig]:
    """Greedily added, then exchanged one by one."""
    chosen: list[TreeConfig] = []
    for _ in range(count):
        chosen.append(max(trees, key=lambda tree: score(sets, [*chosen, tree])))
    before = -np.inf
    while score(sets, chosen) > before:
        before = score(sets, chosen)
        for place in range(count):
            others = chosen[:place] + chosen[place + 1 :]
            chosen = [*others, max(trees, key=lambda tree: score(sets, [*others, tree]))]
    return chosen


def score(sets: Found, trees: list[TreeConfig]) -> float:
    """Mean best Dice of the masks of several trees, averaged over sets."""
    return float(np.mean([mean_best([together(case, trees) for case in c]) for c in sets.values()]))


def together(case: dict[TreeConfig, Dice], trees: list[TreeConfig]) -> Dice:
    """The best of several trees, structure by structure."""
    values = {value for tree in trees for value in case[tree]}
    return {value: max(case[tree].get(value, 0.0) for tree in trees) for value in values}


if __name__ == "__main__":
    main()
