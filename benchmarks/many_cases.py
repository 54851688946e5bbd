"""A cohort of 5,000 cases: how long pretraining takes to begin, and what memory its draws hold.

The cases are links to a few that are prepared once: scans of the set brain_t1 below
$MASS3D_TEST_DATA, or phantoms where that is not given. A step does not know the difference: each
case has a record, a table and arrays of its own to be opened. Alignments of pairs before training
are left out; they take a second or so each, whatever the number of cases.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch
from support.measure import Row, main

from mass3d.apps.prepare import PrepareConfig
from mass3d.apps.prepare import run as prepare
from mass3d.files import file_hash, read_json, write_json
from mass3d.phantom import write_phantom_cohort
from mass3d.store.reader import Store, StoredCase
from mass3d.store.schema import CASES, PARTS, RECORD, CaseEntry, IndexRecord
from mass3d.store.several import Stores
from mass3d.views.draw import ViewConfig
from mass3d.views.pair import PairMaker

BEGIN_S = 30  # budget until the first step is done
SETTINGS = ("views.alignments=0", "fit.batch_size=1", "fit.log_every=1", "fit.precision='32-true'")
CPU = torch.device("cpu")


def measure(small: bool) -> Sequence[Row]:
    """Until the first step is done, and memory between two moments of many draws."""
    count, few = (12, 2) if small else (5000, 8)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        real = prepared(folder, few, small=small)
        linked = link(real, folder / "many", count)
        crop = (32, 32, 32) if small else (48, 64, 64)
        many = begin(linked, folder / "run-many", crop)
        alone = many if small else begin(real, folder / "run-few", crop)
        draws = (4, 8) if small else (200, 500)
        opened = Stores.open([linked]).cases()
        growth = held_between(opened, crop, *draws)
        kept = held_between(list(opened), crop, *draws)
    what = f"{count} cases (links to {few})"
    return [
        Row(
            f"begin to pretrain on {what}, first step included",
            many[0],
            "CPU-s",
            alone[0],
            f"the {few} cases alone",
        ),
        Row("the same on the clock", many[1], "s", budget=f"<= {BEGIN_S} s"),
        Row("memory of the same", many[2], "GiB", alone[2], f"the {few} cases alone"),
        Row(
            f"memory held after {draws[1]} pairs of {what}, over that after {draws[0]}",
            growth,
            "MiB",
            kept,
            "all stay open",
            budget="<= 64 MiB",
        ),
    ]


def prepared(folder: Path, count: int, *, small: bool) -> Path:
    """A store of a few real scans, or of phantoms."""
    named = os.environ.get("MASS3D_TEST_DATA")
    if named and not small:
        scans = sorted((Path(named) / "brain_t1" / "imagesTr").iterdir())[:count]
    else:
        cohort = write_phantom_cohort(folder / "scans", cases=count, test_cases=1, seed=0)
        scans = sorted((cohort / "imagesTr").iterdir())
    config = PrepareConfig(
        inputs=tuple(scans), output=folder / "few", spacing_mm=7.0 if small else 3.0, workers=1
    )
    assert prepare(config).ok
    return folder / "few"


def link(store: Path, target: Path, count: int) -> Path:
    """A store of `count` cases, whose arrays and tables are those of another one in turn."""
    index = Store.open(store).index
    cases = {}
    for number, case_id in zip(range(count), list(index.cases) * count, strict=False):
        name = f"case_{number:06}"
        source, folder = store / CASES / case_id, target / CASES / name
        folder.mkdir(parents=True)
        for part in PARTS:
            os.link(source / part, folder / part)
        write_json(folder / RECORD, {**read_json(source / RECORD), "case_id": name})
        entry = index.cases[case_id]
        cases[name] = CaseEntry(source=entry.source, record_sha256=file_hash(folder / RECORD))
    write_json(
        target / "store.json", IndexRecord.make(index.settings, cases, finished=True).plain()
    )
    return target


def begin(store: Path, run: Path, crop: tuple[int, int, int]) -> tuple[float, float, float]:
    """CPU seconds, seconds and GiB of a run of one step, in a process of its own."""
    settings = [f"views.crop_vox={list(crop)}", *SETTINGS]
    words = [sys.executable, "-m", "mass3d", "pretrain", str(store), "-o", str(run), "--steps", "1"]
    words += ["--device", "cpu", *(word for one in settings for word in ("--set", one))]
    clock, begun = time.perf_counter(), os.times()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here
    assert process.returncode == 0
    ended = os.times()
    cpu = ended.children_user + ended.children_system - begun.children_user - begun.children_system
    return cpu, time.perf_counter() - clock, usage.ru_maxrss / 2**20


def held_between(
    cases: Sequence[StoredCase], crop: tuple[int, int, int], first: int, last: int
) -> float:
    """MiB that this process holds after the last of many pairs, over those after an earlier one."""
    make = PairMaker(cases, ViewConfig(), crop=crop, batch_size=1, seed=0)
    for step in range(first):
        make(step, CPU)
    before = held()
    for step in range(first, last):
        make(step, CPU)
    return held() - before


def held() -> float:
    """MiB in use, without what was freed and is kept to be used again. Linux only."""
    ctypes.CDLL(None).malloc_trim(0)
    return float(psutil.Process().memory_info().rss) / 2**20


if __name__ == "__main__":
    main(__file__, measure)
