"""Prepare a folder of datasets undisturbed, and again while killing it; compare every byte.

    python experiments/killed.py DATA -o OUT [--workers 2] [--spacing auto] [--kills 0.3 0.7]

The second store is killed with SIGKILL when it holds these shares of the cases of the first: the
first time only the command itself, the other times its workers with it. Each time the same
command goes on. Faults of scans are allowed; both runs must have the same ones.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mass3d.files import file_hash

POLL_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--spacing", default="auto")
    parser.add_argument("--kills", type=float, nargs="*", default=[0.3, 0.7])
    asked = parser.parse_args()
    command = [str(Path(sys.executable).with_name("mass3d")), "prepare", str(asked.data)]
    command += ["--set", f"workers={asked.workers}", "--spacing", asked.spacing, "-o"]

    whole = asked.output / "undisturbed"
    code = to_its_end([*command, str(whole)], "undisturbed")
    total = num_cases(whole)
    store = asked.output / "killed"
    for number, share in enumerate(asked.kills):
        kill_at([*command, str(store)], store, round(share * total), with_workers=number > 0)
    if to_its_end([*command, str(store)], "resumed") != code:
        sys.exit("the exit codes differ")
    compare(whole, store)


def to_its_end(command: Sequence[str], title: str) -> int:
    """Run, print what it took, return the exit code."""
    before, start = cpu_s(), time.monotonic()
    code = subprocess.run(command, check=False).returncode
    wall_s = time.monotonic() - start
    print(f"{title}: exit {code}, {wall_s:.0f} s, {cpu_s() - before:.0f} CPU-s", flush=True)
    return code


def kill_at(command: Sequence[str], store: Path, count: int, *, with_workers: bool) -> None:
    """Run until the store holds so many cases, then kill."""
    kill: Callable[[int, int], None] = os.killpg if with_workers else os.kill
    with subprocess.Popen(command, start_new_session=True) as child:
        while child.poll() is None and num_cases(store) < count:
            time.sleep(POLL_S)
        if child.poll() is not None:
            sys.exit(f"it had ended before it held {count} cases")
        kill(child.pid, signal.SIGKILL)
    print(f"killed with {num_cases(store)} cases in the store", flush=True)


def compare(one: Path, other: Path) -> None:
    ours, theirs = hashes(one), hashes(other)
    apart = sorted(name for name in ours.keys() | theirs if ours.get(name) != theirs.get(name))
    print(f"{len(ours)} files, {len(apart)} of them different or missing: {apart[:5]}")
    sys.exit(bool(apart))


def num_cases(store: Path) -> int:
    return sum(not path.name.startswith(".") for path in store.glob("cases/*"))


def hashes(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): file_hash(path) for path in files}


def cpu_s() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
