"""What pretraining teaches the network by itself, and what each part of the recipe gives.

    python experiments/model.py DATA... -o OUT [--variants base across ...] [--steps 120]
        [--references 2] [--cases 12] [--spacing MM] [--seed 0]

Each DATA is a raw dataset of nnU-Net. Its training scans are prepared once; every variant is the
default recipe with one thing changed, pretrained as long in steps and, when it is done, asked by
itself: one labelled scan is shown, and no head is tuned and nothing is aligned (`mass3d task
--no-tune`, `mass3d segment --no-alignment`). References are drawn as in `references.py`. The
same command goes on after the last variant. `OUT/model.jsonl` gets a line per variant and
reference, `OUT/model.md` is the table. Dice is as in `mass3d evaluate`: the mean over structures of
their means over scans. CPU-minutes are those of pretraining, alignments and all.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from references import choose

import mass3d
from mass3d.io.datasets.cohort import find_cases, find_label
from mass3d.io.datasets.dataset_json import read_structures
from mass3d.io.read import read_label
from mass3d.metrics.statistics import bootstrap_mean_of_means
from mass3d.store.reader import Store
from mass3d.transfer.trained import save_untrained

ROWS: Final = "model.jsonl"
# What is changed, and the settings that change it.
VARIANTS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "base": ("the default recipe", {}),
    "untrained": ("random initialisation, no step at all", {}),
    "across": ("no pairs of two scans", {"views": {"across_share": 0.0}}),
    "place": ("no use of knowing the place", {"views": {"prior_error_vox": 8.0}}),
    "large": ("masks from 250 voxels on", {"views": {"min_visible_vox": 250}}),
    "many": ("48 masks a pair, not 24", {"views": {"num_masks": 48}}),
    "adamw": ("AdamW at 0.002 for Muon", {"fit": {"optimizer": "adamw", "lr": 2e-3}}),
    "tokens": ("the preset of pooled tokens", {"preset": "tokens"}),
}


@dataclass(frozen=True)
class Row:
    """One variant asked with one labelled scan."""

    dataset: str
    variant: str
    steps: int
    reference: str
    cpu_min: float  # of pretraining
    dice: dict[str, dict[str, float]]  # by test scan and structure
    sizes_vox: dict[str, float]  # of the structures in the reference, at the store's spacing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--references", type=int, default=2)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--spacing", type=float, nargs="+", help="of each DATA, in mm")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    spacings = asked.spacing or ["auto"] * len(asked.data)
    for data, spacing in zip(asked.data, spacings, strict=True):
        mass3d.prepare(inputs=[data / "imagesTr"], output=store_of(asked, data), spacing_mm=spacing)
    for variant, data in product(asked.variants, asked.data):
        measure(asked, data, variant)
        text = table(rows_of(asked.output / ROWS))
        (asked.output / "model.md").write_text(text)
        print(text, flush=True)


def store_of(asked: argparse.Namespace, data: Path) -> Path:
    return Path(asked.output, f"{data.name}.store")


def measure(asked: argparse.Namespace, data: Path, variant: str) -> None:
    """Pretrain a variant and ask it with each reference; what is there is kept."""
    steps = 0 if variant == "untrained" else asked.steps
    done = {key_of(row) for row in rows_of(asked.output / ROWS)}
    names = choose(data, asked.references, asked.seed)
    left = [name for name in names if (data.name, variant, steps, name) not in done]
    if not left:
        return
    run = asked.output / f"{data.name}-{variant}-{steps}"
    cpu_min = pretrained(asked, data, variant, run)
    for name in left:
        dice = ask(data, run, name, run / name, asked.cases)
        shown = sizes(data, name, Store.open(store_of(asked, data)).preparation.spacing_mm)
        row = Row(data.name, variant, steps, name, cpu_min, dice, shown)
        keep(row, asked.output / ROWS)


def pretrained(asked: argparse.Namespace, data: Path, variant: str, run: Path) -> float:
    """Make the run of a variant; CPU-minutes that it took."""
    if variant == "untrained":
        save_untrained(run, like=asked.output / f"{data.name}-base-{asked.steps}")
        return 0.0
    changes = VARIANTS[variant][1]
    fit = {"steps": asked.steps, **changes.get("fit", {})}
    return timed(asked, run, [data], **{**changes, "fit": fit})


def timed(asked: argparse.Namespace, run: Path, sets: Sequence[Path], **settings: Any) -> float:
    """Pretrain on some sets, or go on; CPU-minutes that it took, which are kept beside the run."""
    spent, begin = run.with_suffix(".cpu"), time.process_time()
    stores = [store_of(asked, data) for data in sets]
    mass3d.pretrain(store=stores, output=run, seed=asked.seed, workers=1, **settings)
    if not spent.exists():
        spent.write_text(f"{(time.process_time() - begin) / 60:.2f}")
    return float(spent.read_text())


def ask(data: Path, run: Path, name: str, output: Path, cases: int) -> dict[str, dict[str, float]]:
    """Dice of every structure of the first test scans, with one training scan shown."""
    scans = {case.case_id: case.path for case in find_cases([data / "imagesTr"])}
    task = output / "one.task"
    mass3d.task(
        images=[scans[name]], labels=[label_file(data, name)], model=run, output=task, tune=False
    )
    tests = [case.path for case in find_cases([data / "imagesTs"])][:cases]
    found = output / "found"
    mass3d.segment(inputs=tests, task=task, output=found, alignment=False)
    scored = mass3d.evaluate(predictions=found, labels=data / "labelsTs", output=output / "scores")
    return {case: dict(dice) for case, dice in scored.dice.items()}


def sizes(data: Path, name: str, spacing_mm: float) -> dict[str, float]:
    """How many voxels of the store each structure of a labelled scan has."""
    label = read_label(label_file(data, name))
    values, counts = np.unique(label.voxels, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    larger = math.prod(label.grid.spacing_mm) / spacing_mm**3
    structures = read_structures(data / "labelsTr") or {}
    return {key: found[value] * larger for key, value in structures.items() if value in found}


def label_file(data: Path, name: str) -> Path:
    path = find_label(data / "labelsTr", name)
    if path is None:
        raise SystemExit(f"{data / 'labelsTr'}: no label of {name}")
    return path


def key_of(row: Row) -> tuple[str, str, int, str]:
    return row.dataset, row.variant, row.steps, row.reference


def keep(row: Row, path: Path) -> None:
    """One line more."""
    with path.open("a") as lines:
        lines.write(json.dumps(asdict(row)) + "\n")


def rows_of(path: Path) -> list[Row]:
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


def table(rows: list[Row]) -> str:
    """Means over references, with the interval of a bootstrap over scans, and by octave of size."""
    octaves = sorted({octave(size) for row in rows for size in row.sizes_vox.values() if size})
    heads = [f"{2**n}-{2 ** (n + 1)} vox" for n in octaves]
    lines = [
        "| set | what is changed | steps | CPU-min | Dice | 95 % over scans | "
        f"{' | '.join(heads)} |\n|---|---|--:|--:|--:|---|{'--:|' * len(heads)}"
    ]
    for dataset, variant, steps in sorted({key_of(row)[:3] for row in rows}):
        same = [row for row in rows if key_of(row)[:3] == (dataset, variant, steps)]
        interval = bootstrap_mean_of_means(by_structure(same), seed=0)
        parts = [at_octave(same, n) for n in octaves]
        lines.append(
            f"| {dataset} | {VARIANTS[variant][0]} | {steps} | {same[0].cpu_min:.0f} "
            f"| {interval.mean:.3f} | [{interval.low:.3f}, {interval.high:.3f}] "
            f"| {' | '.join('' if part is None else f'{part:.3f}' for part in parts)} |"
        )
    return "\n".join(lines) + "\n"


def octave(voxels: float) -> int:
    return math.floor(math.log2(voxels))


def by_structure(rows: Sequence[Row]) -> np.ndarray:
    """(scans, structures): means over references; NaN where nothing is scored."""
    cases = sorted({case for row in rows for case in row.dice})
    names = sorted({name for row in rows for dice in row.dice.values() for name in dice})
    per_reference = [
        [[row.dice.get(case, {}).get(name, np.nan) for name in names] for case in cases]
        for row in rows
    ]
    return np.asarray(np.mean(per_reference, axis=0))


def at_octave(rows: Sequence[Row], wanted: int) -> float | None:
    """Mean Dice of the structures of a size."""
    means = [
        float(np.nanmean([dice.get(name, np.nan) for dice in row.dice.values()]))
        for row in rows
        for name, size in row.sizes_vox.items()
        if octave(size) == wanted
    ]
    return statistics.mean(means) if means else None


if __name__ == "__main__":
    main()
