"""What a large CT costs, and handing out many cases: the figures of docs/explanation/scale.md.

    python experiments/scale.py enlarge DATA/abdomen_ct/ct.nii.gz big_ct.nii.gz
    python experiments/scale.py case big_ct.nii.gz --spacing 1.5
    python experiments/scale.py tasks 100000
    python experiments/scale.py find SCANS
    python experiments/scale.py index 1000

`case` does what a worker of `mass3d prepare` does, step by step. `tasks` hands out cases that do
nothing to two workers of this machine. `find` and `index` are what the command itself does before
and after, however many workers there are: look for scans and read their headers, and collect the
index of a store.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
from scipy import ndimage

from mass3d.apps.prepare import PrepareConfig, run
from mass3d.execution.memory import readable_grids
from mass3d.execution.pool import run_cases
from mass3d.files import read_json, write_json
from mass3d.io.datasets.cohort import CaseFile, find_cohort
from mass3d.io.datasets.source import source_hash
from mass3d.io.read import read_volume
from mass3d.masks.engines import Scan, identities, propose
from mass3d.masks.layers import concatenate
from mass3d.masks.settings import MaskConfig
from mass3d.phantom import write_phantom_cohort
from mass3d.store.schema import Source, StoreSettings, case_folder
from mass3d.store.writer import as_stored, begin, collect_index, open_for_writing, write_case
from mass3d.volume.preparation import PreparationConfig, prepare_volume

R = TypeVar("R")
SHAPE = (512, 512, 400)  # voxels along (x, y, z) of a large CT
NOISE_HU = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)

    def verb(function: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        added = verbs.add_parser(function.__name__)
        added.set_defaults(function=function)
        return added

    enlarging = verb(enlarge)
    enlarging.add_argument("scan", type=Path)
    enlarging.add_argument("output", type=Path)
    one = verb(case)
    one.add_argument("scan", type=Path)
    one.add_argument("--spacing", type=float, default=1.5)
    verb(tasks).add_argument("number", type=int)
    verb(find).add_argument("scans", type=Path, nargs="+")
    verb(index).add_argument("number", type=int)
    given = parser.parse_args()
    given.function(given)


def enlarge(given: argparse.Namespace) -> None:
    """Write a scan with the voxels of a large CT, and with its noise."""
    image = nib.as_closest_canonical(nib.load(given.scan))
    small = np.asarray(image.dataobj, dtype=np.float32)
    large = ndimage.zoom(small, [a / b for a, b in zip(SHAPE, small.shape, strict=True)], order=1)
    large += np.random.default_rng(0).normal(0, NOISE_HU, large.shape).astype(np.float32)
    edges = np.array(image.header.get_zooms()) * small.shape / large.shape
    affine = np.diag([*edges, 1])
    nib.save(nib.Nifti1Image(large.astype(np.int16), affine), given.output)


def case(given: argparse.Namespace) -> None:
    """Time the steps of one case, and say what it weighs."""
    settings = StoreSettings(
        preparation=PreparationConfig(spacing_mm=given.spacing), masks=MaskConfig()
    )
    source = Source(
        name=given.scan.name,
        sha256=timed("hash", lambda: source_hash(CaseFile("a", given.scan))),
    )
    read = [timed("read", lambda: read_volume(given.scan))]
    prepared = timed(
        "resample, normalise", lambda: prepare_volume(read.pop(), settings.preparation)
    )
    scan = Scan(
        image=as_stored(prepared.image),
        grid=prepared.grid,
        spacing_mm=given.spacing,
        modality=prepared.modality,
        intensity=prepared.intensity,
    )
    wanted = identities(settings.masks, files="")
    found = timed(
        "masks",
        lambda: propose(scan, settings.masks, wanted=wanted, have={}, files=lambda: iter(())),
    )
    masks = concatenate([one.masks for one in found.values()])
    with tempfile.TemporaryDirectory() as root:
        store = Path(root) / "store"
        with open_for_writing(store):
            begin(store, settings)
            timed(
                "write",
                lambda: write_case(store, "a", prepared, masks, source=source, settings=settings),
            )
        print(
            f"voxels: {prepared.image.size / 1e6:.1f} M, {prepared.image.shape}, {len(masks)} masks"
        )
        for file in (given.scan, *sorted(case_folder(store, "a").iterdir())):
            print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")


def tasks(given: argparse.Namespace) -> None:
    """Time cases that do nothing."""
    jobs = {str(number): number for number in range(given.number)}
    start = time.perf_counter()
    timed("tasks", lambda: run_cases(abs, jobs, workers=2, title="tasks", bytes_each=1))
    print(f"{1000 * (time.perf_counter() - start) / given.number:.2f} ms per task")


def find(given: argparse.Namespace) -> None:
    """Time the search for scans, and the reading of their headers."""
    cohort = timed("find", lambda: find_cohort(given.scans))
    grids = timed("headers", lambda: readable_grids(cohort.cases))
    files = sum(1 for path in given.scans for file in path.rglob("*") if file.is_file())
    print(f"{files} files, {len(cohort.cases)} scans, {len(grids)} headers")


def index(given: argparse.Namespace) -> None:
    """Time the index of a store of copies of one small case."""
    with tempfile.TemporaryDirectory() as root:
        raw = write_phantom_cohort(Path(root) / "raw", cases=1, test_cases=1, seed=0)
        store = Path(root) / "store"
        run(PrepareConfig(inputs=(raw / "imagesTr",), output=store, spacing_mm=9.0, workers=1))
        (first,) = (store / "cases").iterdir()
        record = read_json(first / "case.json")
        settings = StoreSettings.model_validate(read_json(store / "store.json")["settings"])
        names = [f"copy{number}" for number in range(given.number)]
        for name in names:
            shutil.copytree(first, first.with_name(name))
            write_json(first.with_name(name) / "case.json", record | {"case_id": name})
        timed("index", lambda: collect_index(store, settings, whole=names))


def timed(step: str, function: Callable[[], R]) -> R:
    """Print the CPU and wall seconds of a step, and the most memory so far."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = function()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{step}: {cpu:.2f} CPU-s, {wall:.2f} s, peak {peak:.2f} GiB", flush=True)
    return found


if __name__ == "__main__":
    main()
