"""Every error a user can meet, as a small tree.

    Mass3dError
    ├── DataError      a file or a case is not what it should be             exit code 1
    ├── StoreError     a prepared store is foreign, broken or incomplete      exit code 1
    ├── ModelError     a run, checkpoint or task file cannot be trusted       exit code 1
    ├── OutputError    a result cannot be written, as on a full disk          exit code 1
    └── ConfigError    a setting or a command line is wrong                   exit code 2

Each names where, what was found, what was expected and what to do about it.
"""

from __future__ import annotations

from pathlib import Path


class Mass3dError(Exception):
    """The root of all errors that mass3d raises on purpose."""

    exit_code = 1

    def __init__(self, where: str | Path, *, found: str, expected: str, fix: str) -> None:
        self.where, self.found, self.expected, self.fix = str(where), found, expected, fix
        super().__init__(f"{where}: found {found}; expected {expected}. {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by keyword, so that an error crosses a process pool intact."""
        return _rebuild, (type(self), self.where, self.found, self.expected, self.fix)


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


def _rebuild(
    kind: type[Mass3dError], where: str, found: str, expected: str, fix: str
) -> Mass3dError:
    return kind(where, found=found, expected=expected, fix=fix)
