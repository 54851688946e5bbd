from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mass3d.config import Config
from mass3d.errors import ConfigError
from mass3d.execution.ownership import require_apart, require_own_file, require_own_folder
from mass3d.execution.summary import write_provenance


class Settings(Config):
    number: int = 1


def test_a_new_an_empty_and_a_hidden_only_folder_may_be_written(tmp_path: Path) -> None:
    require_own_folder(tmp_path / "new", "segment")
    require_own_folder(tmp_path, "segment")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    require_own_folder(tmp_path, "segment")


def test_results_of_the_same_verb_may_be_written_again_those_of_another_not(
    tmp_path: Path,
) -> None:
    write_provenance(tmp_path, "segment", Settings())
    require_own_folder(tmp_path, "segment")
    with pytest.raises(ConfigError, match="the results of mass3d segment") as caught:
        require_own_folder(tmp_path, "evaluate")
    assert (caught.value.exit_code, caught.value.setting) == (2, "output")


@pytest.mark.parametrize("record", ["", "[" * 100_000, "[]", "3", '{"verb": "segment"}', "\udcff"])
def test_a_folder_of_other_files_is_refused_whatever_lies_there(
    tmp_path: Path, record: str
) -> None:
    (tmp_path / "record.json").write_bytes(record.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match="a folder with other files"):
        require_own_folder(tmp_path, "segment")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(ConfigError, match="found a file"):
        require_own_folder(tmp_path / "a", "segment")


def test_an_output_is_never_an_input_and_never_around_one(tmp_path: Path) -> None:
    scan = tmp_path / "scans" / "a.nii.gz"
    scan.parent.mkdir()
    scan.write_bytes(b"x")
    (tmp_path / "link").symlink_to(scan.parent)
    for output in (scan, scan.parent, tmp_path, tmp_path / "link", tmp_path / "scans/../scans"):
        with pytest.raises(ConfigError, match="input"):
            require_apart(output, [None, scan])
    require_apart(scan.parent / "found", [scan, scan.parent])  # within a folder of scans
    os.link(scan, tmp_path / "hard")
    with pytest.raises(ConfigError, match="input"):
        require_apart(tmp_path / "hard", [scan])


def test_only_a_file_of_the_same_kind_is_replaced(tmp_path: Path) -> None:
    for name, kind in (("weights", "weights"), ("task", "task")):
        header = {"mass3d": f'{{"kind": "{kind}"}}'}
        save_file({"x": np.zeros(1)}, tmp_path / name, metadata=header)
    require_own_file(tmp_path / "task", "task")
    require_own_file(tmp_path / "new", "task")
    (tmp_path / "scan").write_bytes(b"\x1f\x8b" * 100)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name in ("weights", "scan", "empty", "dangling", "."):
        with pytest.raises(ConfigError):
            require_own_file(tmp_path / name, "task")
