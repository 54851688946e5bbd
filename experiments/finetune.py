"""What pretraining is worth to finetuning: from pretrained weights and from scratch.

    python experiments/finetune.py RUN DATA -o OUT [--labels 1 5] [--draws 3] [--steps 600]
        [--cases N] [--device auto] [--threads N]

DATA is a raw dataset of nnU-Net, RUN a run that was pretrained on its training scans, without
labels. For each draw the labelled scans are drawn as in `references.py`, with the draw as seed; the
draw of five holds that of one. `mass3d finetune` then trains twice with the same seed, scans, crops
and updates, once from the weights of RUN and once from scratch. All scans of imagesTs are
segmented on their own grids and scored on labelsTs; a structure absent from a label file is not
scored there, and one that the labels for training lack has Dice 0.

`OUT/finetune.jsonl` gets a line per draw, start and test scan, and the same command goes on after
the last one, in the middle of a training too; `OUT/finetune.md` is the table. It is printed after
every draw. CPU seconds are those of the training; of one that was interrupted, those since.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from references import choose

import mass3d
from mass3d.io.datasets.cohort import CaseFile, find_cases, find_label
from mass3d.io.datasets.dataset_json import read_structures
from mass3d.io.read import read_label, read_volume
from mass3d.metrics.overlap import label_overlaps
from mass3d.metrics.statistics import Interval, bootstrap_mean_of_means

Start = Literal["pretrained", "scratch"]
STARTS: Final[tuple[Start, ...]] = ("pretrained", "scratch")
ROWS = "finetune.jsonl"


@dataclass(frozen=True)
class Row:
    """One test scan, segmented by one finetuned model."""

    dataset: str
    labels: int
    draw: int
    start: str
    steps: int
    case: str
    cpu_s: float  # of the training
    seconds: float  # of this scan
    dice: dict[str, float]  # by structure; those that the scan's label lacks are left out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--cases", type=int, help="the first test scans only")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    asked.output.mkdir(parents=True, exist_ok=True)
    tests = find_cases([asked.data / "imagesTs"])[: asked.cases]
    for draw, labels, start in product(range(asked.draws), asked.labels, STARTS):
        measure(asked, tests, labels=labels, draw=draw, start=start)
        text = table(rows_of(asked.output / ROWS))
        (asked.output / "finetune.md").write_text(text)
        print(text, flush=True)


def measure(
    asked: argparse.Namespace,
    tests: Sequence[CaseFile],
    *,
    labels: int,
    draw: int,
    start: Start,
) -> None:
    """Finetune once and score all test scans; what is there is kept."""
    key = (asked.data.name, labels, draw, start, asked.steps)
    done = {row.case for row in rows_of(asked.output / ROWS) if key_of(row) == key}
    left = [case for case in tests if case.case_id not in done]
    if not left:
        return
    folder = asked.output / "-".join(map(str, key))
    spent = folder.with_suffix(".cpu")  # of the training, beside it
    begin = time.process_time()
    names = choose(asked.data, labels, draw)
    scans = {case.case_id: case.path for case in find_cases([asked.data / "imagesTr"])}
    found = [find_label(asked.data / "labelsTr", name) for name in names]
    mass3d.finetune(
        images=[scans[name] for name in names],
        label_maps=[path for path in found if path is not None],
        model=asked.run,
        output=folder,
        start=start,
        seed=draw,
        validation=0,
        device=asked.device,
        fit={"steps": asked.steps},
    )
    if not spent.exists():
        spent.write_text(f"{time.process_time() - begin:.1f}")
    segment(asked, left, folder, key, cpu_s=float(spent.read_text()))


def segment(
    asked: argparse.Namespace,
    cases: Sequence[CaseFile],
    folder: Path,
    key: tuple[str, int, int, str, int],
    *,
    cpu_s: float,
) -> None:
    """A line for every scan."""
    structures = read_structures(asked.data / "labelsTs") or {}
    model = mass3d.load(folder, device=asked.device)
    for case in cases:
        scan = read_volume(case.scan)
        begin = time.perf_counter()
        found = model.segment(scan).voxels
        seconds = round(time.perf_counter() - begin, 2)
        path = find_label(asked.data / "labelsTs", case.case_id)
        if path is None:
            raise SystemExit(f"{asked.data / 'labelsTs'}: no label of {case.case_id}")
        truth = read_label(path, like=scan).voxels
        overlaps, shown = label_overlaps(found, truth), set(np.unique(truth).tolist())
        dice = {name: overlaps[v].dice for name, v in structures.items() if v in shown}
        row = Row(*key, case.case_id, cpu_s, seconds, dice)
        with (asked.output / ROWS).open("a") as lines:
            lines.write(json.dumps(asdict(row)) + "\n")


def key_of(row: Row) -> tuple[str, int, int, str, int]:
    """What tells one finetuned model from another."""
    return row.dataset, row.labels, row.draw, row.start, row.steps


def rows_of(file: Path) -> list[Row]:
    """The lines that are there."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def table(rows: Sequence[Row]) -> str:
    """A line per set, number of labels and start, and one for what pretraining adds."""
    head = (
        "| set | labels | steps | start | draws | scans | Dice, mean over draws [least, most] |"
        " 95 % over scans | CPU-s to train | s a scan |\n|---|--:|--:|---|--:|--:|---|---|--:|--:|"
    )
    return "\n".join([head, *lines_of(rows)]) + "\n"


def lines_of(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of the table, in the order of measuring."""
    for dataset, labels, steps in dict.fromkeys((r.dataset, r.labels, r.steps) for r in rows):
        mine = [r for r in rows if (r.dataset, r.labels, r.steps) == (dataset, labels, steps)]
        first = [dataset, str(labels), str(steps)]
        parts = parts_of(mine)
        for start, part in parts.items():
            if part:
                yield "| " + " | ".join([*first, start, *cells(part)]) + " |"
        both = complete(parts)
        if both:
            one = gain(both)
            draws = str(len({row.draw for row in both}))
            told = [f"**{one.mean:+.3f}**", f"[{one.low:+.3f}, {one.high:+.3f}]"]
            yield "| " + " | ".join([*first, "**gain**", draws, "", *told, "", ""]) + " |"


def parts_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by start."""
    return {start: [row for row in rows if row.start == start] for start in STARTS}


def cells(rows: Sequence[Row]) -> list[str]:
    """Figures of one start."""
    draws = sorted({row.draw for row in rows})
    means = [interval([row for row in rows if row.draw == draw]).mean for draw in draws]
    whole = interval(rows)
    return [
        str(len(draws)),
        str(len({row.case for row in rows})),
        f"{statistics.mean(means):.3f} [{min(means):.3f}, {max(means):.3f}]",
        f"[{whole.low:.3f}, {whole.high:.3f}]",
        f"{statistics.median(row.cpu_s for row in rows):.0f}",
        f"{statistics.median(row.seconds for row in rows):.2g}",
    ]


def complete(parts: dict[str, list[Row]]) -> list[Row]:
    """The rows of draws and scans that both starts have."""
    keys = [{(row.draw, row.case) for row in part} for part in parts.values()]
    shared = keys[0] & keys[1]
    return [row for part in parts.values() for row in part if (row.draw, row.case) in shared]


def gain(rows: Sequence[Row]) -> Interval:
    """Dice of pretrained less scratch, with a paired interval over scans."""
    names, cases = axes(rows)
    ours, theirs = (scores([r for r in rows if r.start == s], names, cases) for s in STARTS)
    return bootstrap_mean_of_means(ours - theirs, seed=0)


def interval(rows: Sequence[Row]) -> Interval:
    """Mean over structures of their means over scans, each a mean over draws."""
    return bootstrap_mean_of_means(scores(rows, *axes(rows)), seed=0)


def axes(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Structures and scans."""
    return sorted({name for row in rows for name in row.dice}), sorted({row.case for row in rows})


def scores(rows: Sequence[Row], names: list[str], cases: list[str]) -> np.ndarray:
    """(scans, structures): means over draws; NaN where nothing is scored."""
    draws = sorted({row.draw for row in rows})
    found = np.full((len(draws), len(cases), len(names)), np.nan)
    for row in rows:
        place = draws.index(row.draw), cases.index(row.case)
        found[place] = [row.dice.get(name, np.nan) for name in names]
    counted = (~np.isnan(found)).sum(0)
    sums = np.nansum(found, 0)
    return np.where(counted > 0, sums / np.maximum(counted, 1), np.nan)


if __name__ == "__main__":
    main()
