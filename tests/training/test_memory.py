"""A step that does not fit into memory is told with what helps; all else passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mass3d.errors import ConfigError
from mass3d.training.memory import lack_of_memory_told


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8 TiB"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes\nframe #0"),
    ],
)
def test_a_lack_of_memory_is_told(error: Exception) -> None:
    with pytest.raises(ConfigError) as caught, lack_of_memory_told(Path("run")):
        raise error
    assert caught.value.where == "run"
    assert "not enough memory" in caught.value.found
    assert "frame" not in caught.value.found
    assert caught.value.setting == "fit.batch_size"


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), lack_of_memory_told(Path("run")):
        raise RuntimeError("a shape that does not fit")
