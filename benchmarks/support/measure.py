"""What the benchmarks share: clocks, and lines to paste into RESULTS.md."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

HEAD = (
    "| date | machine | command | what | mass3d | plain alternative | ratio | budget |\n"
    "|---|---|---|---|--:|--:|--:|---|"
)
BUSY = 0.1  # share of the cores taken by other work from which on times are doubtful
OF_TIME = (  # units that a load changes
    "s",
    "CPU-s",
    "CPU-s per Mvoxel and layer",
    "samples/s",
    "% of the peak",
    "% of the time",
    "",
)


@dataclass(frozen=True)
class Row:
    """One measured number, with the plain alternative beside it where there is one."""

    what: str
    ours: float
    unit: str
    plain: float | None = None
    against: str = ""  # what the plain alternative is
    budget: str = ""
    limit: float | None = None  # the budget as a number, where it is a time of ours

    def holds(self, *, busy: bool) -> bool:
        """Whether the number means something: beside other work, a time alone does not.

        A ratio does, where both sides were measured in turns (`side_by_side`), and so do bytes.
        Other work makes a time longer, so that one within its limit shows that the budget is kept.
        """
        kept = self.limit is not None and self.ours <= self.limit
        return not busy or kept or self.plain is not None or self.unit not in OF_TIME

    def cells(self) -> list[str]:
        """As cells of the table; the ratio says how many times less we need."""
        if self.plain is None:
            return [self.what, f"{self.ours:.3g} {self.unit}", "", "", self.budget]
        plain = f"{self.plain:.3g} {self.unit} ({self.against})"
        ratio = f"{self.plain / self.ours:.3g}" if self.ours else ""
        return [self.what, f"{self.ours:.3g} {self.unit}", plain, ratio, self.budget]


def cpu_seconds(work: Callable[[], object], *, repeats: int = 3) -> float:
    """CPU seconds of all threads of this process, the least of some repetitions after one more."""
    work()
    return min(_timed(work, time.process_time) for _ in range(repeats))


def side_by_side(
    works: Mapping[str, Callable[[], object]], *, repeats: int = 3
) -> dict[str, float]:
    """Median CPU seconds of each work, after one more run of each.

    The works take turns, so that whatever else the machine does hits all of them alike.
    """
    for work in works.values():
        work()
    rounds = [
        {name: _timed(work, time.process_time) for name, work in works.items()}
        for _ in range(repeats)
    ]
    return {name: statistics.median(taken[name] for taken in rounds) for name in works}


def _timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    work()
    return clock() - begin


class Cost(NamedTuple):
    """What one run of some work took."""

    cpu_s: float
    wall_s: float
    gib: float


def cost(work: Callable[[], object]) -> Cost:
    """Time and memory (see `memory_gib`) of a single run, for work that is long."""
    cpu, wall = time.process_time(), time.perf_counter()
    gib = memory_gib(work)
    return Cost(time.process_time() - cpu, time.perf_counter() - wall, gib)


def memory_gib(work: Callable[[], object]) -> float:
    """The most memory above that held before, while `work` runs once. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peaks of the past
    before = _held("VmRSS")
    work()
    return (_held("VmHWM") - before) / 2**20


def _held(name: str) -> int:
    """Kilobytes of one row of the kernel's table of this process."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(f"{name}:"))


def bytes_of(*paths: Path) -> int:
    """Bytes of files."""
    return sum(path.stat().st_size for path in paths)


def main(script: str, measure: Callable[[bool], Sequence[Row]]) -> None:
    """Measure and print the lines that hold; `--small` only shows quickly that a script works."""
    small = options().parse_args().small
    report(script, ["--small"] if small else [], lambda: measure(small), doubtful=small)


def options() -> argparse.ArgumentParser:
    """What every script can be given."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--small", action="store_true", help="tiny sizes, numbers without meaning")
    return parser


def report(
    script: str,
    given: Sequence[str],
    measure: Callable[[], Sequence[Row]],
    *,
    doubtful: bool = False,
    card: str = "",
) -> None:
    """Measure and print the lines.

    given: options that the lines name. doubtful: print those of a busy machine, too. card: the
    name of the GPU, if there is one.
    """
    command = f"`{' '.join(['python', f'benchmarks/{Path(script).name}', *given])}`"
    clock = Others()
    rows, others = measure(), clock.share()
    where = [today(), machine(others, card), command]
    kept = [row for row in rows if doubtful or row.holds(busy=others > BUSY)]
    print(HEAD)
    for row in kept:
        print("| " + " | ".join([*where, *row.cells()]) + " |")
    if len(kept) < len(rows):
        print(
            f"\n{len(rows) - len(kept)} times left out: other work took {others:.0%} of the cores."
        )


def today() -> str:
    """The date of a line."""
    return datetime.now(UTC).date().isoformat()


def machine(others: float, card: str = "") -> str:
    """What a line is measured on, and what of it holds beside this share of other work."""
    state = "busy: the ratio holds, a time is at most this" if others > BUSY else "calm"
    return f"{cores()} of {os.cpu_count()} cores, {processor()}, {card or 'CPU only'}, {state}"


class Others:
    """How much of all cores other processes take, from its making on. Linux only."""

    def __init__(self) -> None:
        self.begin = self._read()

    def share(self) -> float:
        """Between 0 and 1."""
        (wall, ours, all_of_them), now = self.begin, self._read()
        theirs = (now[2] - all_of_them) - (now[1] - ours)
        cpus = os.cpu_count() or 1
        return min(1.0, max(0.0, theirs / max(1e-9, (now[0] - wall) * cpus)))

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """Seconds: on the clock, of CPU by this process and its children, of CPU by all."""
        user, nice, system, _, _, irq, soft, steal = map(
            int, Path("/proc/stat").read_text().split()[1:9]
        )
        ticks = user + nice + system + irq + soft + steal
        return time.monotonic(), sum(os.times()[:4]), ticks / os.sysconf("SC_CLK_TCK")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """The name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
