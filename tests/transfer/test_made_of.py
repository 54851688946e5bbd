"""Which files a task was made of: names and content, no places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicoms import series
from mass3d.files import file_hash
from mass3d.io.datasets.cohort import find_cases
from mass3d.io.datasets.source import source_hash
from mass3d.transfer.made_of import MadeOf, made_of


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    scan, label = tmp_path / "private" / "a.nii.gz", tmp_path / "private" / "a_label.nii.gz"
    scan.parent.mkdir()
    scan.write_bytes(b"scan")
    label.write_bytes(b"label")
    return scan, label


def test_files_are_told_by_name_and_content(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, label = files
    (found,) = made_of([scan], [str(label)])
    assert found is not None
    assert found.plain() == {
        "scan": "a.nii.gz",
        "scan_sha256": file_hash(scan),
        "label": "a_label.nii.gz",
        "label_sha256": file_hash(label),
    }
    monkeypatch.chdir(scan.parent)
    assert MadeOf.of(Path("../private/a.nii.gz"), Path("a_label.nii.gz")) == found


def test_of_what_is_in_memory_nothing_is_told(files: tuple[Path, Path]) -> None:
    scan, label = files
    told = made_of([scan, np.zeros(3), scan], [np.zeros(3), label, label])
    assert [one is not None for one in told] == [False, False, True]


def test_a_series_is_told_as_segment_tells_its_source(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = series(tmp_path / "series")[0].parent
    (case,) = find_cases([folder])
    monkeypatch.chdir(folder)
    found = MadeOf.of(Path(), files[1])
    assert (found.scan, found.scan_sha256) == ("series", source_hash(case))
