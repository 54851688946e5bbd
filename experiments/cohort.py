"""Segment a cohort by one reference undisturbed, and again while killing it; compare every byte.

    python experiments/cohort.py DATA -m RUN -o OUT --structures ventricles cerebellum [--scans 40]

DATA is a raw dataset of nnU-Net with tests. The reference is its first training scan; the tests are
segmented, and as many further training scans as are missing. The second time the command is killed
with SIGKILL when these shares of the scans are done, and typed again each time. Prints seconds,
CPU-seconds and the largest resident set of every process, the reader of the task included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from killed import compare
from rich.console import Console

from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.dataset_json import read_structures
from mass3d.io.datasets.labelled import find_labelled, find_tests
from mass3d.transfer.results import CASES, Entry, read_results

POLL_S = 0.05
TRIES = 3


def main() -> None:
    """Make the task, segment twice, compare; exit code 1 where a byte differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-m", "--model", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--structures", nargs="+", required=True)
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--kills", type=float, nargs="*", default=[0.3, 0.7])
    asked = parser.parse_args()
    task, (reference, *others) = asked.output / "cohort.task", find_labelled([asked.data])
    scans = [*find_tests(asked.data), *others][: asked.scans]

    made = ["task", "-i", reference.path, "-l", labels_of(reference), "-m", asked.model]
    structures = chosen(asked.data, asked.structures)
    to_its_end([*made, "-o", task, "--set", f"structures={structures}"], "task of one reference")
    command = ["segment", *(case.path for case in scans), "--task", task, "-m", asked.model, "-o"]
    whole, killed = asked.output / "undisturbed", asked.output / "killed"
    to_its_end([*command, whole], f"{len(scans)} scans undisturbed", among=len(scans))
    for share in asked.kills:
        kill_at([*command, killed], killed, round(share * len(scans)))
    to_its_end([*command, killed], "resumed")
    compare(whole, killed)


def labels_of(case: CaseFile) -> Path:
    """The label map of a labelled scan."""
    assert case.label is not None
    return case.label.paths[0]


def chosen(data: Path, names: Sequence[str]) -> str:
    """Structures of a dataset as a setting is typed."""
    values = read_structures(data / "labelsTr") or {}
    return "{" + ", ".join(f'"{name}" = {values[name]}' for name in names) + "}"


def begun(words: Sequence[object]) -> subprocess.Popen[bytes]:
    """A verb in a process of its own, with nothing on the way to it."""
    command = [sys.executable, "-m", "mass3d", *map(str, words), "--quiet", "--device", "cpu"]
    return subprocess.Popen(command)


def to_its_end(words: Sequence[object], title: str, *, among: int = 1) -> None:
    """Run a verb and print what it took, in all and for each of some scans."""
    start = time.monotonic()
    child = begun(words)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(child.returncode)
    wall_s, cpu_s = time.monotonic() - start, used.ru_utime + used.ru_stime
    each = f" ({wall_s / among:.2f} s, {cpu_s / among:.2f} CPU-s each)" if among > 1 else ""
    peak = f"{used.ru_maxrss / 2**20:.2f} GiB"
    tell(f"{title}: {wall_s:.0f} s, {cpu_s:.0f} CPU-s{each}, at most {peak} resident")


def kill_at(words: Sequence[object], folder: Path, count: int) -> None:
    """Run until so many scans are done, then kill; a run that was not seen in time begins anew."""
    for _ in range(TRIES):
        with begun(words) as child:
            while child.poll() is None and done(folder) < count:
                time.sleep(POLL_S)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
        if child.returncode == -signal.SIGKILL:
            tell(f"killed with {done(folder)} scans done, {begun_only(folder)} begun")
            return
        if child.returncode:
            sys.exit(child.returncode)
        shutil.rmtree(folder)
    sys.exit(f"it had ended {TRIES} times before it was seen that {count} scans were done")


def done(folder: Path) -> int:
    """Scans that the list of results calls finished."""
    return sum(bool(entry.result) for entry in entries(folder))


def begun_only(folder: Path) -> int:
    """Scans in the list of results that are not finished."""
    return sum(not entry.result for entry in entries(folder))


def entries(folder: Path) -> list[Entry]:
    """Of the list of results, which is whole whenever it is looked at."""
    return list(read_results(folder).cases.values()) if (folder / CASES).exists() else []


def tell(sentence: str) -> None:
    """On a line of its own, at once."""
    Console().print(sentence, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
