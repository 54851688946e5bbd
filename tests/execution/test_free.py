from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from mass3d.execution import free
from mass3d.execution.free import available_bytes, free_of_groups


def test_free_memory_is_some_of_the_memory() -> None:
    assert 0 < available_bytes() <= psutil.virtual_memory().total


def group(folder: Path, limit: str, used: int, **cached: int) -> None:
    """A control group of version 2, as the system tells of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    rows = {"anon": 1, "file": 5000, **cached}
    (folder / "memory.stat").write_text("".join(f"{name} {n}\n" for name, n in rows.items()))


def belong(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))


def test_a_limit_of_the_group_counts_where_it_is_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free, "ROOT", tmp_path)
    top = tmp_path / "sys/fs/cgroup"
    for limit, expected in (("9000", 2000), ("6000", 0)):
        group(top, limit, 7000)
        assert available_bytes() == expected  # also where nothing tells the group
    group(top, "max", 7000)
    assert available_bytes() > 7000


def test_files_that_were_read_take_no_memory_from_a_container(tmp_path: Path) -> None:
    """As after a few GB of scans under `docker -m`: the workers were killed for nothing."""
    belong(tmp_path, "0::/")
    group(tmp_path / "sys/fs/cgroup", "9000", 8900, inactive_file=6900)
    assert list(free_of_groups(tmp_path)) == [7000]
    group(tmp_path / "sys/fs/cgroup", "9000", 8900, inactive_file=9900)  # read a moment later
    assert list(free_of_groups(tmp_path)) == [9000]


def test_groups_around_the_own_one_count_too(tmp_path: Path) -> None:
    """As of SLURM, which limits the job, and maybe not the step within it."""
    belong(tmp_path, "0::/system.slice/job_7/step_0")
    top = tmp_path / "sys/fs/cgroup"
    group(top / "system.slice/job_7/step_0", "max", 3000)
    group(top / "system.slice/job_7", "9000", 6000, inactive_file=1000)
    group(top / "system.slice", "90000", 60000)
    group(top / "system.slice/job_8", "100", 100)
    assert list(free_of_groups(tmp_path)) == [4000, 30000]


def test_the_path_of_a_group_may_be_that_outside_the_container(tmp_path: Path) -> None:
    for number, path in enumerate(("/docker/abc", "/../other")):
        root = tmp_path / str(number)
        belong(root, f"0::{path}")
        group(root / "sys/fs/cgroup", "9000", 2000)
        assert list(free_of_groups(root)) == [7000]


def test_groups_of_the_first_version_are_asked_for_their_memory(tmp_path: Path) -> None:
    belong(tmp_path, "9:name=systemd:/", "4:cpu,memory:/job", "3:cpuset:/other", "0::/")
    job = tmp_path / "sys/fs/cgroup/memory/job"
    job.mkdir(parents=True)
    for folder, limit in ((job, 9000), (job.parent, 2**63 - 4096)):
        (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (folder / "memory.usage_in_bytes").write_text("8000\n")
    (job / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 6000\n")
    assert min(free_of_groups(tmp_path)) == 7000


def test_without_control_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert list(free_of_groups(tmp_path)) == []
