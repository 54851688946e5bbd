"""The one choice of a device, and of a single core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mass3d.errors import ConfigError


def choose_device(name: str, *, setting: str = "device", shared: bool = False) -> torch.device:
    """The named device; `auto` takes a GPU where there is one.

    setting: where the name was given. shared: among processes that take a GPU each, none of which
    may hold memory of the first; which of them it is does not count then. Raises `ConfigError`
    where torch has no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if shared and device.type == "cuda" and torch.cuda.is_available():
            return torch.device("cuda")
        torch.zeros(1, device=device).tolist()  # `meta` makes tensors that hold nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            setting,
            found=repr(name),
            expected="auto, cpu, or a device that torch has on this machine",
            fix="Leave it out to take what is there.",
            setting=setting,
        ) from error
    return device


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one core, so that sums come out the same on any number of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
