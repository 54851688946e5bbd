from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import dicoms
from mass3d.apps.inspect import InspectConfig, InspectReport, orientation, run
from mass3d.errors import DataError
from mass3d.io.write import write_image
from mass3d.record import read_json
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.volume import Volume


def write_scan(path: Path, *, lowest: float, spacing_mm: float) -> None:
    image = np.random.default_rng(0).uniform(lowest, 400, (8, 10, 9)).astype(np.float32)
    image[0, 0, 0], image[0, 0, 1] = lowest, 400
    image[1, 1, 1] = np.nan if lowest == 0 else lowest
    edges = (spacing_mm, 1.0, 1.0)
    write_image(path, image, Volume.from_array(image, spacing_mm=edges).source)


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
    facts = report.cases["a_ct"]
    assert (facts.modality, facts.modality_from) == ("ct", "name")
    assert (facts.shape, facts.spacing_mm) == ((8, 10, 9), (8.0, 1.0, 1.0))
    assert (facts.lowest, facts.highest) == (-1000, 400)
    assert facts.orientation == "RAS"
    assert "NaN" in report.cases["b_mr"].mended[0]
    assert report.spacing_mm == 2.0
    written = read_json(tmp_path / "out" / "inspect.json")
    assert written["cases"]["a_ct"]["shape"] == [8, 10, 9]
    assert written["faults"][0]["where"] == "c"


def test_the_modality_can_be_set(scans: Path) -> None:
    facts = inspect(scans, modality="pet").cases["a_ct"]
    assert (facts.modality, facts.modality_from) == ("pet", "setting")


def test_dicom_is_told_by_its_tags_and_what_is_left_out_is_listed(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "in/ct")
    dicoms.series(tmp_path / "in/scout", [0])
    report = inspect(tmp_path / "in", output=tmp_path / "out")
    facts = report.cases["ct"]
    assert (facts.modality, facts.modality_from, facts.file) == ("ct", "tags", "ct")
    assert "Left out 1 files: 1 x a single slice (001)." in report.summary()
    (entry,) = read_json(tmp_path / "out" / "inspect.json")["left_out"]
    assert entry["reason"] == "a single slice"


def test_people_see_a_table_a_summary_and_the_faults(scans: Path) -> None:
    console = Console(record=True, width=140)
    inspect(scans).show(console)
    text = console.export_text()
    assert "8 x 10 x 9" in text
    assert "Read 2 scans (1 ct, 1 mr); 1 faults, 1 scans mended." in text
    assert "c: " in text


def test_orientation_names_the_side_each_file_axis_grows_to() -> None:
    for letters, matrix in {
        "RAS": np.diag([1.0, 1, 1]),
        "LPS": np.diag([-1.0, -1, 1]),
        "SRP": np.array([[0, 1.0, 0], [0, 0, -1], [1, 0, 0]]),
    }.items():
        affine = np.eye(4)
        affine[:3, :3] = matrix
        assert orientation(SourceGrid.nearest((3, 4, 5), affine)) == letters


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        inspect(tmp_path / "nowhere")
