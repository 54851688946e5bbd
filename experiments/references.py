"""How well a pretrained model segments from one labelled scan, over several choices of that scan.

    python experiments/references.py RUN DATA -o OUT [--references 5] [--seed 0] [--untrained]

DATA is a raw dataset of nnU-Net. References are drawn by the seed from the training scans that
show every structure (or, where none does, most of them); each makes a task of its own, segments
all of imagesTs and is scored on labelsTs. A structure absent from a label file is not scored
there. `--untrained` does the same with the random initialisation of the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import numpy as np

import mass3d
from mass3d.io.datasets.cohort import find_cases, find_label
from mass3d.io.datasets.dataset_json import read_structures
from mass3d.io.read import read_label
from mass3d.transfer.trained import save_untrained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--untrained", action="store_true")
    asked = parser.parse_args()
    run = asked.run
    if asked.untrained:
        run = asked.output / "untrained"
        save_untrained(run, like=asked.run)
    rows = []
    for name in choose(asked.data, asked.references, asked.seed):
        row = one_reference(run, asked.data, name, asked.output / name, asked.overlap)
        print(name, json.dumps(row), flush=True)
        rows.append(row)
    table(rows, asked.output)


def choose(data: Path, count: int, seed: int) -> list[str]:
    """Case ids of training scans with the most structures, drawn by the seed."""
    structures = read_structures(data / "labelsTr") or {}
    shown: dict[str, int] = {}
    for case in find_cases([data / "imagesTr"]):
        label = find_label(data / "labelsTr", case.case_id)
        if label is not None:
            values = set(np.unique(read_label(label).voxels).tolist())
            shown[case.case_id] = len(values & set(structures.values()))
    full = [name for name, number in shown.items() if number == max(shown.values())]
    order = np.random.default_rng(seed).permutation(len(full))
    return [full[i] for i in order[:count]]


def one_reference(
    run: Path, data: Path, name: str, output: Path, overlap: float
) -> dict[str, float]:
    """Mean Dice over structures, and every structure's own, with one training scan shown."""
    image = next(case.path for case in find_cases([data / "imagesTr"]) if case.case_id == name)
    label = find_label(data / "labelsTr", name)
    assert label is not None, f"no label of {name}"
    task = output / "one.task"
    mass3d.task(images=[image], labels=[label], model=run, output=task)
    mass3d.segment(inputs=[data / "imagesTs"], task=task, output=output / "found", overlap=overlap)
    mass3d.evaluate(
        predictions=output / "found", labels=data / "labelsTs", output=output / "scores"
    )
    scores = json.loads((output / "scores" / "metrics.json").read_text())
    dice = {key: value["dice"]["mean"] for key, value in scores["structures"].items()}
    return {"mean": scores["mean"]["dice"], **dice}


def table(rows: list[dict[str, float]], output: Path) -> None:
    """The median over references, and the range, of every column."""
    summary = {
        key: {
            "median": round(statistics.median(row[key] for row in rows), 4),
            "least": round(min(row[key] for row in rows), 4),
            "most": round(max(row[key] for row in rows), 4),
        }
        for key in rows[0]
    }
    (output / "references.json").write_text(json.dumps({"rows": rows, **summary}, indent=2))
    for key, value in summary.items():
        print(f"{key:24s} {value['median']:.3f} [{value['least']:.3f}, {value['most']:.3f}]")


if __name__ == "__main__":
    main()
