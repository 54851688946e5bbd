"""What the processor of this machine, or its GPU, computes in."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

import torch

X86: Final = ("x86_64", "AMD64")
CPUINFO: Final = Path("/proc/cpuinfo")


def must_imitate_16_bits() -> bool:
    """Whether this is an x86 processor without AVX512-BF16, where bfloat16 takes hours."""
    return platform.machine() in X86 and not has_16_bits()


def has_16_bits() -> bool:
    """Whether there are instructions for bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def gpu_has_16_bits() -> bool:
    """Whether the GPU of this process has instructions for bfloat16.

    Those before compute capability 8 imitate it, which torch takes for support unless told not to.
    """
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def is_faster_in_16_bits() -> bool:
    """Whether convolutions take less time in bfloat16 than in float32.

    AMD's AVX512-BF16 does twice the work of float32 in a cycle. Intel's does no more than float32
    (a step of `tiny` took 4.3 CPU-s, not 3.1): there only matrix tiles (AMX) pay, which virtual
    machines often hide.
    """
    return has_16_bits() and (torch.cpu._is_amx_tile_supported() or not _is_by_intel())


def _is_by_intel() -> bool:
    told = CPUINFO.read_text() if CPUINFO.exists() else platform.processor()
    return "GenuineIntel" in told
