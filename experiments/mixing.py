"""What one run on several sets gives each of them, beside a run on that set alone.

    python experiments/mixing.py DATA... -o OUT [--steps 220] [--references 3] [--cases 8]
        [--spacing 3] [--seed 0]

Each DATA is a raw dataset of nnU-Net; the training scans of each become a store, all at one
spacing, as stores of one run must be. Pretrained are: each set alone; all together for as many
steps, the minutes of one of those runs; and all together for as many steps as those runs have in
sum. Then every run is asked by itself with the labelled scans of every set, as in `model.py`:
nothing is tuned and nothing aligned. `OUT/mixing.jsonl` gets a line per run and reference,
`OUT/mixing.md` is the table; differences are paired by scan and structure. The same command goes on
where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from references import choose

import mass3d
from mass3d.metrics.statistics import Interval, bootstrap_mean_of_means
from mass3d.transfer.trained import save_untrained
from model import Row, ask, by_structure, keep, rows_of, store_of, timed

ROWS: Final = "mixing.jsonl"
ALONE: Final = "alone"  # the run of a set by itself
KINDS: Final = {
    "untrained": "random initialisation",
    ALONE: "this set alone",
    "mixed": "all sets, the steps of one",
    "mixed-longer": "all sets, the steps of all",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--spacing", type=float, default=3.0, help="of all stores, in mm")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    for data in asked.data:
        store = store_of(asked, data)
        mass3d.prepare(inputs=[data / "imagesTr"], output=store, spacing_mm=asked.spacing)
    for data in asked.data:
        trained(asked, f"{ALONE}-{data.name}", ALONE, [data], asked.steps)
    untrained = asked.output / "untrained"
    save_untrained(untrained, like=asked.output / f"{ALONE}-{asked.data[0].name}")
    measure(asked, untrained, "untrained", asked.data, steps=0, minutes=0.0)
    for kind, steps in (("mixed", asked.steps), ("mixed-longer", asked.steps * len(asked.data))):
        trained(asked, kind, kind, asked.data, steps)
    text = table(rows_of(asked.output / ROWS))
    (asked.output / "mixing.md").write_text(text)
    print(text)


def trained(asked: argparse.Namespace, name: str, kind: str, sets: list[Path], steps: int) -> None:
    """Make a run on some sets, or go on with it, and ask it about these."""
    minutes = timed(asked, asked.output / name, sets, fit={"steps": steps})
    measure(asked, asked.output / name, kind, sets, steps=steps, minutes=minutes)


def measure(
    asked: argparse.Namespace, run: Path, kind: str, sets: list[Path], *, steps: int, minutes: float
) -> None:
    """Ask a run with each reference of some sets; what is there is kept."""
    done = {(row.dataset, row.variant, row.reference) for row in rows_of(asked.output / ROWS)}
    for data in sets:
        for reference in choose(data, asked.references, asked.seed):
            if (data.name, kind, reference) not in done:
                there = run / f"{data.name}-{reference}"
                dice = ask(data, run, reference, there, asked.cases)
                row = Row(data.name, kind, steps, reference, minutes, dice, {})
                keep(row, asked.output / ROWS)


def table(rows: list[Row]) -> str:
    """A line per set and run."""
    head = (
        "| set | learned from | steps | CPU-min | Dice, mean over references | 95 % over scans | "
        "more than alone |\n|---|---|--:|--:|--:|---|---|"
    )
    names = sorted({row.dataset for row in rows})
    return "\n".join([head, *chain.from_iterable(lines_of(name, rows) for name in names)]) + "\n"


def lines_of(dataset: str, rows: list[Row]) -> Iterator[str]:
    """The lines of one set."""
    of = {kind: [r for r in rows if (r.dataset, r.variant) == (dataset, kind)] for kind in KINDS}
    tables = {kind: by_structure(some) for kind, some in of.items() if some}
    for kind, scores in tables.items():
        first, dice = of[kind][0], bootstrap_mean_of_means(scores, seed=0)
        more = ""
        if kind != ALONE and ALONE in tables:
            gain: Interval = bootstrap_mean_of_means(scores - tables[ALONE], seed=0)
            more = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        yield (
            f"| {dataset} | {KINDS[kind]} | {first.steps} | {first.cpu_min:.0f} | {dice.mean:.3f} "
            f"| [{dice.low:.3f}, {dice.high:.3f}] | {more} |"
        )


if __name__ == "__main__":
    main()
