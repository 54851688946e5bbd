"""What can be moved through beside each page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pages
from mass3d.files import write_json
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.predictions import Prediction
from mass3d.io.datasets.regions import Targets
from mass3d.masks.packing import encode
from mass3d.pages import viewed
from mass3d.pages.viewed import (
    ViewJob,
    provide_found,
    scans_beside,
    show_found,
    view_compared,
    view_masks,
    write_labels,
)
from mass3d.pages.volumes import FOLDER
from mass3d.store.reader import Store
from mass3d.transfer.results import Entry, Index, ResultsFolder
from mass3d.volume.volume import Volume

SHAPE = (6, 8, 10)
NAMES = {"liver": 1, "aorta": 2}


def scan(seed: int = 0) -> Volume:
    return Volume.from_array(np.random.default_rng(seed).normal(0, 9, SHAPE).astype(np.float32))


def label(*voxels: tuple[int, int, int, int]) -> Volume:
    """A label map of single voxels: (d, h, w, value)."""
    found = np.zeros(SHAPE, np.uint8)
    for d, h, w, value in voxels:
        found[d, h, w] = value
    return scan().with_voxels(found)


def layers(script: bytes) -> dict[str, NDArray[Any]]:
    """Label maps (D, H, W) of a script by their titles."""
    return {
        one["name"]: np.asarray(pages.unpacked(one["labels"]).dataobj).transpose(2, 1, 0)
        for one in pages.told(script)["layers"]
    }


def results(folder: Path, **entries: Entry) -> ResultsFolder:
    index = Index(task="t", overlap=0.5, alignment=True, cases=entries)
    return ResultsFolder(folder, index)


def entry(state: str) -> Entry:
    return Entry(source="s", result=state, volumes_ml={})


def test_a_result_is_written_where_its_page_finds_it(tmp_path: Path) -> None:
    found = label((1, 2, 3, 2))
    folder = results(tmp_path, a=entry("r"))
    show_found(
        folder, "a", folder.done["a"], scan=scan(), labels=found.voxels, targets=Targets(NAMES)
    )
    assert folder.picture("a").exists()
    addresses = provide_found(folder, ["a"], {}, Targets(NAMES))
    script = (tmp_path / addresses["a"]).read_bytes()
    np.testing.assert_array_equal(layers(script)["Found"], found.voxels)
    told = pages.told(script)
    assert [one["name"] for one in told["layers"][0]["structures"]] == list(NAMES)
    # another result of the same case is not taken for it
    assert provide_found(results(tmp_path, a=entry("other")), ["a"], {}, Targets(NAMES)) == {}


def test_only_the_first_results_are_written_at_once_and_the_worst_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewed, "MAX_CASES", 1)
    folder = results(tmp_path / "found", a=entry("1"), b=entry("2"), c=entry("3"))
    found = label((1, 2, 3, 1))
    for case_id, one in folder.done.items():
        show_found(folder, case_id, one, scan=scan(), labels=found.voxels, targets=Targets(NAMES))
    assert len(list((folder.path / FOLDER).iterdir())) == 1
    scan().save(tmp_path / "b.nii.gz")
    found.save(folder.label_map("b"))
    (tmp_path / "c.nii.gz").write_bytes(b"gone")
    cases = {name: CaseFile(name, tmp_path / f"{name}.nii.gz") for name in "bc"}
    addresses = provide_found(folder, ["b", "a", "c"], cases, Targets(NAMES))
    assert sorted(addresses) == ["a", "b"]
    a, b = (layers((folder.path / addresses[name]).read_bytes()) for name in "ab")
    np.testing.assert_array_equal(a["Found"], b["Found"])


@pytest.mark.parametrize("known", [True, False])
def test_a_prediction_is_seen_beside_its_label_with_both_differences(
    tmp_path: Path, known: bool
) -> None:
    here, there, only, unnamed = (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4)
    label((*here, 1), (*there, 2), (5, 5, 5, 9)).save(tmp_path / "true.nii.gz")
    label((*here, 1), (*only, 2), (*unnamed, 7), (5, 5, 5, 1)).save(tmp_path / "found.nii.gz")
    scan().save(tmp_path / "scan.nii.gz")
    files = Prediction(tmp_path / "found.nii.gz", tmp_path / "true.nii.gz", tmp_path, ignored=9)
    case = CaseFile("a", tmp_path / "scan.nii.gz") if known else None
    script = view_compared(ViewJob("a", files, case, NAMES))
    seen = {
        name: {tuple(at): int(one[tuple(at)]) for at in np.argwhere(one)}
        for name, one in layers(script).items()
    }
    assert seen == {
        "Prediction": {here: 1, only: 2},
        "Label": {here: 1, there: 2},
        "Missed": {there: 2},
        "Extra": {only: 2},
    }
    image = pages.unpacked(pages.told(script)["scan"]).get_fdata()
    assert image.any() == known


def test_a_scan_on_another_grid_is_not_shown(tmp_path: Path) -> None:
    label((1, 1, 1, 1)).save(tmp_path / "map.nii.gz")
    other = Volume.from_array(np.random.default_rng(0).random((3, 4, 5)).astype(np.float32))
    other.save(tmp_path / "scan.nii.gz")
    files = Prediction(tmp_path / "map.nii.gz", tmp_path / "map.nii.gz", tmp_path, None)
    script = view_compared(ViewJob("a", files, CaseFile("a", tmp_path / "scan.nii.gz"), NAMES))
    assert pages.told(script)["modality"] is None


def test_scans_are_found_in_a_dataset_or_by_the_record_of_what_segmented_them(
    tmp_path: Path,
) -> None:
    predictions, labels = tmp_path / "found", tmp_path / "labelsTs"
    predictions.mkdir()
    labels.mkdir()
    assert scans_beside(predictions, labels) == {}
    scan().save(tmp_path / "scans" / "a.nii.gz")
    record = {"mass3d": "1", "verb": "segment"}
    for inputs in ([str(tmp_path / "scans"), str(tmp_path / "gone")], "no list", [3]):
        write_json(predictions / "record.json", {**record, "config": {"inputs": inputs}})
        found = scans_beside(predictions, labels)
        assert sorted(found) == (["a"] if inputs[0] == str(tmp_path / "scans") else [])
    (tmp_path / "imagesTs").mkdir()  # of the dataset itself, and empty
    assert scans_beside(predictions, labels) == {}
    scan().save(tmp_path / "imagesTs" / "b_0000.nii.gz")
    assert list(scans_beside(predictions, labels)) == ["b"]


def test_labels_are_shown_by_their_titles_without_what_has_no_name(tmp_path: Path) -> None:
    shown = {"Truth": label((1, 1, 1, 1), (2, 2, 2, 5)), "Ours": label((3, 3, 3, 2))}
    address = write_labels(tmp_path, "a", scan(), shown, NAMES)
    seen = layers((tmp_path / address).read_bytes())
    assert list(seen) == ["Truth", "Ours"]
    np.testing.assert_array_equal(seen["Truth"], label((1, 1, 1, 1)).voxels)


def test_masks_of_a_store_lie_over_its_scan_smaller_ones_on_top(store: Path) -> None:
    case = Store.open(store).case(Store.open(store).case_ids[0])
    script = view_masks(case)
    told, seen = pages.told(script), layers(script)
    assert list(seen) == ["Large masks", "Medium masks", "Small masks"]
    masks, volume = case.masks(), case.masks().table.voxels * case.grid.voxel_ml
    title, smallest, largest = viewed.size_groups(masks, case.grid.voxel_ml)[1]
    rows = np.flatnonzero((volume >= smallest) & (volume < largest))
    wanted = np.zeros(case.shape, int)
    for number, row in enumerate(rows[np.argsort(-volume[rows], kind="stable")].tolist()):
        wanted[masks.mask(row)] = 1 + number % viewed.HUES
    np.testing.assert_array_equal(seen[title], wanted)
    assert all(one["name"] == "" for layer in told["layers"] for one in layer["structures"])
    image = pages.unpacked(told["scan"]).get_fdata().transpose(2, 1, 0)
    there = np.corrcoef(image.ravel(), case.read_image().ravel())[0, 1]
    assert there > 0.99


def test_masks_in_blocks_are_where_the_whole_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[2:5, 3:8, 0:3] = True
    steps = (2, 3, 1)
    slices = viewed.Slices.black(Volume.from_array(np.zeros((9, 9, 9), np.float32)))
    coarse = viewed.block_means(Volume.from_array(np.zeros((9, 9, 9), np.float32)), steps)
    slices = viewed.Slices(coarse, steps, (0.0, 1.0), None)
    (layer,) = [one for one in viewed._mask_layers(encode([mask]), slices, 1.0) if one.labels.any()]
    np.testing.assert_array_equal(layer.labels > 0, viewed.block_centres(mask, steps))


def test_the_page_of_a_script_is_ascii(tmp_path: Path) -> None:
    address = write_labels(tmp_path, "é </script>", scan(), {}, NAMES)
    text = (tmp_path / address).read_bytes()
    assert json.dumps("é </script>").encode() in text
