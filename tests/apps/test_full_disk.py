"""`prepare` on a disk that is really full: a tmpfs of a few kilobytes."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mass3d.apps.check import CheckConfig
from mass3d.apps.check import run as check
from mass3d.apps.prepare import PrepareConfig
from mass3d.apps.prepare import run as prepare
from mass3d.phantom import write_phantom_cohort
from small_disk import run_on_small_disk

PAGE = 4096
# Prepare, make space, prepare again, check; then once more on a disk that may not be written to.
PREPARE = """
import contextlib, hashlib, io
from mass3d import cli

store, scans, pages, workers = disk / "store", sys.argv[2], sys.argv[3], sys.argv[4]

def call(*words):
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            cli.main([str(word) for word in words])
        except SystemExit as left:
            return {"code": left.code, "told": " ".join(told.getvalue().split())}

def files():
    paths = [path for path in store.rglob("*") if path.is_file()]
    return {str(p.relative_to(store)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}

if __name__ == "__main__":
    words = ["prepare", scans, "-o", store, "--spacing", "7", "--workers", workers]
    mount(f"size={int(pages) * 4}k")
    found = {"full": call(*words), "left": files()}
    mount("remount", "size=64m")
    found |= {"again": call(*words), "check": call("check", store, "--workers", 1)}
    found |= {"finished": files()}
    mount("remount", "ro")
    found |= {"read-only": call(*words)}
    print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    return write_phantom_cohort(folder, cases=3, test_cases=0, seed=0) / "imagesTr"


@pytest.fixture(scope="module")
def undisturbed(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    config = PrepareConfig(inputs=(scans,), output=store, spacing_mm=7.0, workers=1)
    assert prepare(config).ok
    return store


def hashes(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("*")
        if path.is_file()
    }


def pages(store: Path) -> int:
    """What the files of a store take on a tmpfs."""
    return sum(-(-path.stat().st_size // PAGE) for path in store.rglob("*") if path.is_file())


@pytest.mark.parametrize(("part", "workers"), [(0.02, 1), (0.55, 1), (0.99, 1), (0.55, 2)])
def test_a_full_disk_is_told_and_the_same_command_goes_on_when_there_is_space(
    scans: Path, undisturbed: Path, tmp_path: Path, part: float, workers: int
) -> None:
    room = max(1, int(part * pages(undisturbed)))
    found = run_on_small_disk(PREPARE, tmp_path, scans, room, workers)
    assert found["full"]["code"] == 1
    told = found["full"]["told"]
    assert f"error: {tmp_path / 'disk' / 'store'}" in told
    assert "no space left on device" in told
    assert "Make space there, or choose another place, and run the same command again." in told
    whole = hashes(undisturbed)
    left = {name: value for name, value in found["left"].items() if name.startswith("cases/")}
    assert left.items() <= whole.items()  # no half file
    for case_id in {name.split("/")[1] for name in left}:  # and no half case
        parts = {name for name in whole if name.startswith(f"cases/{case_id}/")}
        assert parts <= left.keys()
    assert found["again"]["code"] == found["check"]["code"] == 0, found
    assert found["finished"] == whole
    assert found["read-only"]["code"] == 1
    assert "read-only file system" in found["read-only"]["told"]
    assert "Choose a place that may be written to." in found["read-only"]["told"]


# Write one case on a disk of every size, from one page to more than enough.
WRITE = """
import numpy as np
from mass3d.errors import OutputError
from mass3d.masks.settings import MaskConfig
from mass3d.masks.packing import encode
from mass3d.store.reader import Store
from mass3d.store.schema import Source, StoreSettings
from mass3d.store.writer import begin, collect_index, open_for_writing, write_case, write_index
from mass3d.volume.preparation import PreparationConfig, prepare_volume
from mass3d.volume.volume import Volume

rng = np.random.default_rng(0)
volume = Volume.from_array(rng.normal(size=(24, 25, 26)).astype(np.float32))
preparation = PreparationConfig(spacing_mm=1.0, modality="mr")
scan = prepare_volume(volume, preparation)
masks = encode(rng.normal(size=(5, 24, 25, 26)) > 1)
settings = StoreSettings(preparation=preparation, masks=MaskConfig())
source = Source(name="a.nii", sha256="0" * 64)

outcomes = []
for pages in range(3, 30):
    mount(f"size={4 * pages}k")
    store = disk / "store"
    try:
        with open_for_writing(store):
            begin(store, settings)
            write_case(store, "a", scan, masks, source=source, settings=settings)
            outcome = "whole"
            write_index(store, collect_index(store, settings))
        case = Store.open(store).case("a")
        assert np.array_equal(case.read_layers(), masks.ranks)
        assert np.abs(case.read_image() - scan.image).max() < 0.01
        outcome = "read"
    except OutputError as error:
        outcome = error.found
    left = sorted(path.name for path in (store / "cases").glob("*"))
    outcomes.append([pages, outcome, left])
    subprocess.run(["umount", "--lazy", disk], check=True)
print(json.dumps(outcomes))
"""


def test_a_case_is_written_whole_or_not_at_all_on_a_disk_of_any_size(tmp_path: Path) -> None:
    outcomes: list[tuple[int, str, list[str]]] = run_on_small_disk(WRITE, tmp_path)
    first = next(pages for pages, outcome, _ in outcomes if outcome == "read")
    assert outcomes[0][0] + 10 < first < outcomes[-1][0]  # sizes on both sides of enough
    for pages, outcome, left in outcomes:
        if pages >= first:
            assert (outcome, left) == ("read", ["a"])
        else:
            assert outcome == "no space left on device", (pages, outcome)
            assert left in ([], ["a"])  # the case may be whole and the index be too much


def test_a_limit_on_the_size_of_files_is_told(
    scans: Path, undisturbed: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    words = [scans, "-o", store, "--spacing", "7", "--workers", "1"]
    code = "from mass3d.cli import main; main()"
    command = [sys.executable, "-c", code, "prepare", *map(str, words)]

    def call(limit: int) -> subprocess.CompletedProcess[Any]:
        def lower() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.run(
            command, capture_output=True, text=True, check=False, preexec_fn=lower
        )

    done = call(20 * 1024)
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert f"error: {store}" in told
    assert "file too large; expected to be able to write here. Raise the limit" in told
    assert list((store / "cases").iterdir()) == []
    assert call(resource.RLIM_INFINITY).returncode == 0
    assert hashes(store) == hashes(undisturbed)
    assert check(CheckConfig(store=(store,), workers=1)).ok
