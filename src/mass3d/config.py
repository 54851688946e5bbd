"""Settings: frozen pydantic models, TOML file < `--set key=value`, unknown keys refused."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mass3d.errors import ConfigError


class Config(BaseModel):
    """A frozen group of settings; each setting has one default, one check, one owner."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-able values, for records and fingerprints."""
        return self.model_dump(mode="json")


C = TypeVar("C", bound=Config)


def resolve(
    kind: type[C],
    *,
    file: Path | None = None,
    assignments: Sequence[str] = (),
    flags: dict[str, Any] | None = None,
) -> C:
    """Build `kind` from a TOML file, then `key=value` assignments, then command-line flags.

    Keys may be dotted (`selection.min_mm3=200`). Values are read as TOML values and, failing
    that, as plain strings. `flags` whose value is None are ignored. Raises `ConfigError`.
    """
    values: dict[str, Any] = _read_toml(file) if file else {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                "--set", found=repr(assignment), expected="key=value", fix="Write --set key=value."
            )
        _put(values, key.strip(), _read_value(text.strip()))
    for key, value in (flags or {}).items():
        if value is not None:
            _put(values, key, value)
    return build(kind, values)


def build(kind: type[C], values: dict[str, Any]) -> C:
    """Validate `values`; an unknown key is an error that names the closest one."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = sorted(_keys(kind))
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            hint = f"Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"setting {key!r}",
                found="an unknown key",
                expected=f"one of {', '.join(known)}",
                fix=hint,
            ) from error
        raise ConfigError(
            f"setting {key!r}",
            found=repr(first.get("input")),
            expected=first["msg"][0].lower() + first["msg"][1:],
            fix="Correct the value.",
        ) from error


def _keys(kind: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in kind.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found |= _keys(annotation, f"{prefix}{name}.")
        else:
            found.add(prefix + name)
    return found


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(
            file,
            found="no readable file",
            expected="a TOML file",
            fix="Check the path after --config.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            file, found=f"invalid TOML ({error})", expected="a TOML file", fix="Correct the file."
        ) from error


def _read_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *groups, last = dotted.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[last] = value


def to_toml(config: Config) -> str:
    """The settings as TOML that `--config` reads back; those that are None are left out."""
    return "\n".join(_table(config.plain())).strip() + "\n"


def toml_value(value: Any) -> str:
    """A JSON-able value as TOML on one line; groups become inline tables."""
    if isinstance(value, dict):
        entries = (f"{toml_key(k)} = {toml_value(v)}" for k, v in value.items() if v is not None)
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_key(key: str) -> str:
    """A key, in quotes where TOML wants them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def _table(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Lines of one table: plain settings first, then every group under a heading of its own."""
    for key, value in values.items():
        if value is not None and not isinstance(value, dict):
            yield f"{toml_key(key)} = {toml_value(value)}"
    for key, value in values.items():
        if isinstance(value, dict):
            yield f"\n[{prefix}{toml_key(key)}]"
            yield from _table(value, f"{prefix}{toml_key(key)}.")
