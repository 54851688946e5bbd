"""What is said when a step does not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mass3d.errors import ConfigError
from mass3d.execution.faults import first_line, is_lack_of_memory


@contextmanager
def lack_of_memory_told(run: Path) -> Iterator[None]:
    """Turn a lack of memory, of the machine or of its GPU, into a `ConfigError` with what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        raise ConfigError(
            run,
            found=f"not enough memory for a step ({first_line(error)})",
            expected="crops, masks and batches that fit",
            fix="Take smaller crops, fewer masks or a smaller batch; more batches whose gradients "
            "are averaged (fit.accumulate) make up for the last.",
            setting="fit.batch_size",
        ) from error
