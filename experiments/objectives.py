"""What each objective of pretraining is worth to finetuning, after equal time on a processor.

    python experiments/objectives.py DATA -o OUT [--spacing MM] [--minutes 10] [--labels 1,5]
        [--draws 3] [--steps 600] [--objectives masks autoencoder contrastive correspondence]
        [--seed 0]

DATA is a raw dataset of nnU-Net. Its training scans are prepared once, without labels, and the same
network is pretrained on them with each objective for the same CPU-minutes on one thread: what comes
before the first step (alignments of scans) and what a step takes are measured first, and the number
of steps is what fits. The runs are then the starts of one `mass3d curve`, beside a random
initialisation: the same seeds, scans, crops and updates, scored on all scans of imagesTs; and the
run of masks is shown the same labelled scans as a task, without training.

`OUT/runs/<objective>` are the runs, `OUT/curve` is the curve with every score, and
`OUT/objectives.md` the table. The same command goes on where it was, in the middle of a training
too; with more labels or draws it adds to what there is.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import torch

import mass3d
from mass3d.metrics.crossed import crossed_mean
from mass3d.metrics.statistics import Interval
from mass3d.transfer.curves.curves import Curves
from mass3d.transfer.curves.plan import SCRATCH, TASK
from model import store_of

Objective = Literal["masks", "autoencoder", "contrastive", "correspondence"]
OBJECTIVES: Final = ("masks", "autoencoder", "contrastive", "correspondence")
FEW, MORE = 4, 24  # steps of the measurement
COST: Final = "cost.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--spacing", type=float, help="of the store, in mm")
    parser.add_argument("--minutes", type=float, default=10.0, help="of pretraining, on one thread")
    parser.add_argument("--labels", default="1,5", help="numbers, shares such as 20%%, or all")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600, help="of finetuning")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.output.mkdir(parents=True, exist_ok=True)
    mass3d.prepare(
        inputs=[asked.data / "imagesTr"],
        output=store_of(asked, asked.data),
        spacing_mm=asked.spacing or "auto",
        workers=1,
    )
    runs = [pretrained(asked, name) for name in asked.objectives]
    shown = [TASK] if asked.objectives[0] == "masks" else []  # others cannot match
    report = mass3d.curve(
        dataset=asked.data,
        model=runs[0],
        against=[SCRATCH, *shown, *map(str, runs[1:])],
        output=asked.output / "curve",
        labels=asked.labels.split(","),
        draws=asked.draws,
        seed=asked.seed,
        device="cpu",
        fit={"steps": asked.steps},
    )
    costs = {name: json.loads(cost_of(asked, name).read_text()) for name in asked.objectives}
    text = table(asked.data.name, report.curves, costs)
    (asked.output / "objectives.md").write_text(text)
    print(text, *report.curves.verdict(), sep="\n")


def pretrained(asked: argparse.Namespace, name: Objective) -> Path:
    """The run of an objective, of as many steps as fit into the minutes."""
    run, cost = asked.output / "runs" / name, cost_of(asked, name)
    if not cost.exists():
        cost.parent.mkdir(parents=True, exist_ok=True)
        cost.write_text(json.dumps(measured(asked, name, cost.parent)))
    found = json.loads(cost.read_text())
    if "cpu_s" not in found:
        _keep_alignments(cost.parent / "few", run)
        begin = time.process_time()
        steps = max(1, round((60 * asked.minutes - found["before_s"]) / found["step_s"]))
        pretrain(asked, name, run, steps)
        spent = time.process_time() - begin + found["alignments_s"]
        cost.write_text(json.dumps({**found, "steps": steps, "cpu_s": round(spent, 1)}))
    return run


def cost_of(asked: argparse.Namespace, name: Objective) -> Path:
    """The file of what an objective costs, in the folder of the runs that measured it."""
    return Path(asked.output) / "measured" / name / COST


def measured(asked: argparse.Namespace, name: Objective, folder: Path) -> dict[str, float]:
    """CPU-seconds before the first step, those of them for alignments, and of a step."""
    times = []
    parts = (("few", FEW), ("again", FEW), ("more", MORE))
    for part, _ in parts:
        shutil.rmtree(folder / part, ignore_errors=True)  # of a measurement that was killed
    for part, steps in parts:
        _keep_alignments(folder / "few", folder / part)
        begin = time.process_time()
        pretrain(asked, name, folder / part, steps)
        times.append(time.process_time() - begin)
    few, again, more = times
    step_s = (more - again) / (MORE - FEW)
    return {
        "step_s": round(step_s, 4),
        "before_s": round(few - FEW * step_s, 1),
        "alignments_s": round(few - again, 1),
    }


def pretrain(asked: argparse.Namespace, name: Objective, run: Path, steps: int) -> None:
    mass3d.pretrain(
        store=[store_of(asked, asked.data)],
        output=run,
        seed=asked.seed,
        workers=1,
        device="cpu",
        fit={"steps": steps},
        objective=name,
    )


def _keep_alignments(there: Path, run: Path) -> None:
    """Alignments that were made once are counted once, and not made again."""
    for name in ("alignments.npz", "record.json"):  # the record says whose folder it is
        if (there / name).exists() and not (run / name).exists():
            run.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(there / name, run / name)


def table(dataset: str, curves: Curves, costs: Mapping[str, Mapping[str, Any]]) -> str:
    """A line per number of labels and start; differences are paired by draw, scan, structure."""
    head = (
        "| set | labels | objective | steps | CPU-min | draws | scans | "
        "Dice, mean over draws [least, most] | 95 % | more than none | masks less this |"
        "\n|---|--:|---|--:|--:|--:|--:|---|---|---|---|"
    )
    return "\n".join([head, *lines_of(dataset, curves, costs)]) + "\n"


def lines_of(dataset: str, curves: Curves, costs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The lines of the table."""
    for mark in sorted(curves.marks(), key=lambda mark: mark.labels):
        cost = costs.get(mark.start, {})
        draws = [draw for draw in mark.draws if not math.isnan(draw)]
        dice = f"{mark.dice.mean:.3f} [{min(draws):.3f}, {max(draws):.3f}]"
        yield (
            "| "
            + " | ".join(
                [
                    dataset,
                    str(mark.labels),
                    "none" if mark.start == SCRATCH else mark.start,
                    str(cost.get("steps", 0)),
                    f"{cost.get('cpu_s', 0) / 60:.1f}",
                    str(len(draws)),
                    str(len(curves.cases)),
                    dice,
                    f"[{mark.dice.low:.3f}, {mark.dice.high:.3f}]",
                    less(curves, mark.start, SCRATCH, mark.labels),
                    less(curves, curves.starts[0], mark.start, mark.labels),
                ]
            )
            + " |"
        )


def less(curves: Curves, ours: str, theirs: str, labels: int) -> str:
    """Dice of one start less that of another, in words; nothing of a start and itself."""
    if ours == theirs:
        return ""
    first, second = (
        curves.table[curves.starts.index(name), curves.labels.index(labels)]
        for name in (ours, theirs)
    )
    found: Interval = crossed_mean(first - second, seed=curves.seed)
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


if __name__ == "__main__":
    main()
