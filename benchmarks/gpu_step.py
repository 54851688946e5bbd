"""Steps of pretraining on a GPU: speed, memory, share of the card's peak, and waits for batches.

On a CPU the same runs at small sizes, without a share of the peak. FLOPs are those of matrix
products and convolutions, forward and backward, as torch counts them.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from support.measure import Row, options, report
from support.synthetic import Shape
from support.training import one_scan, train_on
from torch.utils.flop_counter import FlopCounterMode

from mass3d.apps.prepare import PrepareConfig
from mass3d.apps.prepare import run as prepare
from mass3d.apps.pretrain import PretrainConfig
from mass3d.apps.pretrain import run as pretrain
from mass3d.device import choose_device
from mass3d.errors import ConfigError
from mass3d.model.presets import PRESETS, PresetName
from mass3d.pages.run import PACE
from mass3d.phantom import write_phantom_cohort
from mass3d.store.reader import Store
from mass3d.training.config import FitConfig

GIB = 2**30
# A word of a card's name -> its dense bfloat16 FLOP/s as its maker tells; the first that fits
# counts. Parts of a card, and cards that share a name but not its speed, have no figure.
PEAKS: tuple[tuple[str, float | None], ...] = (
    ("MIG", None),
    ("Laptop", None),
    ("4090 D", None),
    ("H200 NVL", 835e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("RTX 4090", 165e12),
)


class Plan(NamedTuple):
    """What is measured on a kind of device."""

    crop: Shape
    stepped: tuple[PresetName, ...]  # whose steps are measured
    pretrained: tuple[PresetName, ...]  # whose waits are; the quicker, the harder to feed
    steps: int  # that are measured, after as many that are not
    cases: int
    spacing_mm: float  # of phantoms that are as large as the crop
    precision: str
    workers: int | None  # that prepare and align the phantoms


GPU = Plan(
    (128, 128, 128), ("tiny", "small", "resenc-l", "base"), ("tiny", "small"), 10, 4, 1.1,
    "bf16-mixed", None,
)  # fmt: skip
CPU = Plan((32, 32, 32), ("tiny", "small"), ("tiny",), 2, 2, 4.5, "32-true", 1)
SMALL = Plan((16, 16, 16), ("tiny",), ("tiny",), 1, 2, 9.0, "32-true", 1)


class Speed(NamedTuple):
    """What a step took, the batch being there."""

    seconds: float
    batch: int
    gib: float  # the most memory of the GPU; 0 on a CPU
    flops: int


def measure(small: bool, device: torch.device | None = None) -> Sequence[Row]:
    """Steps with a batch at hand, then runs of `mass3d pretrain` that have to make theirs."""
    device = device or choose_device("auto")
    plan = SMALL if small else GPU if device.type == "cuda" else CPU
    rows: list[Row] = []
    speeds: dict[PresetName, Speed] = {}
    with one_scan(plan.crop) as store:
        for preset in plan.stepped:
            speed = largest_that_fits(store, preset, plan, device)
            if speed is None:
                print(f"{preset}: a single pair does not fit into the memory of {card(device)}.")
                continue
            speeds[preset] = speed
            rows += told(of_step(preset, plan, speed, device))
    wanted = {preset: speeds[preset] for preset in plan.pretrained if preset in speeds}
    return [*rows, *told(of_runs(wanted, plan, device))]


def told(rows: list[Row]) -> list[Row]:
    """The rows; said at once, so that a fault in what comes after does not lose them."""
    for row in rows:
        print(" | ".join(row.cells()), file=sys.stderr)
    return rows


def of_step(preset: PresetName, plan: Plan, speed: Speed, device: torch.device) -> list[Row]:
    """Seconds, samples, and on a GPU memory and share of the peak."""
    what = f"{preset}, {'x'.join(map(str, plan.crop))}, {plan.precision}"
    rows = [
        Row(f"a step of {speed.batch} pairs, the batch at hand, {what}", speed.seconds, "s"),
        Row("the same", speed.batch / speed.seconds, "samples/s"),
    ]
    if device.type == "cuda":
        rows.append(Row("memory of the same", speed.gib, "GiB"))
        if (peak := peak_of(card(device))) is not None:
            share = 100 * speed.flops / speed.seconds / peak
            rows.append(Row(f"{speed.flops / 1e12:.3g} TFLOP of the same", share, "% of the peak"))
        else:
            print(f"{card(device)} has no known peak: share left out; {speed.flops:.3g} FLOP.")
    return rows


def of_runs(speeds: dict[PresetName, Speed], plan: Plan, device: torch.device) -> list[Row]:
    """Steps of short runs on phantoms beside those with the batch at hand, and what they wait.

    A process that waits does not mean a GPU that does: steps are queued. How much of the time the
    steps with the batch at hand would take says how busy the GPU is.
    """
    rows, budget = [], ">= 95 %" if device.type == "cuda" else ""
    with tempfile.TemporaryDirectory() as place:
        store = phantoms(Path(place), plan) if speeds else Path()
        for preset, speed in speeds.items():
            run, config = Path(place) / preset, settings(preset, plan, speed.batch, every=4)
            empty(device)
            pretrain_on(store, run, preset, config, plan=plan, device=device)
            seconds, waits = pace_of(run, speed.batch)
            busy = 100 * speed.seconds / seconds
            rows += [
                Row(f"a step of {speed.batch} pairs in `mass3d pretrain`, {preset}", seconds, "s"),
                Row("the process waits for batches", 100 * waits, "% of the time"),
                Row("steps with the batch at hand take", busy, "% of the time", budget=budget),
            ]
    return rows


def largest_that_fits(
    store: Store, preset: PresetName, plan: Plan, device: torch.device
) -> Speed | None:
    """With as many pairs as the recipe has, or with half as many until they fit."""
    batch = PRESETS[preset].recipe.batch_size
    while batch:
        try:
            return speed_of_step(store, preset, plan, device, batch)
        except ConfigError as error:
            if error.setting not in ("fit.batch_size", "views.crop_vox"):
                raise
        batch //= 2
    return None


def speed_of_step(
    store: Store, preset: PresetName, plan: Plan, device: torch.device, batch: int
) -> Speed:
    """Of the whole loop but for the making of batches: update and averaging included."""
    marks: list[float] = []

    def note(*_: object) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        marks.append(time.perf_counter())

    config = settings(preset, plan, batch, every=2)
    empty(device)
    train_on(store, preset, plan.crop, config, hooks=(note,), device=device, made_once=True)
    gib = torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else 0.0
    empty(device)
    counter = FlopCounterMode(display=False)
    # AdamW has no products of matrices, which would be counted, as Muon has
    config = config.model_copy(update={"steps": 1, "optimizer": "adamw"})
    train_on(store, preset, plan.crop, config, within=counter, device=device, made_once=True)
    seconds = (marks[-1] - marks[0]) / plan.steps
    return Speed(seconds, batch, gib, int(counter.get_total_flops()))


def settings(preset: PresetName, plan: Plan, batch: int, *, every: int) -> FitConfig:
    """The recipe of the preset, but for some; every: rows of the log, the first to warm up."""
    ours = {"batch_size": batch, "precision": plan.precision}
    steps = {"steps": every * plan.steps, "log_every": plan.steps}
    return FitConfig.model_validate(PRESETS[preset].recipe.plain() | ours | steps)


def phantoms(place: Path, plan: Plan) -> Path:
    """A store of phantoms."""
    cohort = write_phantom_cohort(place / "scans", cases=plan.cases, test_cases=1, seed=0)
    scans = tuple(sorted((cohort / "imagesTr").iterdir()))
    config = PrepareConfig(
        inputs=scans, output=place / "store", spacing_mm=plan.spacing_mm, workers=plan.workers
    )
    assert prepare(config).ok
    return place / "store"


def pretrain_on(
    store: Path,
    run: Path,
    preset: PresetName,
    config: FitConfig,
    *,
    plan: Plan,
    device: torch.device,
) -> None:
    """As `mass3d pretrain` does it."""
    given = {
        "store": [store],
        "output": run,
        "preset": preset,
        "device": str(device),
        "workers": plan.workers,
        "fit": config.plain(),
        "views": {"crop_vox": plan.crop},
    }
    pretrain(PretrainConfig.model_validate(given))


def pace_of(run: Path, batch: int) -> tuple[float, float]:
    """Seconds of a step and the share of waiting, without the first row of the log."""
    rows = [json.loads(line) for line in (run / PACE).read_text().splitlines()][1:]
    seconds = [batch / row["samples_per_s"] for row in rows]
    waited = [row["wait_share"] * took for row, took in zip(rows, seconds, strict=True)]
    return sum(seconds) / len(rows), sum(waited) / sum(seconds)


def peak_of(name: str) -> float | None:
    """Dense bfloat16 FLOP/s of a card by its name; None where it is not known."""
    return next((peak for word, peak in PEAKS if word in name), None)


def card(device: torch.device) -> str:
    """The name of a GPU, "" for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def empty(device: torch.device) -> None:
    """Give back what the last run took, and forget its peak."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def main() -> None:
    """Measure where the options say; beside other work a card's lines are printed too."""
    parser = options()
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    given = parser.parse_args()
    device = choose_device(given.device)
    words = [*(["--small"] if given.small else []), "--device", device.type]
    doubtful = given.small or device.type == "cuda"
    work = partial(measure, given.small, device)
    report(__file__, words, work, doubtful=doubtful, card=card(device))


if __name__ == "__main__":
    main()
