"""What can be moved through beside a page: scans with what was found, differences, masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mass3d.errors import DataError
from mass3d.io.colours import value_colours
from mass3d.io.datasets.channels import by_case
from mass3d.io.datasets.cohort import CaseFile, find_cohort
from mass3d.io.datasets.predictions import Prediction
from mass3d.io.datasets.regions import Targets
from mass3d.io.read import read_label, read_volume, require_same_grid
from mass3d.masks.layers import MaskSet
from mass3d.pages.mask_pictures import proposal_pictures, size_groups
from mass3d.pages.pictures import Picture, far_hue, grey_range, write_jpeg
from mass3d.pages.result_pictures import found_picture
from mass3d.pages.volumes import (
    FOLDER,
    MAX_CASES,
    Label,
    Layer,
    Slices,
    Structure,
    address_of,
    steps_within,
    structures_of,
    volume_script,
    write_scripts,
    write_volume,
)
from mass3d.store.reader import Store, StoredCase
from mass3d.transfer.evaluation.counting import Pairs
from mass3d.transfer.results import Entry, ResultsFolder, inputs_of_results
from mass3d.volume.coarse import block_centres, block_means
from mass3d.volume.intensity import modality_of
from mass3d.volume.volume import Volume

HUES: Final = 255  # masks of one layer that differ in colour; further ones begin anew


def show_found(
    results: ResultsFolder,
    case_id: str,
    entry: Entry,
    *,
    scan: Volume,
    labels: Label,
    targets: Targets,
) -> None:
    """Write the picture of a result and, of the first ones, the scan."""
    write_jpeg(results.picture(case_id), found_picture(scan, labels, targets.colours))
    if len(list((results.path / FOLDER).glob("*.js"))) < MAX_CASES:
        _write_found(results, case_id, entry, scan=scan, labels=labels, targets=targets)


def _found_address(case_id: str, entry: Entry) -> str:
    return address_of(case_id, entry.source, entry.result)


def _write_found(
    results: ResultsFolder,
    case_id: str,
    entry: Entry,
    *,
    scan: Volume,
    labels: Label,
    targets: Targets,
) -> None:
    slices = Slices.of(scan, modality_of(scan)[0])
    found = Layer("Found", slices.cut(labels), structures_of(targets.values, targets.colours))
    write_volume(results.path, _found_address(case_id, entry), case_id, slices, [found])


def provide_found(
    results: ResultsFolder,
    shown: Sequence[str],
    scans: Mapping[str, CaseFile],
    targets: Targets,
) -> dict[str, str]:
    """Case -> address, for those of some cases that lie beside the page or can be made now."""
    found = {}
    for case_id in shown:
        entry = results.done[case_id]
        address = _found_address(case_id, entry)
        if not (results.path / address).exists() and case_id in scans:
            with suppress(DataError):  # the result stands; the scan is gone
                scan = read_volume(scans[case_id].scan)
                label = read_label(results.label_map(case_id), like=scan)
                _write_found(
                    results, case_id, entry, scan=scan, labels=label.voxels, targets=targets
                )
        if (results.path / address).exists():
            found[case_id] = address
    return found


# --- predictions beside labels ----------------------------------------------------------------


@dataclass(frozen=True)
class ViewJob:
    """A prediction to be seen beside its label."""

    case_id: str
    files: Prediction
    scan: CaseFile | None
    names: Mapping[str, int]  # structure -> value


def scans_beside(predictions: Path, labels: Path) -> dict[str, CaseFile]:
    """Case -> scan, where a dataset of nnU-Net or the record of `segment` tells of scans."""
    images = labels.with_name(labels.name.replace("labels", "images", 1))
    places = [images] if images.is_dir() and images != labels else inputs_of_results(predictions)
    try:
        return by_case(find_cohort(places).cases) if places else {}
    except DataError:
        return {}


def write_compared(
    folder: Path,
    pairs: Pairs,
    cases: Sequence[str],
    scans: Mapping[str, CaseFile],
    names: Mapping[str, int],
) -> dict[str, str]:
    """Write some cases beside the page in `folder`, to be looked through; case -> address."""
    jobs = {one: ViewJob(one, pairs.files[one], scans.get(one), names) for one in cases}
    return write_scripts(folder, pairs.on_each(view_compared, jobs, title="view"))


def view_compared(job: ViewJob) -> bytes:
    """The script of a case: its scan, what was predicted, what is true, and both differences."""
    prediction, truth = job.files.read()
    found, true = prediction.voxels, truth.voxels
    if job.files.ignored is not None:
        found, true = (np.where(true == job.files.ignored, 0, one) for one in (found, true))
    slices = _seen(job.scan, truth)
    found, true = slices.cut(found), slices.cut(true)
    structures = structures_of(job.names, value_colours(job.names.values()))
    layers = {
        "Prediction": found,
        "Label": true,
        "Missed": np.where(found != true, true, 0),
        "Extra": np.where(found != true, found, 0),
    }
    return volume_script(
        address_of(job.case_id),
        job.case_id,
        slices,
        [Layer(name, _only(one, job.names), structures) for name, one in layers.items()],
    )


def _seen(scan: CaseFile | None, like: Volume) -> Slices:
    """The scan of a label map; black where none lies on its grid."""
    with suppress(DataError):
        if scan is not None:
            volume = read_volume(scan.scan)
            require_same_grid(like, volume)
            return Slices.of(volume, modality_of(volume)[0])
    return Slices.black(like)


def write_labels(
    folder: Path,
    case_id: str,
    scan: Volume,
    labels: Mapping[str, Volume],
    names: Mapping[str, int],
) -> str:
    """Write a scan beside the page in `folder` with label maps by their titles; its address."""
    slices = Slices.of(scan, modality_of(scan)[0])
    structures = structures_of(names, value_colours(names.values()))
    layers = [
        Layer(title, _only(slices.cut(one.voxels), names), structures)
        for title, one in labels.items()
    ]
    address = address_of(case_id)
    write_volume(folder, address, case_id, slices, layers)
    return address


def _only(labels: Label, names: Mapping[str, int]) -> Label:
    """A label map without what has no name."""
    return np.where(np.isin(labels, list(names.values())), labels, 0)


# --- masks of a store -------------------------------------------------------------------------


@dataclass(frozen=True)
class DrawJob:
    """A case of a store to draw."""

    root: Path
    case_id: str
    viewed: bool  # whether it is made for the viewer, too


@dataclass(frozen=True)
class DrawnMasks:
    """What a page shows of a case."""

    pictures: tuple[Picture, ...]
    script: bytes | None


def drawn_masks(job: DrawJob) -> DrawnMasks:
    """The masks of a case as pictures, and for the viewer."""
    case = Store.open(job.root).case(job.case_id)
    return DrawnMasks(proposal_pictures(case), view_masks(case) if job.viewed else None)


def view_masks(case: StoredCase) -> bytes:
    """The script of a prepared case: its scan, and its masks in three groups by size."""
    scale = case.intensity
    steps = steps_within(case.shape, case.grid.spacing_mm)
    image = Volume(scale.undo(case.read_image()), case.grid, case.source)
    modality = case.record.modality
    slices = Slices(block_means(image, steps), steps, grey_range(image.voxels), modality)
    masks = case.masks()
    layers = list(_mask_layers(masks, slices, case.grid.voxel_ml))
    return volume_script(address_of(case.case_id), case.case_id, slices, layers)


def _mask_layers(masks: MaskSet, slices: Slices, voxel_ml: float) -> Iterator[Layer]:
    """A label map for every group, smaller masks over larger ones."""
    ranks = [block_centres(layer, slices.steps) for layer in masks.ranks]
    volume = masks.table.voxels * voxel_ml
    for name, smallest, largest in size_groups(masks, voxel_ml):
        rows = np.flatnonzero((volume >= smallest) & (volume < largest))
        rows = rows[np.argsort(-volume[rows], kind="stable")]
        labels = np.zeros(slices.coarse.grid.shape, np.uint8)
        for number, row in enumerate(rows.tolist()):
            box = tuple(
                slice(edge.start // step, -(-edge.stop // step))
                for edge, step in zip(masks.table.slices(row), slices.steps, strict=True)
            )
            inside = masks.table.inside(row, ranks[masks.table.layer[row]][box])
            labels[box][inside] = 1 + number % HUES
        colours = [Structure("", 1 + n, far_hue(n)) for n in range(min(len(rows), HUES))]
        yield Layer(name, labels, colours)
