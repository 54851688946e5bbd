from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import helpers
from mass3d.errors import ConfigError, DataError
from mass3d.files import text_hash
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.labelled import find_labelled
from mass3d.io.datasets.layouts import LabelFiles
from mass3d.io.datasets.regions import Targets, targets_of
from mass3d.io.datasets.source import image_hash, seen_hash
from mass3d.io.formats.label_table import LabelName
from mass3d.io.read import read_label
from mass3d.io.write import write_label
from mass3d.phantom import STRUCTURES
from mass3d.transfer.finetuned.scans import (
    Number,
    fingerprint,
    gather,
    prepared,
    read_labelled,
    split,
    structures_of,
    values_of,
)
from mass3d.transfer.finetuned.scores import score
from mass3d.transfer.finetuned.taught import task_of
from mass3d.transfer.segmenter import Segmenter
from mass3d.views.labelled import UNKNOWN
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.volume import Volume

COARSE = PreparationConfig(spacing_mm=7.0)

pytestmark = pytest.mark.usefixtures("quick_tasks")


def named(count: int) -> list[CaseFile]:
    return [CaseFile(f"case_{i:02}", Path(f"{i}")) for i in range(count)]


def ids(cases: tuple[CaseFile, ...]) -> set[str]:
    return {case.case_id for case in cases}


# --- which scans -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 5])
def test_a_larger_number_of_labels_adds_to_a_smaller_one(seed: int) -> None:
    numbers: list[Number] = [1, 5, "25%", 20, "80%", "all"]
    parts = [split(named(48), number, validation=None, seed=seed) for number in numbers]
    sizes = [len(part.training) for part in parts]
    assert sizes == [1, 5, 10, 20, 31, 39]  # nine of 48 are kept apart
    for smaller, larger in pairwise(parts):
        assert ids(smaller.training) < ids(larger.training)
        assert smaller.validation == larger.validation
    assert not ids(parts[-1].training) & ids(parts[-1].validation)
    assert list(parts[3].training) == sorted(parts[3].training, key=lambda case: case.case_id)


def test_another_seed_draws_others() -> None:
    a, b = (split(named(40), 4, validation=6, seed=seed) for seed in (0, 1))
    assert a.training != b.training
    assert a.validation != b.validation


@pytest.mark.parametrize(("count", "apart"), [(1, 0), (9, 0), (10, 2), (30, 6), (500, 10)])
def test_a_fifth_is_kept_apart_of_ten_or_more(count: int, apart: int) -> None:
    found = split(named(count), 1, validation=None, seed=0)
    assert len(found.validation) == apart


@pytest.mark.parametrize(
    ("number", "validation", "told"),
    [(7, 2, "7 of 8 labelled scans, 2 of them"), ("all", 8, "all of 8"), (1, 9, "at most 0")],
)
def test_more_scans_than_there_are_is_refused(number: Number, validation: int, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        split(named(8), number, validation=validation, seed=0)
    assert caught.value.setting == "labels"


# --- which structures --------------------------------------------------------------------------


def test_names_come_from_the_setting_the_dataset_or_the_values(
    cohort: Path, tmp_path: Path
) -> None:
    cases = find_labelled([cohort])
    assert structures_of(cases, {"bowel": 9}).values == {"bowel": 9}
    assert structures_of(cases, None).values == STRUCTURES
    plain = shutil.copytree(cohort, tmp_path / "plain", ignore=shutil.ignore_patterns("*.json"))
    assert structures_of(find_labelled([plain]), None).values == {"1": 1, "2": 2, "3": 3, "4": 4}


def named_labels(cohort: Path, folder: Path, *tables: dict[str, int]) -> list[CaseFile]:
    """Labelled scans without dataset.json, whose label maps name their values themselves."""
    found = []
    for case, table in zip(find_labelled([cohort]), tables, strict=False):
        assert case.label is not None
        label, path = read_label(case.label.paths[0]), folder / f"{case.case_id}.nii.gz"
        names = [LabelName(value, name, (200, 9, 9)) for name, value in table.items()]
        write_label(path, label.voxels, label.source, names=names)
        found.append(replace(case, label=LabelFiles((path,))))
    return found


def test_names_in_headers_of_label_maps_are_those_of_the_structures(
    cohort: Path, tmp_path: Path
) -> None:
    """Found: `task` took them, and `finetune` called the same structures by their numbers."""
    some = {"liver": 1, "kidneys": 2, "spleen": 77}
    cases = named_labels(cohort, tmp_path, {}, some)
    targets = structures_of(cases, None)
    assert targets.values == {"liver": 1, "kidneys": 2}  # as a task has them
    odd = read_labelled(cases[0], targets).odd
    assert "values that neither a header nor a setting names (3, 4); expected 0 (back" in odd[0]
    with pytest.raises(DataError, match="a table of names that says 1 = spleen"):
        structures_of(named_labels(cohort, tmp_path, some, {"spleen": 1}), None)


def test_files_of_masks_name_structures_that_not_every_scan_has() -> None:
    labels = [LabelFiles((Path("x"), Path("y")), ("liver", "spleen")), LabelFiles((), ("aorta",))]
    cases = [CaseFile(str(i), Path(), label=label) for i, label in enumerate(labels)]
    assert structures_of(cases, None).values == {"aorta": 1, "liver": 2, "spleen": 3}


def test_labels_that_mean_other_things_are_not_learned_together(
    cohort: Path, tmp_path: Path
) -> None:
    """The second dataset was read with the table of the first: its liver was learned as kidneys."""
    other = shutil.copytree(cohort, tmp_path / "other")
    table = json.loads((other / "dataset.json").read_text())
    first, second, *_ = STRUCTURES
    table["labels"] |= {first: STRUCTURES[second], second: STRUCTURES[first]}
    (other / "dataset.json").write_text(json.dumps(table))
    cases = [*find_labelled([cohort]), *find_labelled([other])]
    with pytest.raises(DataError, match=f"expected {first} = {STRUCTURES[first]}, as"):
        structures_of(cases, None)
    assert structures_of(cases, {"bowel": 2}).values == {"bowel": 2}
    masks = CaseFile("m", Path(), label=LabelFiles((Path("x"),), ("liver",)))
    with pytest.raises(DataError, match="a label map, where other scans have a mask"):
        structures_of([masks, *cases], None)


def test_too_many_structures_and_empty_labels_are_refused(cohort: Path, tmp_path: Path) -> None:
    cases = find_labelled([cohort])
    with pytest.raises(ConfigError, match="255 structures"):
        structures_of(cases, {str(value): value for value in range(1, 256)})
    image = nib.load(cohort / "labelsTr" / "ct_000.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), tmp_path / "e.nii")
    empty = CaseFile("ct_000", cases[0].path, label=LabelFiles((tmp_path / "e.nii",)))
    with pytest.raises(DataError, match="no labelled voxel"):
        structures_of([empty], None)


# --- what is read ------------------------------------------------------------------------------


def test_a_label_is_numbered_in_the_order_of_the_structures(cohort: Path) -> None:
    case = find_labelled([cohort])[0]
    wanted = {"aorta": 3, "liver": 1, "spleen": 77}
    scan = read_labelled(case, Targets(wanted))
    assert case.label is not None
    truth = read_label(case.label.paths[0]).voxels
    np.testing.assert_array_equal(scan.numbers == 1, truth == 3)
    np.testing.assert_array_equal(scan.numbers == 2, truth == 1)
    assert set(np.unique(scan.numbers)) == {0, 1, 2}
    assert scan.shown == (True, True, False)


def test_values_of_the_same_regions_are_one_class(cohort: Path) -> None:
    case = find_labelled([cohort])[0]
    targets = targets_of({"all": (1, 2, 3, 4, 9), "solid": (1, 2), "spleen": 9})
    assert targets.classes == ((1, 2), (3, 4), (9,))
    scan = read_labelled(case, targets)
    assert case.label is not None
    truth = read_label(case.label.paths[0]).voxels
    np.testing.assert_array_equal(scan.numbers == 1, (truth == 1) | (truth == 2))
    np.testing.assert_array_equal(scan.numbers == 2, truth >= 3)
    assert scan.shown == (True, True, False)
    assert scan.odd == ()
    found = gather([case], targets, COARSE, partial=False, chosen=True, advance=lambda done: None)
    assert found.odd[0] == "spleen is in none of the labels and will not be found"
    masks = CaseFile("m", Path(), label=LabelFiles((Path("x"),), ("liver",)))
    with pytest.raises(ConfigError, match="a mask for each structure"):
        structures_of([masks], {"all": (1, 2)})


def test_what_labels_do_not_teach_is_told(cohort: Path) -> None:
    cases, wanted = find_labelled([cohort])[:2], {"aorta": 3, "liver": 1, "spleen": 77}

    def told(spacing_mm: float, *, chosen: bool) -> tuple[str, ...]:
        done: list[int] = []
        preparation = PreparationConfig(spacing_mm=spacing_mm)
        found = gather(
            cases, Targets(wanted), preparation, partial=True, chosen=chosen, advance=done.append
        )
        assert done == [1, 2]
        assert [case.case_id for case in found.cases] == ["ct_000", "ct_002"]
        assert all(case.known[2] is False for case in found.cases)
        return found.odd

    none = "spleen is in none of the labels and will not be found"
    assert told(3.0, chosen=True) == (none,)
    assert "ct_000: " in told(3.0, chosen=False)[0]
    assert "does not name (2, 4)" in told(3.0, chosen=False)[0]
    coarse = told(70.0, chosen=True)
    assert coarse[:2] == ("aorta has no voxel left at 70 mm and will not be found", none)
    assert "the model works with 70 mm: what is smaller is lost; the labels, brought" in coarse[2]
    assert "0.00 of aorta" in coarse[2]


def test_voxels_that_nobody_annotated_are_unknown(cohort: Path, tmp_path: Path) -> None:
    data = shutil.copytree(cohort, tmp_path / "data")
    table = json.loads((data / "dataset.json").read_text())
    table["labels"]["ignore"] = table["labels"].pop("kidneys")
    (data / "dataset.json").write_text(json.dumps(table))
    case = find_labelled([data])[0]
    scan = read_labelled(case, structures_of([case], None))
    assert case.label is not None
    truth = read_label(case.label.paths[0]).voxels
    np.testing.assert_array_equal(scan.numbers == UNKNOWN, truth == 2)
    assert scan.odd == ()


def test_what_is_ignored_is_part_of_a_fingerprint(cohort: Path, tmp_path: Path) -> None:
    """Found: it decides what is learned, and the run of another one was taken for finished."""
    plain = find_labelled([cohort])
    parts = [
        [one.case_id, seen_hash(one), [image_hash(path) for path in one.label.paths]]
        for one in plain
        if one.label is not None
    ]
    assert fingerprint(plain) == text_hash(parts)  # as ever where nothing is ignored
    prints = {fingerprint(plain)}
    data = helpers.renamed(cohort, tmp_path / "data", lambda labels: labels.update(ignore=8))
    prints.add(fingerprint(find_labelled([data])))
    helpers.rename(data, lambda labels: labels.update(ignore=9))
    prints.add(fingerprint(find_labelled([data])))
    assert len(prints) == 3


def test_on_the_grid_of_the_network_label_and_image_fit(cohort: Path) -> None:
    scan = read_labelled(find_labelled([cohort])[0], Targets({"liver": 1, "spleen": 9}))
    case = prepared(scan, COARSE, partial=False)
    assert case.image.shape == case.label.shape
    assert case.image.dtype == np.float16
    assert case.known == (True, True)
    assert prepared(scan, COARSE, partial=True).known == (True, False)
    voxels_mm3 = (7.0**3, float(np.prod(scan.volume.spacing_mm)))
    volumes = [
        np.count_nonzero(label == 1) * mm3
        for label, mm3 in zip((case.label, scan.numbers), voxels_mm3, strict=True)
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


def test_masks_of_one_structure_each_are_put_together(cohort: Path, tmp_path: Path) -> None:
    case = find_labelled([cohort])[0]
    assert case.label is not None
    label = nib.load(case.label.paths[0])
    values = np.asarray(label.dataobj)
    paths = []
    for name, value in (("kidneys", 2), ("liver", 1)):
        paths.append(tmp_path / f"{name}.nii.gz")
        mask = (values == value).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, label.affine), paths[-1])
    files = LabelFiles(tuple(paths), ("kidneys", "liver"))
    masks = CaseFile(case.case_id, case.path, label=files)
    scan = read_labelled(masks, Targets({"liver": 1, "kidneys": 2}))
    truth = read_labelled(case, Targets({"liver": 1, "kidneys": 2}))
    np.testing.assert_array_equal(scan.numbers, truth.numbers)
    paths[1].write_bytes(b"no mask")
    with pytest.raises(DataError, match="a mask that cannot be used"):
        read_labelled(masks, Targets({"liver": 1, "kidneys": 2}))


def test_other_masks_than_the_wanted_ones_are_as_if_not_there(cohort: Path, tmp_path: Path) -> None:
    """Found: the liver was learned, scored and exported without the lesions in it."""
    case = find_labelled([cohort])[0]
    assert case.label is not None
    label = nib.load(case.label.paths[0])
    liver = np.asarray(label.dataobj) == 1
    lesion = liver & (np.cumsum(liver.reshape(-1)).reshape(liver.shape) <= 500)
    names = ("liver", "liver_lesion", "spleen")
    files = LabelFiles(tuple(tmp_path / f"{name}.nii.gz" for name in names), names)
    for mask, path in zip((liver, lesion), files.paths, strict=False):
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), label.affine), path)
    files.paths[2].write_bytes(b"no mask")
    masks = CaseFile(case.case_id, case.path, label=files)
    targets = structures_of([masks], {"liver": 1})
    scan = read_labelled(masks, targets)
    truth = read_labelled(case, targets)
    np.testing.assert_array_equal(scan.numbers, truth.numbers)
    assert scan.overlap_vox == 0
    done = gather([masks], targets, COARSE, partial=False, chosen=True, advance=lambda done: None)
    assert not any("overlap" in one for one in done.odd)


def test_masks_that_overlap_are_told_with_what_becomes_of_them(
    cohort: Path, tmp_path: Path
) -> None:
    """Found: a mask within another one was said to have no voxel left at the model's spacing."""
    case = find_labelled([cohort])[0]
    assert case.label is not None
    label = nib.load(case.label.paths[0])
    liver = np.asarray(label.dataobj) == 1
    part = liver & (np.cumsum(liver.reshape(-1)).reshape(liver.shape) <= 500)
    paths = []
    for name, mask in (
        ("bowel", part),
        ("kidneys", np.asarray(label.dataobj) == 2),
        ("liver", liver),
    ):
        paths.append(tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), label.affine), paths[-1])

    def odd(*names: str) -> tuple[str, ...]:
        some = [path for path in paths if path.name.split(".")[0] in names]
        masks = CaseFile("m", case.path, label=LabelFiles(tuple(some), names))
        targets = structures_of([masks], None)
        preparation = PreparationConfig(spacing_mm=3.0)
        return gather(
            [masks], targets, preparation, partial=False, chosen=False, advance=lambda done: None
        ).odd

    assert odd("bowel", "kidneys", "liver")[:2] == (
        "m: masks that overlap (500 voxels in 1 scan); the last of them by name counts there",
        "bowel lies wholly within other masks and will not be found",
    )
    assert not any("overlap" in one for one in odd("kidneys", "liver"))


class Echo:
    """Finds what the labels show."""

    fingerprint = "0" * 64

    def __init__(self, case: CaseFile, targets: Targets) -> None:
        scan = read_labelled(case, targets)
        self.structures, self.targets = targets.values, targets
        self.found = scan.volume.with_voxels(values_of(scan, targets))

    def segment(self, channels: Sequence[Volume]) -> Volume:
        del channels
        return self.found


def test_a_mask_within_others_is_not_scored_and_no_part_of_a_task(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    """Found: both ended with a KeyError, after the training."""
    case = find_labelled([cohort])[0]
    assert case.label is not None
    label = nib.load(case.label.paths[0])
    liver = np.asarray(label.dataobj) == 1
    inner = liver & (np.cumsum(liver.reshape(-1)).reshape(liver.shape) <= 500)
    names = ("core", "liver")  # the last by name is painted over the others
    for name, mask in zip(names, (inner, liver), strict=True):
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), label.affine), tmp_path / f"{name}.nii.gz")
    files = LabelFiles(tuple(tmp_path / f"{name}.nii.gz" for name in names), names)
    masks = CaseFile(case.case_id, case.path, label=files)
    targets = structures_of([masks], None)
    found = score(Echo(masks, targets), [masks], seed=0, advance=lambda done: None)
    assert found.cases == {case.case_id: {"liver": 1.0}}
    task = task_of(Segmenter.load(trained, device="cpu"), [masks], targets)
    assert task is not None
    assert list(task.structures) == ["liver"]


def test_what_the_grid_of_the_model_loses_is_no_part_of_a_task(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    """Found: one voxel of a structure ended a whole curve, hours after it began."""
    segmenter = Segmenter.load(trained, device="cpu")
    case, targets = find_labelled([cohort])[0], Targets({"liver": 1, "kidneys": 2})
    assert case.label is not None
    label = read_label(case.label.paths[0])
    spacing_mm = segmenter.trained.preparation.spacing_mm
    lost = helpers.lost_voxel(label, 2, spacing_mm=spacing_mm)
    for voxels, left in ((np.where(label.voxels == 1, 1, lost), ["liver"]), (lost, None)):
        label.with_voxels(voxels).save(tmp_path / "label.nii.gz")
        file = replace(case, label=LabelFiles((tmp_path / "label.nii.gz",)))
        task = task_of(segmenter, [file], targets)
        assert (task and list(task.structures)) == left


def test_a_fingerprint_is_that_of_content_wherever_it_lies(cohort: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(cohort, tmp_path / "moved")
    before = fingerprint(find_labelled([cohort]))
    assert fingerprint(find_labelled([moved])) == before
    label = next((moved / "labelsTr").iterdir())
    label.write_bytes(label.read_bytes() + b"\0")
    assert fingerprint(find_labelled([moved])) != before
