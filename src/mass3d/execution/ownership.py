"""Where results may go: never onto or around what was given, never over what is not our own.

One rule for all verbs. The place of a result is new, empty, or holds what the same verb wrote
before; `record.json` says which verb that was. Anything else is refused before any work is done,
with exit code 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open

from mass3d.config import Config
from mass3d.errors import ConfigError, DataError
from mass3d.files import read_json, real

RECORD = "record.json"

C = TypeVar("C", bound=Config)


def require_own_folder(folder: Path, verb: str, *, inputs: Iterable[Path | None] = ()) -> None:
    """Raise `ConfigError` unless `folder` may take the results of `verb`.

    It must lie apart from the inputs (`require_apart`), and be new, empty, or the folder of
    earlier results of the same verb. Hidden files in it do not count.
    """
    require_apart(folder, inputs)
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise _not_own(folder, "a file")
    strange = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if not strange:
        return
    written_by = _verb_of(folder)
    if written_by is None:
        raise _not_own(folder, f"a folder with other files ({strange[0]})")
    if written_by != verb:
        raise _not_own(folder, f"the results of mass3d {written_by}")


def require_own_file(file: Path, kind: str, *, inputs: Iterable[Path | None] = ()) -> None:
    """Raise `ConfigError` unless `file` may become a file of ours of this kind, such as a task.

    It must be no input and hold none, and be new or a file of the same kind.
    """
    require_apart(file, inputs)
    if not file.exists() and not file.is_symlink():
        return
    if not file.is_file() or _kind_of(file) != kind:
        found = "a folder" if file.is_dir() else f"a file that is not a mass3d {kind} file"
        raise ConfigError(
            file,
            found=found,
            expected=f"a new file, or a {kind} file to replace",
            fix="Choose another name for the output.",
            setting="output",
        )


def require_apart(output: Path, inputs: Iterable[Path | None]) -> None:
    """Raise `ConfigError` when the output is one of the inputs, or a folder around one."""
    place = real(output)
    for given in inputs:
        if given is None:
            continue
        source = real(given)
        if place == source or place in source.parents or _same(output, given):
            how = "which is also an input" if place == source else f"which holds the input {given}"
            raise ConfigError(
                "output",
                found=f"{output}, {how}",
                expected="a place of its own for the results",
                fix="Choose another output.",
                setting="output",
            )


def record_of(task: Path) -> Path:
    """The folder beside a task file that holds its record, of `ct.liver` not that of `ct.aorta`."""
    return task.with_name(f"{task.name.removesuffix('.task')}.task-record")


def earlier_record(folder: Path) -> dict[str, Any]:
    """The record of earlier results in the folder; empty where there is none to be read."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def read_list(kind: type[C], file: Path, *, of: str, verb: str, remove: str) -> C:
    """The list by which a verb goes on in a folder. Raises `DataError` for a damaged one.

    of: what is listed; remove: what somebody who goes on must remove, in words.
    """
    try:
        return kind.model_validate(read_json(file))
    except (OSError, ValueError) as error:  # pydantic's errors are ValueErrors
        raise DataError(
            file,
            found=f"a damaged list of {of}",
            expected=f"the list that mass3d {verb} wrote",
            fix=f"Remove {remove}, or choose another output.",
        ) from error


def require_same_settings(
    folder: Path, what: str, found: Config, wanted: Config, *, maker: str, other: str
) -> None:
    """Raise `ConfigError` when a folder lists results of other settings than these.

    what: the results in a word; maker: the field that says what made them, told as `other` where it
    differs. The list of `cases` is no setting.
    """
    if getattr(found, maker) != getattr(wanted, maker):
        raise _other_results(folder, other, f"{what} of this one")
    for name in type(wanted).model_fields:
        if name in (maker, "cases"):
            continue
        old, new = getattr(found, name), getattr(wanted, name)
        if old != new:
            raise _other_results(folder, f"{what} with {name} = {old}", f"{what} of {name} = {new}")


def _other_results(folder: Path, found: str, expected: str) -> ConfigError:
    return ConfigError(
        folder,
        found=found,
        expected=f"an empty folder, or {expected}",
        fix="Choose another output.",
        setting="output",
    )


def _same(output: Path, given: Path) -> bool:
    """Whether both are one file, as hard links are."""
    try:
        return output.samefile(given)
    except OSError:
        return False


def _verb_of(folder: Path) -> str | None:
    """The verb whose results the folder holds; None where it is not ours."""
    record = earlier_record(folder)
    verb = record.get("verb") if "mass3d" in record else None
    return verb if isinstance(verb, str) else None


def _kind_of(file: Path) -> str | None:
    """What kind of file of ours this is, by its header; None for all else."""
    try:
        with safe_open(file, framework="np") as stream:
            header = json.loads((stream.metadata() or {})["mass3d"])
        return str(header["kind"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _not_own(folder: Path, found: str) -> ConfigError:
    return ConfigError(
        folder,
        found=found,
        expected="a new or empty folder, or earlier results of the same command",
        fix="Choose another output.",
        setting="output",
    )
