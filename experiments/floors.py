"""What a registration gives with one labelled scan: the floors beside every one-shot figure.

    python experiments/floors.py DATA... -o OUT [--references 5] [--cases N] [--seed 0]
        [--names CASE ...] [--methods copy affine demons deformable task adapted itself]
        [--spacing MM]

Each DATA is a raw dataset of nnU-Net. References are drawn by the seed as in `references.py`. A
method brings the label of a reference onto each scan of imagesTs, on the scan's own grid, as
`mass3d segment` does. It is scored as `mass3d evaluate` scores: a structure absent from a label
file is not scored there, the mean is over structures of their means over cases, and its interval
is a bootstrap over cases. Where a registration fails, every structure has Dice 0. The last three
methods are no floors: what `mass3d task` and `segment` do with the same label, the same after
`mass3d adapt` to the other training scans, and the scan's own label as the network's grid holds
it, which no network that works on this grid can be much better than, whatever it learned.

`OUT/floors.jsonl` gets a line per method, reference and case, and the same command goes on after
the last one; `OUT/floors.md` is the table. Everything runs in one thread. CPU seconds are those of
the registration; reading and preparing a scan is left out, for every method needs it, and so is
the tuning and adapting of the task, which is done once for a reference.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from references import choose
from torch import Tensor

from mass3d.alignment.alignment import align, places
from mass3d.alignment.features import scan_features
from mass3d.alignment.geometry import cell_centres
from mass3d.io.datasets.cohort import find_cases, find_label
from mass3d.io.datasets.dataset_json import read_structures
from mass3d.io.read import read_grid, read_label, read_volume
from mass3d.metrics.overlap import label_overlaps
from mass3d.metrics.statistics import Interval, bootstrap_mean_of_means
from mass3d.transfer.adaptation.adapt import ScanToRead, adapt
from mass3d.transfer.adaptation.settings import AdaptationConfig
from mass3d.transfer.coarse import brought_back
from mass3d.transfer.oneshot.output import labels_on
from mass3d.transfer.oneshot.part import OneShotPart, make_part
from mass3d.transfer.tuning.settings import DEFAULT as TUNING
from mass3d.volume.box import whole_box
from mass3d.volume.geometry import Grid
from mass3d.volume.preparation import (
    PreparationConfig,
    Prepared,
    prepare_label,
    prepare_volume,
)
from mass3d.volume.spacing import automatic_spacing_mm
from mass3d.volume.volume import Volume

# At which spacing the sets of `shared/data` are prepared in all experiments; others: automatic.
SPACING_MM: Final = {"hippocampus": 1.0, "brain_t1": 3.0, "headneck_ct": 4.0}
MATTES_BINS: Final = 32
SAMPLED: Final = 0.2  # share of the voxels that the affine metric looks at
AFFINE_LEVELS: Final = ((4, 2), (2, 1), (1, 0))  # shrink factor, smoothing in mm
DEMONS_LEVELS: Final = (4, 2, 1)
DEMONS_STEPS: Final = 100
DEMONS_SMOOTHING_VOX: Final = 1.5


@dataclass(frozen=True)
class Scan:
    """A scan with its label. Its name stands for it: a task is made once for a reference."""

    data: Path
    case_id: str
    image: sitk.Image = field(compare=False)  # prepared: cubic voxels, normalised intensities
    label: sitk.Image = field(compare=False)  # on the scan's own grid
    prepared: Prepared = field(compare=False)
    labelled: Volume = field(compare=False)


@dataclass(frozen=True)
class Row:
    """One label carried over to one scan."""

    dataset: str
    method: str
    reference: str
    case: str
    cpu_s: float
    dice: dict[str, float]  # by structure; those that the scan's label lacks are left out


Method = Callable[[Scan, Scan], sitk.Image]  # reference, query -> label on the query's own grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--cases", type=int, help="the first test scans only")
    parser.add_argument("--names", nargs="+", help="the references, in place of drawn ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--spacing", type=float, help="in mm, for all sets")
    asked = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    torch.set_num_threads(1)
    asked.output.mkdir(parents=True, exist_ok=True)
    file = asked.output / "floors.jsonl"
    for data in asked.data:
        references = asked.names or choose(data, asked.references, asked.seed)
        spacing_mm = asked.spacing or spacing_of(data)
        names = [case.case_id for case in find_cases([data / "imagesTs"])][: asked.cases]
        measure(data, file, references, names, methods=asked.methods, spacing_mm=spacing_mm)
    text = table(rows_of(file), asked.seed)
    (asked.output / "floors.md").write_text(text)
    print(text)


def measure(
    data: Path,
    file: Path,
    references: Sequence[str],
    tests: Sequence[str],
    *,
    methods: Sequence[str],
    spacing_mm: float,
) -> None:
    """Carry each reference onto each test scan by every method; lines that are there are kept."""
    structures = read_structures(data / "labelsTr") or {}
    done = {(row.dataset, row.method, row.reference, row.case) for row in rows_of(file)}
    for name, case, method in product(references, tests, methods):
        if (data.name, method, name, case) in done:
            continue
        reference, query = load(data, "Tr", name, spacing_mm), load(data, "Ts", case, spacing_mm)
        cpu_s, dice = score(METHODS[method], reference, query, structures)
        row = Row(data.name, method, name, case, cpu_s, dice)
        with file.open("a") as lines:
            lines.write(json.dumps(asdict(row)) + "\n")


def spacing_of(data: Path) -> float:
    """The spacing of a set: the usual one, or what `prepare` would choose."""
    grids = (read_grid(case.scan).grid for case in find_cases([data / "imagesTr"]))
    return SPACING_MM.get(data.name) or automatic_spacing_mm(grids)


@lru_cache(maxsize=256)
def load(data: Path, part: str, case_id: str, spacing_mm: float) -> Scan:
    """A scan of a dataset (part Tr or Ts) with its label."""
    cases = find_cases([data / f"images{part}"])
    volume = read_volume(next(case.scan for case in cases if case.case_id == case_id))
    path = find_label(data / f"labels{part}", case_id)
    if path is None:
        raise SystemExit(f"{data / f'labels{part}'}: no label of {case_id}")
    label: Volume = read_label(path, like=volume)
    prepared = prepare_volume(volume, PreparationConfig(spacing_mm=spacing_mm))
    images = as_itk(prepared.image, prepared.grid), as_itk(label.voxels, label.grid)
    return Scan(data, case_id, *images, prepared, label)


def as_itk(voxels: NDArray[Any], grid: Grid) -> sitk.Image:
    """An array (D, H, W) where it lies in the world; its axes are ITK's in reverse."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.affine[:3, 3].tolist())
    directions = grid.affine[:3, :3] / np.array(grid.spacing_mm)
    image.SetDirection(directions[:, ::-1].ravel().tolist())
    return image


def score(
    method: Method, reference: Scan, query: Scan, structures: dict[str, int]
) -> tuple[float, dict[str, float]]:
    """CPU seconds of a method, and its Dice by structure."""
    begin = time.process_time()
    try:
        found = method(reference, query)
    except RuntimeError as error:  # of ITK, such as too few voxels that lie on each other
        print(f"{reference.case_id} onto {query.case_id}: {error}", flush=True)
        found = query.label * 0
    cpu_s = time.process_time() - begin
    truth = sitk.GetArrayFromImage(query.label)
    overlaps = label_overlaps(sitk.GetArrayFromImage(found), truth)
    shown = set(np.unique(truth).tolist())
    names = {name: value for name, value in structures.items() if value in shown}
    return cpu_s, {name: overlaps[value].dice for name, value in names.items()}


def copy(reference: Scan, query: Scan) -> sitk.Image:
    """The label where it is, the middles of the two scans on each other."""
    shift = np.subtract(middle(reference.image), middle(query.image))
    return carried(sitk.TranslationTransform(3, shift.tolist()), reference, query)


def affine(reference: Scan, query: Scan) -> sitk.Image:
    """Twelve numbers by mutual information (Mattes 2003)."""
    return carried(affine_transform(reference, query), reference, query)


def demons(reference: Scan, query: Scan) -> sitk.Image:
    """The affine map, then fast symmetric demons (Vercauteren 2009) on matched histograms."""
    first = affine_transform(reference, query)
    outside = float(sitk.GetArrayViewFromImage(reference.image).min())
    moved = sitk.Resample(reference.image, query.image, first, sitk.sitkLinear, outside)
    matched = sitk.HistogramMatching(moved, query.image, 128, 7, True)
    second = sitk.DisplacementFieldTransform(demons_field(query.image, matched))
    return carried(sitk.CompositeTransform([first, second]), reference, query)


def deformable(reference: Scan, query: Scan) -> sitk.Image:
    """The package's own alignment: self-similarity, discrete search, then Gauss-Newton."""
    images = [torch.from_numpy(sitk.GetArrayFromImage(scan.image)) for scan in (reference, query)]
    found = align(scan_features(images[0]), scan_features(images[1]))
    there = world(places(found, whole_box(found.shape)), reference.image)
    here = world(cell_centres(found.shape, 1, (0, 0, 0)), query.image)
    field = sitk.GetImageFromArray(there - here, isVector=True)
    field.CopyInformation(query.image)
    return carried(sitk.DisplacementFieldTransform(field), reference, query)


def task(reference: Scan, query: Scan) -> sitk.Image:
    """What a task made of the reference alone says, without any network."""
    return answered(*part_of(reference), query)


def adapted(reference: Scan, query: Scan) -> sitk.Image:
    """What the same task says after it was adapted to the other training scans."""
    return answered(*adapted_part_of(reference), query)


def itself(reference: Scan, query: Scan) -> sitk.Image:
    """The label of the query itself, on the network's grid and back as an answer is."""
    del reference
    values = [int(value) for value in np.unique(query.labelled.voxels) if value]
    found = brought_back(query.labelled, values, query.prepared.grid)
    return as_itk(found, query.labelled.grid)


def answered(part: OneShotPart, values: list[int], query: Scan) -> sitk.Image:
    """The label map of a task's answer on the scan's own grid."""
    scan, grid = query.prepared, query.labelled.grid
    found = part.find(torch.from_numpy(scan.image), modality=scan.modality)
    labels = labels_on(grid, found.probabilities.numpy(), found.box, scan.grid, values)
    return as_itk(labels, grid)


@lru_cache(maxsize=1)
def part_of(reference: Scan) -> tuple[OneShotPart, list[int]]:
    """The reference as a task file holds it, and the label values of its structures."""
    begin = time.process_time()
    shown = prepare_label(reference.labelled, reference.prepared.grid)
    values = [value for value in np.unique(shown).tolist() if value]
    part = make_part([reference.prepared], [shown], values, TUNING)
    spent = time.process_time() - begin
    print(f"{reference.case_id}: a task in {spent:.1f} CPU-s", flush=True)
    return part, values


@lru_cache(maxsize=1)
def adapted_part_of(reference: Scan) -> tuple[OneShotPart, list[int]]:
    """The same after it has learned from all training scans of the set."""
    part, values = part_of(reference)
    begin = time.process_time()
    spacing_mm, scans = reference.prepared.grid.spacing_mm[0], {}
    for case in find_cases([reference.data / "imagesTr"]):
        name = case.case_id
        read = partial(lambda one: load(reference.data, "Tr", one, spacing_mm).prepared, name)
        scans[name] = ScanToRead(partial(str, name), read)
    with TemporaryDirectory() as folder:
        outcome = adapt(part, [reference.case_id], scans, Path(folder), AdaptationConfig())
    assert outcome.part.cohort is not None, "what was just learned"
    facts, spent = outcome.part.cohort.facts, time.process_time() - begin
    print(f"{reference.case_id}: adapted in {spent:.0f} CPU-s; {facts.aligned} {facts.learned}")
    return outcome.part, values


def world(points: Tensor, image: sitk.Image) -> NDArray[np.float64]:
    """Voxels (d, h, w, 3) of a scan as places in the world, in mm."""
    to_world = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return points.double().flip(-1).numpy() @ to_world.T + image.GetOrigin()


METHODS: Final[dict[str, Method]] = {
    "copy": copy,
    "affine": affine,
    "demons": demons,
    "deformable": deformable,
    "task": task,
    "adapted": adapted,
    "itself": itself,
}


def middle(image: sitk.Image) -> tuple[float, ...]:
    """The middle of a scan in the world."""
    index = [(edge - 1) / 2 for edge in image.GetSize()]
    return tuple(image.TransformContinuousIndexToPhysicalPoint(index))


def affine_transform(reference: Scan, query: Scan) -> sitk.Transform:
    """The best map of the query's world to the reference's."""
    search = sitk.ImageRegistrationMethod()
    search.SetMetricAsMattesMutualInformation(MATTES_BINS)
    search.SetMetricSamplingStrategy(search.RANDOM)
    search.SetMetricSamplingPercentage(SAMPLED, 1)  # the seed
    search.SetInterpolator(sitk.sitkLinear)
    search.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100)
    search.SetOptimizerScalesFromPhysicalShift()
    search.SetShrinkFactorsPerLevel([factor for factor, _ in AFFINE_LEVELS])
    search.SetSmoothingSigmasPerLevel([sigma for _, sigma in AFFINE_LEVELS])
    begin = sitk.CenteredTransformInitializer(
        query.image,
        reference.image,
        sitk.AffineTransform(3),
        sitk.CenteredTransformInitializerFilter.GEOMETRY,
    )
    search.SetInitialTransform(begin, False)
    return search.Execute(query.image, reference.image)


def demons_field(fixed: sitk.Image, moving: sitk.Image) -> sitk.Image:
    """Displacements in mm on the grid of `fixed`, from coarse to fine."""
    search = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    search.SetNumberOfIterations(DEMONS_STEPS)
    search.SetStandardDeviations(DEMONS_SMOOTHING_VOX)
    field = None
    for factor in DEMONS_LEVELS:
        coarse, other = (sitk.Shrink(image, [factor] * 3) for image in (fixed, moving))
        if field is None:
            field = search.Execute(coarse, other)
        else:
            field = search.Execute(coarse, other, sitk.Resample(field, coarse))
    return sitk.Cast(field, sitk.sitkVectorFloat64)


def carried(transform: sitk.Transform, reference: Scan, query: Scan) -> sitk.Image:
    """The reference's label on the query's own grid, nearest; 0 where nothing comes from."""
    nearest = sitk.sitkNearestNeighbor
    return sitk.Resample(reference.label, query.label, transform, nearest, 0)


def rows_of(file: Path) -> list[Row]:
    """The lines that are there."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def table(rows: Sequence[Row], seed: int) -> str:
    """A line per set and method: the middle reference with its interval, and the span of all."""
    head = (
        "| set | method | references | cases | median Dice [least, most] | 95 % of the median one"
        " over cases | CPU-s a case |\n|---|---|--:|--:|---|---|--:|"
    )
    return "\n".join([head, *lines_of(rows, seed)]) + "\n"


def lines_of(rows: Sequence[Row], seed: int) -> Iterator[str]:
    """The lines of the table, in the order in which sets and methods were measured."""
    for dataset, method in dict.fromkeys((row.dataset, row.method) for row in rows):
        mine = [row for row in rows if (row.dataset, row.method) == (dataset, method)]
        names = dict.fromkeys(row.reference for row in mine)
        found = sorted((interval(mine, name, seed) for name in names), key=lambda one: one.mean)
        middle = found[(len(found) - 1) // 2]
        seconds = statistics.median(row.cpu_s for row in mine)
        cells = [dataset, method, str(len(names)), str(len({row.case for row in mine}))]
        cells.append(f"{middle.mean:.3f} [{found[0].mean:.3f}, {found[-1].mean:.3f}]")
        cells.append(f"[{middle.low:.3f}, {middle.high:.3f}]")
        yield "| " + " | ".join([*cells, f"{seconds:.2g}"]) + " |"


def interval(rows: Sequence[Row], reference: str, seed: int) -> Interval:
    """Mean over structures of their means over cases, of one reference."""
    mine = [row.dice for row in rows if row.reference == reference]
    names = sorted({name for dice in mine for name in dice})
    scores = np.array([[dice.get(name, np.nan) for name in names] for dice in mine])
    return bootstrap_mean_of_means(scores, seed=seed)


if __name__ == "__main__":
    main()
