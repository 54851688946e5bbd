"""A server as it is typed: what it refuses, and the whole story with real verbs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mass3d.apps import serve
from mass3d.errors import ConfigError, OutputError
from mass3d.files import only_writer
from running import started
from servers import write_scan


def config_of(tmp_path: Path, **changes: object) -> serve.ServeConfig:
    values = {
        "model": tmp_path / "run",
        "inputs": [tmp_path / "scans"],
        "output": tmp_path / "project",
        "port": 0,
    }
    return serve.ServeConfig.model_validate(values | changes)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    write_scan(tmp_path / "scans" / "a.nii.gz")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").touch()
    return tmp_path


def test_an_installation_without_a_server_says_what_is_missing(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mass3d.server.extra.find_spec", lambda name: None if "f" in name else 1)
    with pytest.raises(ConfigError, match=r"no fastapi in this .*pip install '\.\[serve\]'"):
        serve.run(config_of(given))
    assert not (given / "project").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "nothing"}, "no run folder and no weights file"),
        ({"output": "scans/project"}, "which lies within the scans"),
        ({"output": "scans"}, "which is also an input"),
        ({"output": "."}, "which holds the input"),
        ({"output": "run"}, "which is also an input"),
        ({"output": "other"}, "a folder with other files"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_written(
    given: Path, changes: dict[str, str], told: str
) -> None:
    (given / "other").mkdir()
    (given / "other" / "mine.txt").touch()
    before = sorted(given.rglob("*"))
    with pytest.raises(ConfigError, match=told):
        serve.run(config_of(given, **{name: given / path for name, path in changes.items()}))
    assert sorted(given.rglob("*")) == before


def test_a_project_has_one_server(given: Path) -> None:
    (given / "project").mkdir()
    with (
        only_writer(given / "project", OutputError),
        pytest.raises(OutputError, match="another mass3d process"),
    ):
        serve.run(config_of(given))


def test_a_server_that_is_asked_to_end_does_so_without_an_error(given: Path) -> None:
    with started(given / "run", given / "scans", given / "project") as server:
        assert server.get("/api/project")["scans"] == 1
        taken = subprocess.run(
            [sys.executable, "-m", "mass3d", "serve", *map(str, server.words)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (taken.returncode, "another mass3d process" in taken.stderr) == (1, True)
        server.process.send_signal(signal.SIGINT)
        out, _ = server.process.communicate(timeout=30)
        assert server.process.returncode == 0
        assert out.decode().startswith("Served 1 scan; everything is in ")
    record = json.loads((given / "project" / "record.json").read_text())
    assert record["verb"] == "serve"
    assert server.token not in "".join(
        path.read_text(errors="replace") for path in (given / "project").rglob("*.json")
    )


def test_the_server_loads_no_torch(given: Path) -> None:
    with started(given / "run", given / "scans", given / "project") as server:
        server.get("/api/cases")
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "numpy" in maps
        assert "libtorch" not in maps


@pytest.mark.slow
def test_one_example_becomes_a_cohort_and_is_corrected(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    """The whole story with real verbs: draw, task, segment, correct, again."""
    labels = cohort / "labelsTr"
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("ct_000", "ct_002"):
        (scans / f"{name}.nii.gz").write_bytes(
            (cohort / "imagesTr" / f"{name}_0000.nii.gz").read_bytes()
        )
    (scans / "odd <b>.nii.gz").write_bytes(b"broken")
    with started(trained, scans, tmp_path / "project", "--tune", "0", "--device", "cpu") as server:
        server.put("/api/structures", [{"name": f"s{value}"} for value in range(1, 5)])
        server.put("/api/cases/ct_000/labels", (labels / "ct_000.nii.gz").read_bytes())
        server.put("/api/cases/ct_000/reference", {"use": True})
        job = server.post("/api/jobs", {"kind": "both"})
        assert job["state"] in ("queued", "running")
        job = server.ended()
        assert (job["state"], job["done"]) == ("done", 3)
        assert job["error"] == "1 scan could not be segmented"
        said = server.get("/api/project")
        assert (said["round"], said["stale"]) == (1, False)
        assert said["rounds"][0]["references"] == ["ct_000"]
        assert said["rounds"][0]["segmented"] == 2
        assert 0 <= said["rounds"][0]["dice"]["s1"]["itself"] <= 1
        rows = {row["id"]: row for row in server.get("/api/cases")["cases"]}
        assert next(iter(rows)) == "odd <b>"
        assert rows["ct_002"]["state"] == "segmented"
        found = server.raw("/api/cases/ct_002/result.nii.gz")
        assert found == (tmp_path / "project/rounds/1/found/ct_002.nii.gz").read_bytes()
        server.put("/api/cases/ct_002/labels", (labels / "ct_002.nii.gz").read_bytes())
        server.put("/api/cases/ct_002/reference", {"use": True})
        said = server.get("/api/project")
        assert said["stale"]
        rows = {row["id"]: row for row in server.get("/api/cases")["cases"]}
        assert rows["ct_002"]["corrected"]
        server.post("/api/jobs", {"kind": "task"})
        assert server.ended()["state"] == "done"
        said = server.get("/api/project")
        assert (said["round"], said["stale"], len(said["rounds"])) == (2, False, 2)
        # what is typed in its place finds all done, as the page has made it
        command = said["commands"]["task"]
        assert re.search(r"rounds/3/task\.task", command)
