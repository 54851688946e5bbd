"""Time and memory of proposing masks, from 1 to 210 million voxels: a table and a plot.

    python experiments/masks_scaling.py DATA [--mvoxels 1 5 25 105 210] [-o masks_scaling.svg]

The CT of abdomen_ct is enlarged to each size, with fresh noise of 15 HU, so that the number of
regions grows with the voxels. Every size runs in a process of its own; memory is the most above
what the process held before, and contains everything but the scan itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from mass3d.io.read import read_volume
from mass3d.masks.hierarchy.engine import propose
from mass3d.masks.hierarchy.settings import HierarchyConfig
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.resample import resample_image

NOISE_HU = 15


class Cost(NamedTuple):
    """What one size took."""

    mvoxels: float
    masks: int
    layers: int
    cpu_s: float
    mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--mvoxels", type=float, nargs="+", default=[1, 5, 25, 105, 210])
    parser.add_argument("-o", "--output", type=Path, default=Path("experiments/masks_scaling.svg"))
    parser.add_argument("--measure", type=float, help="one size in this very process, as JSON")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.data, asked.measure)))
        return
    print("| Mvoxels | masks | CPU-s | CPU-s per Mvoxel and layer | MiB per Mvoxel |")
    print("|---|---|---|---|---|")
    found = []
    for size in asked.mvoxels:
        command = [sys.executable, __file__, str(asked.data), "--measure", str(size)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(Cost(*json.loads(told)))
        print(row(found[-1]), flush=True)
    print(f"\nCPU-seconds grow with the voxels to the power of {exponent(found):.2f}.")
    draw(found, asked.output)


def measure(data: Path, mvoxels: float) -> Cost:
    """Propose masks for a scan of a size."""
    image, spacing_mm = enlarged(data, mvoxels)
    config, preparation = HierarchyConfig(), PreparationConfig(spacing_mm=spacing_mm)
    mean, std = preparation.ct_mean_std_hu
    Path("/proc/self/clear_refs").write_text("5")  # forget the peaks of the past
    before, clock = held_mib("VmRSS"), time.process_time()
    masks = propose(image, spacing_mm=spacing_mm, modality="ct", mean=mean, std=std, config=config)
    seconds = time.process_time() - clock
    voxels = image.size / 1e6
    return Cost(voxels, len(masks), len(masks.ranks), seconds, held_mib("VmHWM") - before)


def enlarged(data: Path, mvoxels: float) -> tuple[NDArray[np.float32], float]:
    """The CT on cubic voxels, as many as asked, with noise; prepared. And their edge."""
    scan = read_volume(data / "abdomen_ct" / "ct.nii.gz")
    volume_mm3 = float(np.prod(np.multiply(scan.grid.shape, scan.grid.spacing_mm)))
    edge = (volume_mm3 / mvoxels / 1e6) ** (1 / 3)
    image = resample_image(scan.voxels, scan.grid, scan.grid.resampled((edge, edge, edge)))
    rng = np.random.default_rng(0)
    config = PreparationConfig(spacing_mm=edge)
    mean, std = config.ct_mean_std_hu
    for index in range(len(image)):  # plane by plane, for a scan may fill a third of the memory
        noise = NOISE_HU * rng.standard_normal(image.shape[1:], np.float32)
        image[index] = (np.clip(image[index] + noise, *config.ct_clip_hu) - mean) / std
    return image, edge


def held_mib(name: str) -> float:
    """One row of the kernel's table of this process."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(f"{name}:")) / 1024


def row(cost: Cost) -> str:
    """One line of the table."""
    each = cost.cpu_s / cost.mvoxels / cost.layers
    return (
        f"| {cost.mvoxels:.3g} | {cost.masks} | {cost.cpu_s:.0f} | {each:.2f} "
        f"| {cost.mib / cost.mvoxels:.0f} |"
    )


def exponent(found: list[Cost]) -> float:
    """Slope of the logarithms: 1 is linear."""
    sizes, seconds = np.log([[c.mvoxels, c.cpu_s] for c in found]).T
    return float(np.polyfit(sizes, seconds, 1)[0])


def draw(found: list[Cost], output: Path) -> None:
    """Time and memory over size, beside the budgets of design.md."""
    sizes = np.array([c.mvoxels for c in found])
    figure, (time_axes, memory_axes) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    layers = found[0].layers
    for axes, values, budget, label in (
        (time_axes, [c.cpu_s for c in found], sizes * layers, "CPU-seconds"),
        (memory_axes, [c.mib / 1024 for c in found], sizes * 100 / 1024, "GiB"),
    ):
        axes.loglog(sizes, budget, "--", color="0.6", label="budget")
        axes.loglog(sizes, values, "o-", color="C0", label="measured")
        axes.set_xlabel("million voxels")
        axes.set_ylabel(label)
        axes.legend(frameon=False)
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
