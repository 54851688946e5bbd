"""Scans into rows of features: whole or absent, once each, the same bytes again."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import pages
from mass3d.apps import embed
from mass3d.errors import ConfigError, DataError, ModelError
from mass3d.transfer.frozen.folder import (
    ARRAYS,
    INDEX,
    NEIGHBOURS,
    TABLE,
    EmbeddingsFolder,
    require_case,
)
from mass3d.transfer.frozen.scan import read_arrays


def config(inputs: Path, trained: Path, output: Path, **changes: object) -> embed.EmbedConfig:
    values = {"inputs": [inputs], "model": trained, "output": output, "device": "cpu"}
    return embed.EmbedConfig.model_validate(values | changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def scans(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans, and a file that is none."""
    folder = tmp_path_factory.mktemp("scans")
    for path in sorted((cohort / "imagesTr").iterdir())[:3]:
        shutil.copy(path, folder / path.name.replace("_0000", ""))
    (folder / "mr_broken.nii.gz").write_bytes(b"no scan")
    return folder


@pytest.fixture(scope="module")
def embedded(scans: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embedded with everything."""
    output = tmp_path_factory.mktemp("embedded")
    report = embed.run(config(scans, trained, output, dense=True, untrained=True))
    assert [fault.where for fault in report.faults] == ["mr_broken"]
    assert not report.ok
    assert report.summary().startswith(f"Embedded 3 scans into {output / TABLE}. Look at ")
    return output


def test_every_scan_is_a_row(embedded: Path, scans: Path) -> None:
    with (embedded / TABLE).open() as stream:
        header, *rows = csv.reader(stream)
    index = json.loads((embedded / INDEX).read_text())
    assert len(header) == 1 + sum(2 * channels for _, channels in index["maps"])
    assert header[1] == "map0_stride2_mean_0"
    assert header[-1].startswith("map3_stride8_std_")
    names = sorted(path.name.removesuffix(".nii.gz") for path in scans.iterdir())
    assert [row[0] for row in rows] == [name for name in names if name != "mr_broken"]
    with np.load(embedded / ARRAYS) as arrays:
        np.testing.assert_array_equal(
            arrays["features"], np.array([row[1:] for row in rows], np.float32)
        )
        assert arrays["cases"].tolist() == [row[0] for row in rows]
        assert arrays["columns"].tolist() == header[1:]
    near = (embedded / NEIGHBOURS).read_text().splitlines()
    assert len(near) == 1 + 3 * 2


def test_dense_features_lie_over_the_scan(embedded: Path, scans: Path) -> None:
    path = sorted((embedded / "dense").iterdir())[0]
    dense, scan = nib.load(path), nib.load(scans / path.name)
    assert dense.shape[3] == 32
    sizes = [np.abs(one.affine[:3, :3]) @ one.shape[:3] for one in (dense, scan)]
    assert (np.abs(sizes[0] - sizes[1]) <= 14).all()  # within a cell of 14 mm
    centres = [
        (one.affine @ [*((np.array(one.shape[:3]) - 1) / 2), 1])[:3] for one in (dense, scan)
    ]
    assert (np.abs(centres[0] - centres[1]) <= 7).all()


def test_the_page_shows_scans_features_and_neighbours(embedded: Path) -> None:
    text = (embedded / "embeddings.html").read_text()
    loads = pages.require_whole(text, beside="pictures/")
    assert len(loads) == 3 * (2 + 2)
    assert all((embedded / address).is_file() for address in loads)
    assert "mr_broken" in text


def test_what_is_done_is_kept_and_what_is_damaged_is_made_again(
    embedded: Path, scans: Path, trained: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(embedded, again)
    first, second, third = sorted((again / "cases").iterdir())
    stamp = second.stat().st_mtime_ns
    first.write_bytes(first.read_bytes()[:-9] + b"\0" * 9)
    dense = again / "dense" / f"{third.stem}.nii.gz"
    dense.unlink()
    index = json.loads((again / INDEX).read_text())
    assert embed.run(config(scans, trained, again, dense=True, untrained=True)).faults
    assert second.stat().st_mtime_ns == stamp
    assert dense.exists()
    assert contents(again) == contents(embedded)
    assert json.loads((again / INDEX).read_text()) == index


def test_a_folder_that_is_renamed_to_correct_the_modality_is_encoded_again(
    scans: Path, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "mr").mkdir()
    shutil.copy(scans / "ct_000.nii.gz", tmp_path / "mr" / "a.nii.gz")

    def features(inputs: Path) -> bytes:
        embed.run(config(inputs, trained, tmp_path / "out"))
        (file,) = (tmp_path / "out" / "cases").iterdir()
        return file.read_bytes()

    as_mr = features(tmp_path / "mr")
    as_ct = features((tmp_path / "mr").rename(tmp_path / "ct"))
    assert as_ct != as_mr
    assert features(tmp_path / "ct") == as_ct


def test_of_a_scan_that_has_become_unreadable_nothing_stays(
    embedded: Path, scans: Path, trained: Path, tmp_path: Path
) -> None:
    again, changed = tmp_path / "again", tmp_path / "scans"
    shutil.copytree(embedded, again)
    shutil.copytree(scans, changed)
    first, *others = sorted(path for path in changed.iterdir() if "broken" not in path.name)
    told = config(changed, trained, again, dense=True, untrained=True)
    first.write_bytes(b"no scan any more")
    name = first.name.removesuffix(".nii.gz")
    assert {fault.where for fault in embed.run(told).faults} == {name, "mr_broken"}
    assert name not in (again / TABLE).read_text()
    assert not list(again.rglob(f"{name}*"))
    for path in others:
        path.write_bytes(b"no scan any more")
    assert len(embed.run(told).faults) == 4
    assert not (again / TABLE).exists()


def test_another_place_holds_the_same_bytes(
    embedded: Path, scans: Path, trained: Path, tmp_path: Path
) -> None:
    embed.run(config(scans, trained, tmp_path / "x", dense=True, untrained=True))
    assert contents(tmp_path / "x") == contents(embedded)


@pytest.mark.parametrize(
    "changes", [{"untrained": False}, {"dense": False}, {"overlap": 0.5}, {"model": "other"}]
)
def test_results_of_other_settings_are_not_mixed(
    embedded: Path, scans: Path, trained: Path, changes: dict[str, object]
) -> None:
    before = contents(embedded)
    if changes.get("model"):
        index = json.loads((embedded / INDEX).read_text())
        (embedded / INDEX).write_text(json.dumps(index | {"model": "other"}))
        changes = {}
    with pytest.raises(ConfigError, match="Choose another output") as caught:
        embed.run(config(scans, trained, embedded, **{"dense": True, "untrained": True} | changes))
    assert caught.value.setting == "output"
    (embedded / INDEX).write_bytes(before[INDEX])


def test_damage_is_told(embedded: Path, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text("{}")
    with pytest.raises(DataError, match="a damaged list of embeddings"):
        EmbeddingsFolder.open(tmp_path)
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(DataError, match="features that cannot be read"):
        read_arrays(tmp_path / "x")
    shutil.copytree(embedded, tmp_path / "copy")
    folder = EmbeddingsFolder.open(tmp_path / "copy")
    case = next(iter(folder.entries))
    require_case(folder, case)
    folder.features(case).write_bytes(b"nothing")
    with pytest.raises(DataError, match="missing or damaged"):
        require_case(folder, case)


def test_nothing_to_embed_leaves_an_empty_page(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "bad.nii").write_bytes(b"no scan")
    report = embed.run(config(tmp_path / "scans", trained, tmp_path / "out"))
    assert report.cases == ()
    assert len(report.faults) == 1
    assert (tmp_path / "out" / "embeddings.html").exists()
    assert not (tmp_path / "out" / TABLE).exists()


def test_a_model_is_needed(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        embed.run(config(scans, tmp_path / "nowhere", tmp_path / "out"))
