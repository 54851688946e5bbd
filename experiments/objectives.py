"""What each objective of pretraining is worth to finetuning, after equal time on a processor.

    python experiments/objectives.py DATA -o OUT [--spacing MM] [--minutes 10] [--labels 1 5]
        [--draws 3] [--steps 600] [--objectives masks autoencoder contrastive correspondence none]
        [--cases N] [--seed 0]

DATA is a raw dataset of nnU-Net. Its training scans are prepared once, without labels, and the same
network is pretrained on them with each objective for the same CPU-minutes on one thread: what comes
before the first step (alignments of scans) and what a step takes are measured first, and the number
of steps is what fits. `none` is first weights. Each run is then finetuned as in `finetune.py`: the
same seeds, scans, crops and updates, scored on all scans of imagesTs.

`OUT/<objective>/finetune.jsonl` gets a line per draw and test scan, `OUT/objectives.md` is the
table, printed after every finetuning. The same command goes on where it was, in the middle of a
training too. The order is draw by draw, so that a table that is cut short compares what it holds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from finetune import ROWS, Row, Start, axes, cells, measure, rows_of, scores

import mass3d
from mass3d.io.datasets.cohort import find_cases
from mass3d.metrics.statistics import Interval, bootstrap_mean_of_means
from model import store_of

Objective = Literal["masks", "autoencoder", "contrastive", "correspondence"]
OBJECTIVES: Final = ("masks", "autoencoder", "contrastive", "correspondence", "none")
NONE: Final = "none"
FEW, MORE = 4, 24  # steps of the measurement
COST: Final = "cost.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--spacing", type=float, help="of the store, in mm")
    parser.add_argument("--minutes", type=float, default=10.0, help="of pretraining, on one thread")
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600, help="of finetuning")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--cases", type=int, help="the first test scans only")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.device = "cpu"
    torch.set_num_threads(1)
    asked.output.mkdir(parents=True, exist_ok=True)
    mass3d.prepare(
        inputs=[asked.data / "imagesTr"],
        output=store_of(asked, asked.data),
        spacing_mm=asked.spacing or "auto",
        workers=1,
    )
    runs = {name: pretrained(asked, name) for name in asked.objectives if name != NONE}
    tests = find_cases([asked.data / "imagesTs"])[: asked.cases]
    for draw, labels, name in product(range(asked.draws), asked.labels, asked.objectives):
        own = argparse.Namespace(**vars(asked))
        own.output = asked.output / name
        # of first weights the run only tells how scans are prepared
        own.run = runs.get(name) or next(iter(runs.values()))
        own.output.mkdir(exist_ok=True)
        start: Start = "scratch" if name == NONE else "pretrained"
        measure(own, tests, labels=labels, draw=draw, start=start)
        tell(asked)


def pretrained(asked: argparse.Namespace, name: Objective) -> Path:
    """The run of an objective, of as many steps as fit into the minutes."""
    run = asked.output / name / "run"
    cost = run.parent / COST
    if not cost.exists():
        run.parent.mkdir(exist_ok=True)
        cost.write_text(json.dumps(measured(asked, name, run.parent)))
    found = json.loads(cost.read_text())
    if "cpu_s" not in found:
        _keep_alignments(run.parent / "few", run)
        begin = time.process_time()
        steps = max(1, round((60 * asked.minutes - found["before_s"]) / found["step_s"]))
        pretrain(asked, name, run, steps)
        spent = time.process_time() - begin + found["alignments_s"]
        cost.write_text(json.dumps({**found, "steps": steps, "cpu_s": round(spent, 1)}))
    return run


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


def tell(asked: argparse.Namespace) -> None:
    """Write and print the table of what there is."""
    rows = {name: rows_of(asked.output / name / ROWS) for name in asked.objectives}
    costs = {name: cost_of(asked.output / name / COST) for name in asked.objectives}
    text = table(rows, costs)
    (asked.output / "objectives.md").write_text(text)
    print(text, flush=True)


def cost_of(file: Path) -> dict[str, float]:
    return json.loads(file.read_text()) if file.exists() else {}


def table(rows: Mapping[str, Sequence[Row]], costs: Mapping[str, Mapping[str, Any]]) -> str:
    """A line per number of labels and objective; what it adds to first weights is paired."""
    head = (
        "| set | labels | objective | steps | CPU-min | draws | scans | "
        "Dice, mean over draws [least, most] | 95 % over scans | more than none | masks less this |"
        "\n|---|--:|---|--:|--:|--:|--:|---|---|---|---|"
    )
    return "\n".join([head, *lines_of(rows, costs)]) + "\n"


def lines_of(
    rows: Mapping[str, Sequence[Row]], costs: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """The lines of the table."""
    every = [row for some in rows.values() for row in some]
    for dataset, labels in sorted({(row.dataset, row.labels) for row in every}):
        parts = {
            name: [
                replace(r, start=name) for r in some if (r.dataset, r.labels) == (dataset, labels)
            ]
            for name, some in rows.items()
        }
        for name, part in parts.items():
            if part:
                cost = costs.get(name, {})
                spent = [str(cost.get("steps", 0)), f"{cost.get('cpu_s', 0) / 60:.1f}"]
                own = cells(part)[:4]
                told = [gain(part, parts.get(NONE, [])), gain(parts.get("masks", []), part)]
                yield "| " + " | ".join([dataset, str(labels), name, *spent, *own, *told]) + " |"


def gain(ours: Sequence[Row], theirs: Sequence[Row]) -> str:
    """Dice of ours less theirs over the draws and scans that both have, paired, in words."""
    keys = [{(row.draw, row.case) for row in part} for part in (ours, theirs)]
    shared = keys[0] & keys[1]
    both = [[row for row in part if (row.draw, row.case) in shared] for part in (ours, theirs)]
    if not shared or ours[0].start == theirs[0].start:
        return ""
    names, cases = axes([*both[0], *both[1]])
    first, second = (scores(part, names, cases) for part in both)
    found: Interval = bootstrap_mean_of_means(np.asarray(first - second), seed=0)
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


if __name__ == "__main__":
    main()
