"""The one policy for work on many cases: what goes wrong with one is told, and the others go on.

An unreadable file, a lack of memory, an error of ours: whatever happens to one case is a fault of
that case, and ends the verb with exit code 1 when the others are done. Two things concern all of
them and stop the run: a place that cannot be written to, and a signal to stop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from mass3d.errors import Interrupted, Mass3dError, OutputError

J = TypeVar("J")
R = TypeVar("R")
Stop = OutputError | Interrupted  # what ends the whole run

# of torch, cuBLAS, cuDNN and oneDNN, whose descriptors are refused for other reasons
LACK_OF_MEMORY: Final = re.compile(
    "can't allocate memory|out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED"
    "|could not create a primitive(?! descriptor)"
)


@dataclass(frozen=True)
class Fault:
    """Something that went wrong with one case or file while the others went on."""

    where: str
    message: str

    @classmethod
    def of(cls, error: Mass3dError) -> Fault:
        """An error of ours without its place, which stands before it in a report."""
        return cls(error.where, f"found {error.found}; expected {error.expected}. {error.fix}")

    def plain(self) -> dict[str, str]:
        """JSON-able values."""
        return asdict(self)


def attempt(
    function: Callable[[J], R], name: str, job: J, *, instead: str = ""
) -> R | Fault | Stop:
    """What `function` returns for a case, the fault it ended with, or what must stop the run.

    instead: what somebody may take who has not enough memory, as the verb has a setting for it.
    """
    try:
        return function(job)
    except (OutputError, Interrupted) as error:  # a full disk is full for the next cases, too
        return error
    except (Mass3dError, OSError) as error:
        return Fault(name, str(error))
    except Exception as error:  # a fault of ours must not cost the cases after it
        if is_lack_of_memory(error):
            told = f" ({first_line(error)})" if str(error) else ""
            other = f", or take {instead}" if instead else ""
            return Fault(name, f"not enough memory{told}; free some{other}")
        return Fault(name, f"unexpected {type(error).__name__}: {error}")


def worker_died(name: str, *, instead: str = "") -> Fault:
    """The fault of a case that no worker came back from. instead: as of `attempt`."""
    died = "its worker process died every time it was tried, most likely for want of memory"
    return Fault(name, f"{died}; take more memory{f' or {instead}' if instead else ''}")


def is_lack_of_memory(error: Exception) -> bool:
    """Whether Python, numpy or torch, on any device, could not get the memory that it asked for."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and LACK_OF_MEMORY.search(str(error)) is not None
    )


def first_line(error: Exception) -> str:
    """Of its text: torch adds where in its own code."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def faults_of(outcomes: Mapping[Any, object]) -> tuple[Fault, ...]:
    """The faults among what became of the cases."""
    return tuple(found for found in outcomes.values() if isinstance(found, Fault))
