from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from mass3d.execution import free
from mass3d.execution.free import available_bytes


def test_free_memory_is_some_of_the_memory() -> None:
    assert 0 < available_bytes() <= psutil.virtual_memory().total


def test_a_limit_of_the_group_counts_where_it_is_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free, "CGROUP", tmp_path)
    (tmp_path / "memory.current").write_text("7000\n")
    for limit, expected in (("9000\n", 2000), ("6000\n", 0)):
        (tmp_path / "memory.max").write_text(limit)
        assert available_bytes() == expected
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes() > 7000
