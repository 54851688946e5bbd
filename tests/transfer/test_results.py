"""The list of results: what is kept, what is made again, and what belongs to somebody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mass3d.errors import DataError
from mass3d.files import file_hash
from mass3d.io.write import write_label
from mass3d.transfer.results import VOLUMES, Entry, Index, ResultsFolder, read_results
from mass3d.volume.volume import Volume

INDEX = Index(task="t" * 64, overlap=0.5, alignment=True)
BEGUN = Entry(source="s", named="", prior="p")


def label(path: Path, value: int = 1) -> Path:
    voxels = np.full((2, 3, 4), value, np.uint8)
    write_label(path, voxels, Volume.from_array(voxels).source)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    """A folder with one finished case."""
    results = ResultsFolder(tmp_path, INDEX)
    file = label(results.label_map("a"))
    done = {
        "result": file_hash(file),
        "volumes_ml": {"liver": 1.5, "a, b": 0.0},
        "agreement": {"liver": 0.75},
        "expected_dice": {"liver": 0.875},
    }
    results.put("a", BEGUN.model_copy(update=done))
    return results


def test_a_finished_case_of_the_same_scan_and_prior_is_kept(folder: ResultsFolder) -> None:
    assert folder.keeps("a", BEGUN)
    again = ResultsFolder(folder.path, read_results(folder.path))
    assert again.keeps("a", BEGUN)


@pytest.mark.parametrize("change", [{"source": "another"}, {"named": "ct"}, {"prior": ""}])
def test_a_case_of_another_scan_or_prior_is_made_again(
    folder: ResultsFolder, change: dict[str, str]
) -> None:
    assert not folder.keeps("a", BEGUN.model_copy(update=change))


def test_a_case_of_an_earlier_version_which_noted_no_modality_is_kept(
    folder: ResultsFolder,
) -> None:
    assert folder.keeps("a", BEGUN.model_copy(update={"named": "ct"})) is False
    folder.put("a", folder.entries["a"].model_copy(update={"named": None}))
    assert folder.keeps("a", BEGUN.model_copy(update={"named": "ct"}))


def test_a_missing_an_unfinished_and_a_damaged_one_is_made_again(folder: ResultsFolder) -> None:
    assert not folder.keeps("b", BEGUN)
    folder.label_map("a").write_bytes(b"")
    assert not folder.keeps("a", BEGUN)
    label(folder.label_map("c"))
    folder.put("c", BEGUN)
    assert list(folder.done) == ["a"]
    assert not folder.keeps("c", BEGUN)


def test_a_label_map_of_somebody_else_is_refused(folder: ResultsFolder) -> None:
    label(folder.label_map("a"), value=2)
    label(folder.label_map("b"))
    folder.label_map("c").write_bytes(b"no label map, and not ours")
    for name in "abc":
        with pytest.raises(DataError, match="not as mass3d wrote it"):
            folder.keeps(name, BEGUN)


def test_the_volumes_of_finished_cases_become_a_table(folder: ResultsFolder) -> None:
    folder.put("b", BEGUN)
    folder.finish()
    rows = (folder.path / VOLUMES).read_text().splitlines()
    assert rows == [
        "case,structure,ml,agreement,expected_dice",
        'a,"a, b",0.0,,',
        "a,liver,1.5,0.75,0.875",
    ]


def test_the_table_does_not_know_which_cases_were_read_back(folder: ResultsFolder) -> None:
    """The list of results sorts names; a resumed run must end with the bytes of another one."""
    folder.finish()
    whole = (folder.path / VOLUMES).read_bytes()
    ResultsFolder(folder.path, read_results(folder.path)).finish()
    assert (folder.path / VOLUMES).read_bytes() == whole


def test_a_damaged_list_is_told(folder: ResultsFolder) -> None:
    (folder.path / "cases.json").write_text('{"cases": 3}')
    with pytest.raises(DataError, match="a damaged list of results"):
        read_results(folder.path)
