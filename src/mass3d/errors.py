"""Every error a user can meet, as a small tree.

    Mass3dError
    ├── DataError      a file or a case is not what it should be             exit code 1
    ├── StoreError     a prepared store is foreign, broken or incomplete      exit code 1
    ├── ModelError     a run, checkpoint or task file cannot be trusted       exit code 1
    ├── OutputError    a result cannot be written, as on a full disk          exit code 1
    ├── ConfigError    a setting or a command line is wrong                   exit code 2
    └── Interrupted    a signal asked for the end, and work was saved         exit code 129 to 143

Each names where, what was found, what was expected and what to do about it, and the setting that
is to be changed where there is one. None names an option of the command line: `cli` does that.
"""

from __future__ import annotations

import signal
from pathlib import Path


class Mass3dError(Exception):
    """The root of all errors that mass3d raises on purpose.

    setting: dotted name of the setting to change, such as "output" or "fit.lr".
    """

    exit_code = 1

    def __init__(
        self, where: str | Path, *, found: str, expected: str, fix: str, setting: str = ""
    ) -> None:
        self.where, self.found, self.expected, self.fix = str(where), found, expected, fix
        self.setting = setting
        super().__init__(f"{where}: found {found}; expected {expected}. {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by content, so that an error crosses a process pool intact."""
        return _rebuild, (type(self), self.args, vars(self))


class DataError(Mass3dError):
    """A file or a case is not what it should be."""


class StoreError(Mass3dError):
    """A prepared store is foreign, broken or incomplete."""


class ModelError(Mass3dError):
    """A run, checkpoint or task file is foreign, tampered with or does not fit."""


class OutputError(Mass3dError):
    """A result cannot be written: the disk is full, a limit is reached, or it is not allowed."""


class ConfigError(Mass3dError):
    """A setting or a command line is wrong."""

    exit_code = 2


class Interrupted(Mass3dError):  # noqa: N818 - it is nobody's error
    """A signal (Ctrl-C, SIGTERM, SIGHUP, ...) asked for the end; what was done has been saved.

    number: of the signal; the exit code is 128 more, as shells have it.
    """

    def __init__(
        self,
        where: str | Path,
        *,
        found: str,
        expected: str,
        fix: str,
        setting: str = "",
        number: int = signal.SIGINT,
    ) -> None:
        super().__init__(where, found=found, expected=expected, fix=fix, setting=setting)
        self.number = int(number)
        self.exit_code = 128 + self.number


def install_extra(extra: str) -> str:
    """What to do where an optional part of the installation is missing, for messages."""
    return f"Install the extra {extra!r}: pip install '.[{extra}]' in a checkout of mass3d."


def printable(text: str) -> str:
    """The text without letters that would move the cursor or change colours of a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _rebuild(
    kind: type[Mass3dError], args: tuple[object, ...], state: dict[str, object]
) -> Mass3dError:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error
