"""What frozen features tell of whole scans, and of crops with a lesion and without.

    python experiments/probe.py RUN DATA -o OUT --target sex age [--seeds 3] [--device cpu]
    python experiments/probe.py RUN DATA -o OUT --crops 3 [--edge-mm 96] [--seeds 3]
        [--scratch UPDATES ...]

DATA is a raw dataset of nnU-Net, RUN a run that was pretrained on its training scans, without
labels. The first line asks columns of DATA/participants.csv of all scans, those for testing too.
The second cuts cubes out of each scan, so many around random voxels of its label and so many around
random body voxels without a voxel of the label in the cube, and asks which are which; no patient is
in two folds.

With `--scratch` the network of RUN is also trained from scratch on the cubes of the same
folds (`scratch.py`), for each of the numbers of updates, and stands in the table with the others.

Scans are embedded once into `OUT/embedded`; `mass3d probe` is run for every seed, which decides the
folds, into `OUT/probed-<seed>`. The table, printed and in `OUT/probe.md`, has the median over the
seeds and the interval over patients of the first seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scratch import add_scratch, name_of

import mass3d
from mass3d.io.datasets.cohort import find_cases, find_label
from mass3d.io.read import read_label, read_volume
from mass3d.transfer.frozen.scan import HISTOGRAM, PRETRAINED, SIZE, UNTRAINED
from mass3d.transfer.trained import read_run
from mass3d.volume.body import body_mask
from mass3d.volume.box import Box, box_at
from mass3d.volume.preparation import PreparationConfig, prepared_modality
from mass3d.volume.volume import Volume

TRIES: Final = 200  # at a cube without lesion
LESION: Final = "lesion"  # the target of cubes
SCORES: Final = ("auroc", "auprc", "balanced_accuracy", "mae", "r2")


def main() -> None:
    asked = _arguments()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    record, _, _ = read_run(asked.run)
    scans = [asked.data / "imagesTr", asked.data / "imagesTs"]
    labels, targets = asked.data / "participants.csv", list(asked.target)
    if asked.crops:
        labels, targets = asked.output / "crops.csv", [LESION]
        if not labels.exists():
            kind = record.preparation
            write_crops(asked.data, asked.output, kind, each=asked.crops, edge_mm=asked.edge_mm)
        scans = [asked.output / "crops"]
    embedded, began = asked.output / "embedded", time.process_time()
    mass3d.embed(
        inputs=scans, model=asked.run, output=embedded, untrained=True, device=asked.device
    )
    print(f"embedded in {time.process_time() - began:.1f} CPU-seconds, by both networks together")
    told = []
    for seed in range(asked.seeds):
        place = asked.output / f"probed-{seed}"
        report = mass3d.probe(
            inputs=[embedded], labels=labels, targets=targets, output=place, seed=seed
        )
        print(report.summary(), flush=True)
        told.append(json.loads((place / "metrics.json").read_text())["targets"])
        if asked.scratch:
            add_scratch(
                told[-1][LESION],
                place,
                asked.output / "crops",
                record,
                updates=asked.scratch,
                seed=seed,
            )
    text = table(told, [name_of(count) for count in asked.scratch])
    (asked.output / "probe.md").write_text(text)
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--target", nargs="+", default=[])
    parser.add_argument("--crops", type=int, default=0, help="of each kind from every scan")
    parser.add_argument("--edge-mm", type=float, default=96.0)
    parser.add_argument("--scratch", type=int, nargs="+", default=[], help="updates of a training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    if asked.scratch and not asked.crops:
        parser.error("--scratch is of cubes: say --crops too")
    return asked


def write_crops(
    data: Path, output: Path, kind: PreparationConfig, *, each: int, edge_mm: float
) -> None:
    """Cubes of all scans below `output`/crops, and crops.csv with what they show."""
    (output / "crops").mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str]] = []
    for part in ("Tr", "Ts"):
        for number, case in enumerate(find_cases([data / f"images{part}"])):
            path = find_label(data / f"labels{part}", case.case_id)
            if path is None:
                raise SystemExit(f"{data}: no label of {case.case_id}")
            scan = read_volume(case.scan)
            label = read_label(path, like=scan).voxels > 0
            body = body_mask(scan.voxels, prepared_modality(scan, kind))
            rng = np.random.default_rng((number, part == "Ts"))
            for told, box in cubes(rng, scan, label, body, each=each, edge_mm=edge_mm):
                name = (
                    f"{case.case_id}_{told}_{sum(row[0].startswith(case.case_id) for row in rows)}"
                )
                cube = Volume.from_array(scan.voxels[box], spacing_mm=scan.spacing_mm)
                cube.save(output / "crops" / f"{name}.nii.gz")
                rows.append((name, case.case_id, told))
    with (output / "crops.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("case", "patient", LESION), *rows])


def cubes(
    rng: np.random.Generator,
    scan: Volume,
    label: NDArray[np.bool_],
    body: NDArray[np.bool_],
    *,
    each: int,
    edge_mm: float,
) -> Iterator[tuple[str, Box]]:
    """So many boxes with the label, and as many without where there is room for these."""
    size = [min(n, round(edge_mm / mm)) for n, mm in zip(label.shape, scan.spacing_mm, strict=True)]
    inside, anywhere = np.argwhere(label), np.argwhere(body)
    for _ in range(each):
        yield "yes", _around(inside[rng.integers(len(inside))], size, label.shape)
    found = 0
    for _ in range(TRIES):
        box = _around(anywhere[rng.integers(len(anywhere))], size, label.shape)
        if found < each and not label[box].any():
            found += 1
            yield "no", box


def _around(voxel: NDArray[Any], size: Sequence[int], shape: Sequence[int]) -> Box:
    """The box of `size` about a voxel, moved into the scan."""
    start = [
        int(np.clip(at - n // 2, 0, whole - n))
        for at, n, whole in zip(voxel, size, shape, strict=True)
    ]
    return box_at(start, size)


def table(told: Sequence[dict[str, Any]], others: Sequence[str] = ()) -> str:
    """A row per target, features and head; others: what stands beside the usual features."""
    lines = []
    for target, first in told[0].items():
        scores = [name for name in SCORES if name in first["features"]["size"]["linear"]["scores"]]
        lines += [
            f"| {target} | features | head | {' | '.join(scores)} | pretrained less these |",
            f"|---|---|---|{'---|' * (len(scores) + 1)}",
        ]
        for source in (PRETRAINED, UNTRAINED, *others, HISTOGRAM, SIZE):
            for head in first["features"][source]:
                cells = [
                    _cell([one[target]["features"][source][head]["scores"][name] for one in told])
                    for name in scores
                ]
                ours = first["features"]["pretrained"].get(head, {}).get("differences", {})
                less = (
                    _cell(
                        [
                            one[target]["features"]["pretrained"][head]["differences"][source][
                                scores[0]
                            ]
                            for one in told
                        ]
                    )
                    if source in ours
                    else ""
                )
                lines.append(f"| {target} | {source} | {head} | {' | '.join(cells)} | {less} |")
        lines.append("")
    return "\n".join(lines)


def _cell(scores: Sequence[dict[str, Any]]) -> str:
    """Median over seeds, and the interval of the first."""
    low, high = scores[0]["ci95"]
    return f"{statistics.median(one['value'] for one in scores):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
