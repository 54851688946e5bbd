from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import mass3d
from mass3d import cli
from mass3d.apps.check import CheckConfig, run
from mass3d.store.reader import Store


def files(root: Path) -> dict[str, float]:
    return {str(path.relative_to(root)): path.stat().st_mtime for path in root.rglob("*")}


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "store"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sound_store_is_counted_and_left_as_it_is(store: Path, workers: int) -> None:
    before = files(store)
    report = run(CheckConfig(store=(store,), workers=workers))
    assert report.ok
    opened = Store.open(store)
    cases = [opened.case(case_id) for case_id in opened.case_ids]
    held = report.stores[store]
    assert (held.cases, held.masks) == (4, sum(len(case.table) for case in cases))
    assert held.bytes == sum(p.stat().st_size for p in store.glob("cases/*/*"))
    assert held.fingerprint == opened.fingerprint
    assert files(store) == before
    assert f"4 sound cases with {held.masks} masks" in report.summary()


def test_faults_of_several_stores_are_told_at_once_with_what_to_do(
    copy: Path, store: Path, tmp_path: Path
) -> None:
    first, second, *_ = Store.open(copy).case_ids
    (copy / "cases" / first / "image.b2nd").write_bytes(b"")
    (copy / "cases" / second / "case.json").unlink()
    (tmp_path / "empty").mkdir()
    report = mass3d.check(store=[copy, tmp_path / "empty", store], workers=1)
    assert not report.ok
    assert [Path(fault.where).relative_to(tmp_path) for fault in report.faults] == [
        Path("store/cases") / first / "image.b2nd",
        Path("store/cases") / second / "case.json",
        Path("empty"),
    ]
    assert all("mass3d prepare" in fault.message for fault in report.faults)
    assert (report.stores[copy].cases, report.stores[store].cases) == (2, 4)


def test_the_exit_code_says_whether_there_are_faults(
    copy: Path, capsys: pytest.CaptureFixture[str], exit_code: Callable[..., int]
) -> None:
    assert exit_code("check", copy, "--workers", "1") == 0
    assert "Everything is as it was written." in capsys.readouterr().out
    (copy / "cases/one-more").mkdir()
    assert exit_code("check", copy, "--workers", "1") == 1
    assert "does not list" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def exit_code() -> Callable[..., int]:
    def call(*arguments: str | Path) -> int:
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        return int(left.value.code or 0)

    return call
