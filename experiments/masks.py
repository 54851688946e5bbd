"""How well masks proposed without labels cover labelled structures: mean best Dice.

    python experiments/masks.py DATA [--cases 12]

DATA is the folder of raw datasets (shared/data). Evenly spaced training cases of every set are
prepared as `mass3d prepare` does; the masks of the default engine are compared with SLIC
supervoxels and with regular blocks, each at six sizes that together give as many masks. Best Dice
is taken over single masks, averaged over cases per structure, then over structures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from skimage.segmentation import slic

from mass3d.apps.prepare import readable_grids
from mass3d.io.cohort import CaseFile, find_cases, find_label
from mass3d.io.read import read_label, read_volume
from mass3d.masks.hierarchy import HierarchyConfig, propose, windowed
from mass3d.masks.layers import MaskSet, concatenate, encode_tree
from mass3d.masks.quality import best_dice
from mass3d.store.writer import as_stored
from mass3d.volume.preparation import PreparationConfig, Prepared, prepare_label, prepare_volume
from mass3d.volume.spacing import automatic_spacing_mm

SETS = ("hippocampus", "brain_t1", "headneck_ct", "sarcoma_ct", "sarcoma_mr", "sarcoma_pet")
SIZES = 2.0 ** -np.arange(6)  # shares of the masks at six scales, fine to coarse
Engine = Callable[[Prepared, int], MaskSet]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", type=int, default=12)
    asked = parser.parse_args()
    print(
        "| set | cases | spacing mm | masks | ours | SLIC | blocks | CPU-s per Mvoxel and layer |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, cases in cohorts(asked.data, asked.cases):
        print(row(name, cases), flush=True)


def cohorts(data: Path, count: int) -> list[tuple[str, list[tuple[CaseFile, Path]]]]:
    """Evenly spaced training cases of every set, with their labels."""
    found = []
    for name in SETS:
        cases = find_cases([data / name / "imagesTr"])
        chosen = [
            cases[i] for i in np.linspace(0, len(cases) - 1, min(count, len(cases)), dtype=int)
        ]
        labels = [find_label(data / name / "labelsTr", case.case_id) for case in chosen]
        found.append((name, [(c, label) for c, label in zip(chosen, labels, strict=True) if label]))
    abdomen = data / "abdomen_ct"
    found.append(("abdomen_ct", [(CaseFile("ct", abdomen / "ct.nii.gz"), abdomen / "seg.nii.gz")]))
    return found


def row(name: str, cases: list[tuple[CaseFile, Path]]) -> str:
    """One line of the table."""
    spacing = automatic_spacing_mm(readable_grids([case for case, _ in cases]))
    scores: dict[str, dict[int, list[float]]] = {engine: {} for engine in ENGINES}
    counts, costs = [], []
    for case, label_path in cases:
        scan = prepare_volume(read_volume(case.path), PreparationConfig(spacing_mm=spacing))
        label = prepare_label(read_label(label_path), scan.grid).astype(np.int64)
        count = 0
        for engine, make in ENGINES.items():
            clock = time.process_time()
            masks = make(scan, count)
            if engine == "ours":
                count = len(masks)
                seconds = time.process_time() - clock
                costs.append(seconds / (len(masks.ranks) * scan.image.size / 1e6))
                counts.append(count)
            for value, dice in best_dice(masks, label).items():
                scores[engine].setdefault(value, []).append(dice)
    means = [np.mean([np.mean(v) for v in scores[engine].values()]) for engine in ENGINES]
    told = " | ".join(f"{mean:.3f}" for mean in means)
    return (
        f"| {name} | {len(cases)} | {spacing:g} | {np.median(counts):.0f} | {told} "
        f"| {np.mean(costs):.2f} |"
    )


def ours(scan: Prepared, _: int) -> MaskSet:
    """The default engine."""
    return propose(
        as_stored(scan.image),
        spacing_mm=float(np.mean(scan.grid.spacing_mm)),
        modality=scan.modality,
        mean=scan.intensity.mean,
        std=scan.intensity.std,
        config=HierarchyConfig(),
    )


def supervoxels(scan: Prepared, count: int) -> MaskSet:
    """SLIC at six sizes, on the widest window."""
    raw = scan.image * scan.intensity.std + scan.intensity.mean
    image = windowed(raw, "wide" if scan.modality == "ct" else "full", scan.modality)
    sizes = (count * SIZES / SIZES.sum()).astype(int)
    return concatenate(
        [flat(slic(image, n_segments=int(n), compactness=0.05, channel_axis=None)) for n in sizes]
    )


def blocks(scan: Prepared, count: int) -> MaskSet:
    """Cubes at six sizes."""
    layers = []
    for n in count * SIZES / SIZES.sum():
        edge = max(1, round((scan.image.size / n) ** (1 / 3)))
        index = np.zeros(scan.image.shape, np.int64)
        for axis, length in enumerate(scan.image.shape):
            place = np.arange(length) // edge
            index = index * (place[-1] + 1) + place.reshape(
                [-1 if a == axis else 1 for a in range(3)]
            )
        layers.append(flat(index + 1))
    return concatenate(layers)


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


ENGINES: dict[str, Engine] = {"ours": ours, "SLIC": supervoxels, "blocks": blocks}

if __name__ == "__main__":
    main()
