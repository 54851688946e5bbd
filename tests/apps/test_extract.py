from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import mass3d
from mass3d import cli
from mass3d.apps.extract import ExtractConfig, ExtractReport, run
from mass3d.apps.prepare import PrepareConfig
from mass3d.apps.prepare import run as prepare
from mass3d.errors import StoreError
from mass3d.files import read_json
from mass3d.io.datasets.label_names import label_names
from mass3d.store.reader import Store


def extract(store: Path, output: Path, **changes: object) -> ExtractReport:
    values = {"input": store, "output": output, "workers": 1}
    return run(ExtractConfig.model_validate(values | changes))


def load(path: Path) -> tuple[Any, np.ndarray[Any, Any]]:
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    return image, np.asanyarray(image.dataobj)


@pytest.fixture(scope="module")
def extracted(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("extracted")
    report = extract(store, output)
    assert report.ok
    assert set(report.files) == set(Store.open(store).case_ids)
    written = sorted(name for names in report.files.values() for name in names)
    assert sorted(p.name for p in output.iterdir()) == sorted(
        [*written, "config.toml", "record.json"]
    )
    return output


def test_every_file_lies_exactly_on_the_grid_of_its_scan(extracted: Path, cohort: Path) -> None:
    for scan in (cohort / "imagesTr").iterdir():
        before, _ = load(scan)
        case_id = scan.name.removesuffix("_0000.nii.gz")
        written = sorted(extracted.glob(f"{case_id}_*.nii.gz"))
        assert len(written) >= 2
        for path in written:
            after, _ = load(path)
            assert after.shape == before.shape
            np.testing.assert_array_equal(after.affine, before.affine)
            # sizes of voxels follow from the affine, up to the last bit of float32
            np.testing.assert_allclose(after.header.get_zooms(), before.header.get_zooms(), 1e-6)


def test_masks_are_the_intervals_of_the_table_in_the_layers(extracted: Path, store: Path) -> None:
    opened = Store.open(store)
    for case_id in opened.case_ids:
        case = opened.case(case_id)
        with (extracted / f"{case_id}_masks.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == len(case.table)
        layers = [
            load(extracted / f"{case_id}_layer{number}.nii.gz")[1]
            for number in range(case.record.num_layers)
        ]
        ml = float(np.prod(case.source.grid.spacing_mm)) / 1000
        for row in (rows[0], rows[len(rows) // 2], rows[-1]):
            ranks = layers[int(row["layer"])]
            inside = (ranks >= int(row["first"])) & (ranks <= int(row["last"]))
            wanted = _nearest(case.masks().mask(int(row["mask"])), case.source.grid.shape)
            np.testing.assert_array_equal(case.source.to_canonical(inside), wanted)
            assert int(row["voxels"]) == inside.sum()
            assert float(row["ml"]) == pytest.approx(inside.sum() * ml, rel=1e-5, abs=1e-9)
            assert row["engine"] == "hierarchy"


def _nearest(mask: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Each voxel of the fine grid takes the coarse one that holds its centre."""
    places = [
        [int((i + 0.5) * old / new) for i in range(new)]
        for old, new in zip(mask.shape, shape, strict=True)
    ]
    return mask[np.ix_(*places)]


def test_single_masks_are_files_of_their_own(store: Path, extracted: Path, tmp_path: Path) -> None:
    case_id = Store.open(store).case_ids[1]
    report = extract(store, tmp_path, case=[case_id], mask=[0, 5])
    assert list(report.files) == [case_id]
    with (extracted / f"{case_id}_masks.csv").open() as stream:
        row = list(csv.DictReader(stream))[5]
    _, ranks = load(extracted / f"{case_id}_layer{row['layer']}.nii.gz")
    _, mask = load(tmp_path / f"{case_id}_mask5.nii.gz")
    np.testing.assert_array_equal(mask, (ranks >= int(row["first"])) & (ranks <= int(row["last"])))
    assert mask.dtype == np.uint8


def test_the_range_that_is_left_of_the_intensities_is_told(store: Path, extracted: Path) -> None:
    told = read_json(extracted / "record.json")["clipped_to"]
    for case_id in Store.open(store).case_ids:
        low, high = told[case_id]
        _, image = load(extracted / f"{case_id}_image.nii.gz")
        assert low - 1 <= image.min() < image.max() <= high + 1
    assert "clipped to" in extract(store, extracted, case=["ct_000"]).summary()


def test_the_same_cases_are_the_same_bytes(store: Path, extracted: Path, tmp_path: Path) -> None:
    mass3d.extract(input=store, output=tmp_path, workers=2)
    for path in extracted.glob("*_*"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_broken_case_is_a_fault_and_the_others_go_on(store: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    first, second, *_ = Store.open(copy).case_ids
    (copy / "cases" / first / "masks.npz").unlink()
    size = (copy / "cases" / second / "image.b2nd").stat().st_size
    (copy / "cases" / second / "image.b2nd").write_bytes(bytes(size))
    report = extract(copy, tmp_path / "out")
    assert [fault.where for fault in report.faults] == [first, second]
    assert len(report.files) == 2


def test_what_is_not_there_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no case 'z'"):
        extract(store, tmp_path / "out", case=["ct_000", "z"])
    with pytest.raises(StoreError, match=r"no store\.json"):
        extract(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (fault,) = extract(store, tmp_path / "out", case=["ct_000"], mask=[10**6]).faults
    assert "no mask 1000000" in fault.message


def test_the_command_line_takes_several_cases_and_masks(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = Store.open(store).case_ids[:2]
    words = ["extract", str(store), "-o", str(tmp_path), "--case", *cases]
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "--mask", "0", "3", "--workers", "1"])
    assert left.value.code == 0
    assert "Extracted 2 cases" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*_mask[03].nii.gz"))) == 4


# Scan, the spacing it is prepared at, and by which part of their range its intensities may then be
# off: at most where that spacing is its own (float16), on the average where it is resampled twice.
REAL = {
    "hippocampus/imagesTs": (1.0, 3e-4, 1e-4),
    "brain_t1/imagesTs": (2.0, 3e-4, 1e-4),
    "headneck_ct/imagesTs": (3.5, 1.0, 0.01),
    "sarcoma_mr/imagesTs": (2.4, 1.0, 0.03),
}


@pytest.mark.data
@pytest.mark.parametrize("scan", REAL)
def test_a_real_scan_comes_back_on_its_own_grid(data_dir: Path, tmp_path: Path, scan: str) -> None:
    spacing_mm, most, mean = REAL[scan]
    path = min((data_dir / scan).iterdir())
    config = PrepareConfig(
        inputs=(path,), output=tmp_path / "store", spacing_mm=spacing_mm, workers=1
    )
    assert prepare(config).ok
    report = extract(tmp_path / "store", tmp_path / "out")
    ((case_id, (low, high)),) = report.clipped.items()
    before, raw = load(path)
    for written in (tmp_path / "out").glob("*.nii.gz"):
        after, _ = load(written)
        assert after.shape == before.shape
        np.testing.assert_array_equal(after.affine, before.affine)
    _, image = load(tmp_path / "out" / f"{case_id}_image.nii.gz")
    off = np.abs(image - np.clip(raw, low, high)) / (high - low)
    assert off.max() <= most
    assert off.mean() <= mean


def test_values_are_called_after_their_masks(store: Path, extracted: Path, tmp_path: Path) -> None:
    case = Store.open(store).case_ids[0]
    table = Store.open(store).case(case).table
    names = label_names(extracted / f"{case}_layer0.nii.gz")
    assert names == table.value_names(0)
    extract(store, tmp_path / "one", case=(case,), mask=(2,))
    assert label_names(tmp_path / "one" / f"{case}_mask2.nii.gz") == {"mask 2": 1}
