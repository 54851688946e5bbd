"""The rows of a run as event files of TensorBoard, beside metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mass3d.errors import ConfigError, install_extra

EVENTS: Final = "tensorboard"  # folder of the run
LIBRARY: Final = "tensorboard"


def require_tensorboard() -> None:
    """Raise `ConfigError` where it is not installed."""
    if find_spec(LIBRARY) is None:
        raise ConfigError(
            "tensorboard",
            found="no package tensorboard",
            expected="it, as event files are asked for",
            fix=install_extra("tensorboard"),
            setting="tensorboard",
        )


class EventWriter:
    """Writes numbers of steps. Raises `ConfigError` where TensorBoard is not installed.

    What earlier files hold of steps after `begin`, which a run that was killed takes again, is
    not shown any more.
    """

    def __init__(self, run: Path, *, begin: int) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # an extra

        self._writer = SummaryWriter(str(run / EVENTS), purge_step=begin + 1)

    def write(self, step: int, numbers: Mapping[str, float | None]) -> None:
        """Write what is known of the numbers after a step; it can be looked at from then on."""
        for name, value in numbers.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()
