"""A step that does not fit into memory is told with what helps; all else passes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mass3d.errors import ConfigError
from mass3d.training.memory import StepSize, lack_of_memory_told, memory_in_words, peak_bytes

SIZE = StepSize(4, 2, (32, 48, 48))
CPU = torch.device("cpu")


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
    with pytest.raises(ConfigError) as caught, lack_of_memory_told(Path("run"), SIZE):
        raise error
    assert caught.value.where == "run"
    assert "not enough memory" in caught.value.found
    assert "frame" not in caught.value.found
    assert caught.value.setting == "fit.batch_size"


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), lack_of_memory_told(Path("run"), SIZE):
        raise RuntimeError("a shape that does not fit")


@pytest.mark.parametrize(
    ("size", "setting", "told"),
    [
        (SIZE, "fit.batch_size", r"fit.batch_size to 2 \(now 4\) and fit.accumulate to 4: "),
        (
            StepSize(5, 1, ()),
            "fit.batch_size",
            r"to 2 \(now 5\) and fit.accumulate to 3: .*_vox, or",
        ),
        (StepSize(1, 1, (32, 48, 48)), "views.crop_vox", r"Take .*_vox \(now \[32, 48, 48\]\)"),
    ],
)
def test_what_is_to_be_lowered_is_told_with_its_value(
    size: StepSize, setting: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught, lack_of_memory_told(Path("run"), size):
        raise MemoryError
    assert caught.value.setting == setting


def test_the_peak_of_a_process_holds_what_it_took() -> None:
    begun = peak_bytes(CPU)
    taken = np.ones(begun // 8 + 2**23)  # 64 MiB more than ever before
    assert peak_bytes(CPU) > begun + 2**25
    assert len(taken)
    told = re.fullmatch(
        r"([\d.]+) GiB of the machine at the peak so far, ([\d.]+) GiB are free",
        memory_in_words(CPU),
    )
    assert told
    assert float(told[1]) == pytest.approx(peak_bytes(CPU) / 2**30, abs=0.06)
