from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

import dicoms
import pages
from mass3d.apps import prepare
from mass3d.apps.inspect import InspectConfig, InspectReport, run
from mass3d.config import resolve
from mass3d.errors import DataError
from mass3d.files import read_json, write_json
from mass3d.io.read import read_label
from mass3d.io.write import write_image, write_label
from mass3d.phantom import write_phantom_cohort
from mass3d.volume.volume import Volume


def scan(lowest: float, spacing_mm: float) -> Volume:
    image = np.random.default_rng(0).uniform(lowest, 400, (8, 10, 9)).astype(np.float32)
    image[0, 0, 0], image[0, 0, 1] = lowest, 400
    image[1, 1, 1] = np.nan if lowest == 0 else lowest
    return Volume.from_array(image, spacing_mm=(spacing_mm, 1.0, 1.0))


def write_scan(path: Path, *, lowest: float, spacing_mm: float) -> None:
    made = scan(lowest, spacing_mm)
    write_image(path, made.voxels, made.source)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    write_scan(folder / "a_ct.nii.gz", lowest=-1000, spacing_mm=8.0)
    write_scan(folder / "b_mr.nii.gz", lowest=0, spacing_mm=8.0)
    (folder / "c.nii.gz").write_text("nothing")
    return folder


def inspect(scans: Path, **changes: object) -> InspectReport:
    return run(InspectConfig.model_validate({"inputs": (scans,), "workers": 1} | changes))


def test_every_scan_is_described_and_every_fault_told(scans: Path, tmp_path: Path) -> None:
    report = inspect(scans, output=tmp_path / "out")
    assert not report.ok
    assert [fault.where for fault in report.faults] == ["c"]
    assert list(report.cases) == ["a_ct", "b_mr"]
    assert report.cases["a_ct"].modality == "ct"
    assert "NaN" in report.cases["b_mr"].repairs[0]
    assert report.spacing_mm == 2.0
    written = read_json(tmp_path / "out" / "inspect.json")
    assert written["cases"]["a_ct"]["shape"] == [8, 10, 9]
    assert written["cases"]["a_ct"]["intensity"]["lowest"] == -1000
    assert written["modalities"]["mr"]["scans"] == 1
    assert written["faults"][0]["where"] == "c"


def test_dicom_is_told_by_its_tags_and_what_is_left_out_is_listed(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "in/ct")
    dicoms.series(tmp_path / "in/scout", [0])
    report = inspect(tmp_path / "in", output=tmp_path / "out")
    facts = report.cases["ct"]
    assert (facts.modality, facts.modality_from, facts.file) == ("ct", "tags", "ct")
    assert "Left out 1 file: 1 x a single slice (001)." in report.summary()
    (entry,) = read_json(tmp_path / "out" / "inspect.json")["left_out"]
    assert entry["reason"] == "a single slice"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        inspect(tmp_path / "nowhere")


# --- a dataset with everything wrong ------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw dataset of nnU-Net with one fault and one oddity of each kind."""
    folder = tmp_path_factory.mktemp("sets") / "set"
    write_phantom_cohort(folder, cases=5, test_cases=1, seed=0)
    train, test, labels = (folder / name for name in ("imagesTr", "imagesTs", "labelsTr"))
    shutil.copy(train / "ct_000_0000.nii.gz", train / "copy_0000.nii.gz")  # odd: one scan twice,
    shutil.copy(labels / "ct_000.nii.gz", labels / "copy.nii.gz")
    change(labels / "copy.nii.gz", lambda label: np.where(label == 3, 2, label))  # labels differ
    change(labels / "ct_002.nii.gz", lambda label: np.where(label == 1, 0, label))  # odd: no liver
    change(labels / "mr_003.nii.gz", lambda label: np.where(label == 1, 77, label))
    shutil.copy(train / "ct_002_0000.nii.gz", test / "leak_0000.nii.gz")
    (train / "cut_0000.nii.gz").write_bytes((train / "ct_000_0000.nii.gz").read_bytes()[:5000])
    flat = Volume.from_array(np.zeros((9, 9, 9), np.float32))
    write_image(train / "flat_0000.nii.gz", flat.voxels, flat.source)
    write_label(labels / "ct_004.nii.gz", np.ones((9, 9, 9)), flat.source)
    return folder


def change(path: Path, how: Callable[[NDArray[np.uint16]], NDArray[Any]]) -> None:
    """Write a label again with other values."""
    label = read_label(path)
    write_label(path, how(label.voxels), label.source)


@pytest.fixture(scope="module")
def output(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspected") / "out"
    inspect(dataset, output=folder)
    return folder


def test_every_planted_fault_is_told_once_under_its_case(output: Path) -> None:
    faults = {
        fault["where"]: fault["message"] for fault in read_json(output / "inspect.json")["faults"]
    }
    told = {
        "cut": "a damaged or incomplete image",
        "flat": "the same value (0) in every voxel",
        "leak": "a test scan with the voxels of ct_002 (training)",
        "mr_003": "values that dataset.json does not name (77)",
        "ct_004": "a grid of 9 x 9 x 9 voxels",
    }
    assert set(faults) == set(told)
    for where, words in told.items():
        assert words in faults[where], where


def test_every_planted_oddity_is_told_with_its_cases(output: Path) -> None:
    found = read_json(output / "inspect.json")["warnings"]
    warnings = {warning["message"]: warning["cases"] for warning in found}
    assert warnings["the same voxels as another scan"] == {
        "ct_000": "copy, with another label",
        "leak": "ct_002",
    }
    assert "liver" in warnings["lacks structures"]["ct_002"]


def test_labels_are_counted_by_the_names_of_the_dataset(output: Path) -> None:
    written = read_json(output / "inspect.json")
    label = written["cases"]["ct_000"]["label"]
    counted = label["voxels"]
    liver = next(s for s in written["structures"] if s["name"] == "liver")
    assert counted["liver"] > 0
    edges = written["cases"]["ct_000"]["spacing_mm"]
    assert label["ml"]["liver"] == pytest.approx(
        counted["liver"] * math.prod(edges) / 1e3, rel=1e-3
    )
    assert (liver["cases"], liver["labels"]) == (4, 6)  # absent in ct_002 and mr_003


def test_the_page_is_whole_and_pictures_every_scan_that_can_be_read(output: Path) -> None:
    loads = pages.require_whole((output / "inspect.html").read_text())
    pictures = [address for address in loads if address.startswith("data:image/jpeg;base64,")]
    assert len(pictures) == len(read_json(output / "inspect.json")["cases"]) == 8


def test_the_bytes_depend_neither_on_the_workers_nor_on_the_place(
    dataset: Path, output: Path, tmp_path: Path
) -> None:
    names = sorted(path.name for path in output.iterdir())
    assert names == ["config.toml", "inspect.html", "inspect.json", "record.json"]
    inspect(dataset, output=tmp_path / "again", workers=2)
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (output / name).read_bytes(), name


def test_what_was_written_says_how_it_came_about(dataset: Path, output: Path) -> None:
    assert resolve(InspectConfig, file=output / "config.toml").inputs == (dataset,)
    record = read_json(output / "record.json")
    assert (record["verb"], record["cases"]) == ("inspect", 8)
    assert len(record["faults"]) == 5


def test_a_broken_table_of_structures_is_one_fault_for_all(dataset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(dataset, tmp_path / "set")
    write_json(folder / "dataset.json", {"labels": "none"})
    for name in ("cut_0000.nii.gz", "flat_0000.nii.gz"):
        (folder / "imagesTr" / name).unlink()
    faults = inspect(folder).faults
    assert [fault.where for fault in faults] == ["dataset.json", "ct_004", "leak"]
    assert "no readable table of labels" in faults[0].message


# --- for people -----------------------------------------------------------------------------------


def shown(report: InspectReport, **console: Any) -> list[str]:
    screen = Console(record=True, file=io.StringIO(), **console)
    report.show(screen)
    return screen.export_text().splitlines()


def test_people_see_a_table_a_summary_the_faults_and_the_warnings(scans: Path) -> None:
    text = "\n".join(shown(inspect(scans), width=140))
    assert "8 x 10 x 9" in text
    assert "Read 2 scans (1 ct, 1 mr), 0 with a label; 1 fault, 2 warnings." in text
    assert "  c: " in text
    assert "Repaired 1 scan (b_mr: replaced 1 NaN" in text


def test_a_file_or_pipe_gets_one_line_for_each_thing(dataset: Path) -> None:
    report = inspect(dataset)
    lines = shown(report, width=40)
    for fault in report.faults:
        assert f"  {fault.where}: {fault.message}" in lines
    assert any(line.startswith("  2 x the same voxels as another scan: ct_000") for line in lines)
    (row,) = (line for line in lines if line.strip().startswith("ct_002"))
    assert "structures" in row


def test_a_narrow_terminal_still_shows_every_case(dataset: Path) -> None:
    lines = shown(inspect(dataset), width=60, force_terminal=True)
    assert max(map(len, lines)) <= 60
    assert any("ct_002" in line for line in lines)


# --- what `prepare` will say ----------------------------------------------------------------------


def write_array(path: Path, image: NDArray[Any], edge_mm: float) -> None:
    made = Volume.from_array(image.astype(np.float32), spacing_mm=(edge_mm,) * 3)
    write_image(path, made.voxels, made.source)


def test_inspect_tells_beforehand_what_prepare_cannot_prepare(tmp_path: Path) -> None:
    rng, folder = np.random.default_rng(3), tmp_path / "scans"
    for number in range(2):
        write_array(folder / f"mr_{number}.nii.gz", rng.uniform(9, 700, (40, 44, 41)), 5.0)
    write_array(folder / "mr_faint.nii.gz", 1e-9 * rng.uniform(9, 700, (30, 30, 30)), 5.0)
    write_array(folder / "mr_speck.nii.gz", rng.normal(80, 9, (25, 25, 25)), 0.15)  # one voxel
    write_array(folder / "ct_air.nii.gz", rng.normal(-1015, 3, (30, 30, 30)), 5.0)
    large = np.full((70, 70, 70), -1000.0)
    large[:20] = rng.normal(-1050, 2, (20, 70, 70))
    write_array(folder / "ct_large_air.nii.gz", large, 5.0)
    write_array(folder / "mr_inch.nii.gz", rng.uniform(0, 90, (64, 64, 64)), 254.0)
    (folder / "cut.nii.gz").write_bytes((folder / "mr_0.nii.gz").read_bytes()[:900])
    foreseen = inspect(folder)
    report = prepare.run(
        prepare.PrepareConfig(inputs=(folder,), output=tmp_path / "store", workers=1)
    )
    assert foreseen.spacing_mm == report.spacing_mm
    assert foreseen.faults == report.faults
    assert {fault.where for fault in report.faults} >= {"cut", "mr_speck", "ct_air", "ct_large_air"}
    assert "mr_faint" in report.prepared
