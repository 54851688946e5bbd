"""How well masks proposed without labels cover labelled structures: mean best Dice.

    python experiments/masks.py DATA [--part Ts] [--cases 6] [--engines ours]

DATA is the folder of raw datasets (shared/data). Cases of every set are prepared as `mass3d
prepare` does; the masks of the default engine are compared with SLIC supervoxels and with regular
blocks, each at sizes that double until eight make a scan, as many masks together as ours. Best
Dice is taken over single masks, averaged over cases per structure, then over structures; the
interval is the bootstrap's over cases. The engine's trees were chosen on training scans
(`choose_trees.py`), so `--part Ts`, the default, shows scans that had no say in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic

from mass3d.execution.memory import readable_grids
from mass3d.io.datasets.cohort import CaseFile, find_cases, find_label
from mass3d.io.read import read_label, read_volume
from mass3d.masks.hierarchy.engine import propose, windowed
from mass3d.masks.hierarchy.settings import HierarchyConfig
from mass3d.masks.layers import MaskSet, concatenate, encode_tree
from mass3d.masks.quality import best_dice
from mass3d.store.writer import as_stored
from mass3d.volume.preparation import PreparationConfig, Prepared, prepare_label, prepare_volume
from mass3d.volume.spacing import automatic_spacing_mm

SETS = ("hippocampus", "brain_t1", "headneck_ct", "sarcoma_ct", "sarcoma_mr", "sarcoma_pet")
COARSEST = 8  # masks of the plain alternatives at their largest size, at least
Label = NDArray[np.int64]
Floats = NDArray[np.float64]
Dice = dict[int, float]  # best Dice of every structure of a case
Engine = Callable[[Prepared, int], MaskSet]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", choices=("Tr", "Ts"), default="Ts")
    parser.add_argument("--cases", type=int, default=1000, help="at most, evenly spaced")
    parser.add_argument("--sets", nargs="+", default=[*SETS, "abdomen_ct"])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    asked = parser.parse_args()
    names = " | ".join(asked.engines)
    print(f"| set | cases | spacing mm | masks | {names} | CPU-s per Mvoxel and layer |")
    print("|---" * (5 + len(asked.engines)) + "|")
    for name in asked.sets:
        spacing, cases = cohort(asked.data, name, asked.part, asked.cases)
        print(row(name, spacing, cases, asked.engines, asked.seed), flush=True)


def cohort(
    data: Path, name: str, part: str, count: int
) -> tuple[float, list[tuple[CaseFile, Path]]]:
    """The spacing of a set and evenly spaced cases with their labels; abdomen_ct has but one."""
    if name == "abdomen_ct":
        case = CaseFile("ct", data / name / "ct.nii.gz")
        return automatic_spacing_mm(readable_grids([case])), [(case, data / name / "seg.nii.gz")]
    spacing = automatic_spacing_mm(readable_grids(find_cases([data / name / "imagesTr"])))
    cases = find_cases([data / name / f"images{part}"])
    chosen = [cases[i] for i in np.linspace(0, len(cases) - 1, min(count, len(cases)), dtype=int)]
    labels = [find_label(data / name / f"labels{part}", case.case_id) for case in chosen]
    return spacing, [(c, label) for c, label in zip(chosen, labels, strict=True) if label]


def prepared(case: CaseFile, label_path: Path, spacing_mm: float) -> tuple[Prepared, Label]:
    """A scan as a store has it, and its label."""
    scan = prepare_volume(read_volume(case.path), PreparationConfig(spacing_mm=spacing_mm))
    return scan, prepare_label(read_label(label_path), scan.grid).astype(np.int64)


def row(
    name: str,
    spacing: float,
    cases: Sequence[tuple[CaseFile, Path]],
    engines: Sequence[str],
    seed: int,
) -> str:
    """One line of the table."""
    scores: dict[str, list[Dice]] = {engine: [] for engine in engines}
    counts, costs = [], []
    for case, label_path in cases:
        scan, label = prepared(case, label_path, spacing)
        clock = time.process_time()
        own = proposed(scan, HierarchyConfig())
        seconds = time.process_time() - clock
        costs.append(seconds / (len(own.ranks) * scan.image.size / 1e6))
        counts.append(len(own))
        for engine in engines:
            make = ENGINES[engine]
            masks = make(scan, len(own)) if make else own
            scores[engine].append(best_dice(masks, label))
    told = " | ".join(with_interval(scores[engine], seed) for engine in engines)
    return (
        f"| {name} | {len(cases)} | {spacing:g} | {np.median(counts):.0f} | {told} "
        f"| {np.mean(costs):.2f} |"
    )


def with_interval(cases: Sequence[Dice], seed: int) -> str:
    """The mean, and the middle 95 % of those of 2000 draws of as many cases."""
    if len(cases) < 2:
        return f"{mean_best(cases):.3f}"
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(cases), (2000, len(cases)))
    means = [mean_best([cases[i] for i in draw]) for draw in draws]
    low, high = np.percentile(means, (2.5, 97.5))
    return f"{mean_best(cases):.3f} ({low:.3f} to {high:.3f})"


def mean_best(cases: Sequence[Dice]) -> float:
    """Averaged over cases per structure, then over structures."""
    found: dict[int, list[float]] = {}
    for case in cases:
        for value, dice in case.items():
            found.setdefault(value, []).append(dice)
    return float(np.mean([np.mean(dice) for dice in found.values()]))


def proposed(scan: Prepared, config: HierarchyConfig) -> MaskSet:
    """Masks of the engine as `mass3d prepare` proposes them."""
    return propose(
        as_stored(scan.image),
        spacing_mm=float(np.mean(scan.grid.spacing_mm)),
        modality=scan.modality,
        mean=scan.intensity.mean,
        std=scan.intensity.std,
        config=config,
    )


def supervoxels(scan: Prepared, count: int) -> MaskSet:
    """SLIC of all sizes, on the widest window; three of its iterations, for ten take minutes."""
    raw = scan.image * scan.intensity.std + scan.intensity.mean
    image = windowed(raw, "wide" if scan.modality == "ct" else "full", scan.modality)
    return concatenate(
        [
            flat(slic(image, int(n), compactness=0.05, max_num_iter=3, channel_axis=None))
            for n in numbers(count)
        ]
    )


def blocks(scan: Prepared, count: int) -> MaskSet:
    """Cubes of all sizes."""
    layers = []
    for n in numbers(count):
        edge = max(1, round((scan.image.size / n) ** (1 / 3)))
        index = np.zeros(scan.image.shape, np.int64)
        for axis, length in enumerate(scan.image.shape):
            place = np.arange(length) // edge
            index = index * (place[-1] + 1) + place.reshape(
                [-1 if a == axis else 1 for a in range(3)]
            )
        layers.append(flat(index + 1))
    return concatenate(layers)


def numbers(count: int) -> Floats:
    """Masks at sizes that double: about half of `count`, a quarter and so on, to `COARSEST`."""
    scales = max(1, int(np.log2(count / COARSEST)))
    shares = 2.0 ** -np.arange(scales)
    return count * shares / shares.sum()


def flat(regions: np.ndarray) -> MaskSet:
    """Disjoint regions as one layer."""
    _, numbered = np.unique(regions, return_inverse=True)
    count = int(numbered.max()) + 1
    parents = np.full(count + 1, count)
    return encode_tree(
        numbered.reshape(regions.shape).astype(np.int32) + 1,
        parents=parents,
        nodes=np.arange(count),
        scores=np.ones(count),
        engine="plain",
    )


ENGINES: dict[str, Engine | None] = {"ours": None, "SLIC": supervoxels, "blocks": blocks}

if __name__ == "__main__":
    main()
