"""In which numbers a processor is faster."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from mass3d.training import processor
from mass3d.training.processor import is_faster_in_16_bits

INTEL = "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Processor\n"
AMD = "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n"


class Made(NamedTuple):
    """A processor."""

    told: str  # by /proc/cpuinfo
    dots: bool  # AVX512-BF16
    tiles: bool  # AMX


def pretend(made: Made, cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: made.dots)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: made.tiles)
    monkeypatch.setattr(processor, "CPUINFO", cpuinfo)


@pytest.mark.parametrize(
    ("made", "faster"),
    [
        (Made(AMD, dots=True, tiles=False), True),
        (Made(AMD, dots=False, tiles=False), False),
        (Made(INTEL, dots=True, tiles=True), True),
        (Made(INTEL, dots=True, tiles=False), False),  # a virtual machine that hides tiles
        (Made(INTEL, dots=False, tiles=False), False),
    ],
)
def test_16_bits_are_faster_where_a_cycle_does_more_of_them(
    made: Made, faster: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(made.told)
    pretend(made, cpuinfo, monkeypatch)
    assert is_faster_in_16_bits() is faster


@pytest.mark.parametrize(
    ("told", "faster"),
    [("Intel64 Family 6 Model 143 Stepping 8, GenuineIntel", False), ("AMD64, AuthenticAMD", True)],
)
def test_without_cpuinfo_the_platform_says_who_made_it(
    told: str, faster: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(Made("", dots=True, tiles=False), tmp_path / "none", monkeypatch)
    monkeypatch.setattr(platform, "processor", lambda: told)
    assert is_faster_in_16_bits() is faster
