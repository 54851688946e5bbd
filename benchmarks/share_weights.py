"""What each of two processes keeps of a network that they share, beside one that has all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.measure import Row, main

from mass3d.model.presets import PRESETS, PresetName

CHILD = Path(__file__).parent / "support" / "shares.py"
GIB = 2**30


def measure(small: bool) -> Sequence[Row]:
    """The preset base with the optimiser of its recipe, on views of 32 voxels along each axis."""
    preset: PresetName = "tiny" if small else "base"
    recipe = PRESETS[preset].recipe.model_dump() | {"ema_decay": 0.99}
    shared, alone = (two_processes(preset, recipe | {"sharding": how}) for how in ("full", "none"))
    what = f"{preset}, {recipe['optimizer']}: weights, gradients, averages, what it remembers"
    return [
        Row(what, shared[0], "GiB a process", alone[0], "each has all"),
        Row("memory of the process after two steps", shared[1], "GiB", alone[1], "each has all"),
    ]


def two_processes(preset: str, settings: dict[str, object]) -> tuple[float, float]:
    """GiB of what the process that keeps more keeps, and of its resident memory."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [sys.executable, *torchrun, str(CHILD), preset, "32", json.dumps(settings)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    return max(one["kept"] for one in told) / GIB, max(one["resident"] for one in told) / GIB


if __name__ == "__main__":
    main(__file__, measure)
