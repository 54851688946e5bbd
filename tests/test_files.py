from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import signal
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mass3d.errors import ModelError, OutputError
from mass3d.files import (
    LOCK,
    VERSION,
    file_hash,
    only_writer,
    read_json,
    run_record,
    text_hash,
    whole_file,
    write_bytes,
    write_json,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def fail_in_the_middle(path: Path, fault: BaseException) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(b"half")
        raise fault


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- whole files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_appears_whole_and_alone(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "a.nii.gz"
    if before is not None:
        path.write_bytes(before)
    with whole_file(path) as partial:
        partial.write_bytes(b"half")
        assert partial.parent == path.parent  # a rename is atomic on one file system only
        assert partial.name.endswith("a.nii.gz")  # writers go by the suffix
        assert partial.name.startswith(".")  # and no search for scans finds it
        assert (path.read_bytes() if path.exists() else None) == before
        partial.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.nii.gz"]


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("fault", [ValueError("broken"), OSError(28, "Full"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_leaves_what_was_there_and_nothing_half_written(
    tmp_path: Path, before: bytes | None, fault: BaseException
) -> None:
    path = tmp_path / "a.json"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(OutputError if isinstance(fault, OSError) else type(fault)):
        fail_in_the_middle(path, fault)
    assert names(tmp_path) == (["a.json"] if before else [])
    assert (path.read_bytes() if before else None) == before


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "found no space left on device; .* Make space there"),
        (errno.EDQUOT, "found disk quota exceeded; .* Make space there"),
        (errno.EFBIG, "found file too large; .* Raise the limit"),
        (errno.EROFS, "found read-only file system; .* Choose a place that may be"),
        (errno.EACCES, "found permission denied; .* Choose a place that you may"),
        (errno.EIO, "found input/output error; .* Look after the disk"),
    ],
)
def test_a_system_that_does_not_write_is_an_error_with_the_place_and_what_to_do(
    tmp_path: Path, number: int, told: str
) -> None:
    with pytest.raises(OutputError, match=told) as caught:
        fail_in_the_middle(tmp_path / "a.json", OSError(number, os.strerror(number)))
    assert caught.value.where == str(tmp_path / "a.json")


def test_a_writer_that_writes_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="no such file"), whole_file(path):
        pass
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.json"]


def test_the_content_is_on_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave an empty file under the right name."""
    path = tmp_path / "a.json"
    flush, seen = os.fsync, []

    def fsync(handle: int) -> None:
        seen.append((os.fstat(handle).st_size, path.exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(path, b"12345")
    assert seen == [(5, False)]


def die_in_the_middle(path: Path) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    child = get_context("fork").Process(target=die_in_the_middle, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x" / "y" / "a.bin", b"1")
    assert (tmp_path / "x" / "y" / "a.bin").read_bytes() == b"1"


# --- one writer ----------------------------------------------------------------------------------


def hold_and_die(folder: Path) -> None:
    with only_writer(folder, ModelError):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with only_writer(tmp_path, ModelError):
        with pytest.raises(ModelError) as caught, only_writer(tmp_path, ModelError):
            pass
        assert caught.value.where == str(tmp_path)
        assert caught.value.found == "another mass3d process writing into it"
    with only_writer(tmp_path, ModelError):
        assert names(tmp_path) == [LOCK]
        assert (tmp_path / LOCK).stat().st_size == 0


def test_a_folder_is_made_for_its_writer_or_an_error_says_why_not(tmp_path: Path) -> None:
    with only_writer(tmp_path / "a" / "b", ModelError):
        assert names(tmp_path / "a" / "b") == [LOCK]
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="expected to be able to write here"),
        only_writer(tmp_path / "file" / "b", ModelError),
    ):
        pass


def test_a_dead_writer_blocks_no_one(tmp_path: Path) -> None:
    child = get_context("fork").Process(target=hold_and_die, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    with only_writer(tmp_path, ModelError):
        pass


def test_what_a_killed_writer_left_half_written_goes(tmp_path: Path) -> None:
    (tmp_path / ".partial-4711-resume.safetensors").write_text("half")
    kept = (".partial-notes", ".partial-download-7", "resume.safetensors")
    for name in kept:
        (tmp_path / name).write_text("not ours, or whole")
    (tmp_path / ".partial-4711-folder").mkdir()  # the store's, which removes them itself
    with only_writer(tmp_path, ModelError):
        assert names(tmp_path) == sorted([LOCK, *kept, ".partial-4711-folder"])


# --- records -------------------------------------------------------------------------------------


@settings(max_examples=25)  # each is flushed to disk
@given(payload=st.dictionaries(st.text(), json_values, max_size=4))
def test_any_record_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, payload: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "record.json"
    write_json(path, payload)
    assert read_json(path) == payload


def test_equal_records_are_equal_bytes_that_people_can_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": {"d": 2, "c": "ä"}})
    write_json(tmp_path / "b.json", {"a": {"c": "ä", "d": 2}, "b": 1})
    text = (tmp_path / "a.json").read_text()
    assert text == (tmp_path / "b.json").read_text()
    assert text.splitlines()[:2] == ["{", '  "a": {']
    assert text.endswith("}\n")


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": math.nan, "b": [1.5, (math.inf,)], "c": {"d": -math.inf, "e": "NaN"}})
    json.loads(path.read_text(), parse_constant=pytest.fail)
    assert read_json(path) == {"a": None, "b": [1.5, [None]], "c": {"d": None, "e": "NaN"}}


def test_an_unwritable_record_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert names(tmp_path) == ["a.json"]


def test_a_broken_record_is_an_error_for_the_caller_to_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(json.JSONDecodeError):
        read_json(tmp_path / "a.json")


@settings(max_examples=25)
@given(content=st.binary(max_size=100))
def test_the_hash_of_a_file_is_its_sha256(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "content.bin"
    path.write_bytes(content)
    assert file_hash(path) == hashlib.sha256(content).hexdigest()


def test_the_hash_of_settings_depends_on_content_and_not_on_order() -> None:
    assert text_hash({"a": 1, "b": [2]}) == text_hash({"b": [2], "a": 1})
    different = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"b": 1}, {"a": [1]}, [1], [1, 2], [2, 1]]
    assert len({text_hash(value) for value in different}) == len(different)


def test_a_run_record_says_what_ran_and_nothing_of_where_and_when() -> None:
    record = run_record("prepare", {"spacing_mm": 1.5}, cases=3)
    assert set(record) == {"verb", "mass3d", "python", "config", "cases"}
    assert record["verb"] == "prepare"
    assert record["config"] == {"spacing_mm": 1.5}
    assert record["cases"] == 3
    assert record["mass3d"] == VERSION == version("mass3d")
    assert record == run_record("prepare", {"spacing_mm": 1.5}, cases=3)
