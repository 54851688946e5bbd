"""What a setting is, in words, read off its field: for help, `configs/` and the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from mass3d.config import Config, toml_value

BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def config_of(verb: str) -> type[Config]:
    """The settings of a verb."""
    kind: type[Config] = getattr(import_module(f"mass3d.apps.{verb}"), f"{verb.capitalize()}Config")
    return kind


def field_of(kind: type[Config], setting: str) -> FieldInfo:
    """The field of a dotted setting."""
    group, _, rest = setting.partition(".")
    field = kind.model_fields[group]
    if not rest:
        return field
    inner = group_of(field.annotation)
    assert inner is not None, f"{setting}: {group} is no group"
    return field_of(inner, rest)


def meaning_of(field: FieldInfo) -> str:
    """What a setting means, on one line."""
    return " ".join((field.description or "").split())


def default_of(field: FieldInfo) -> Any:
    """The default of a setting as JSON knows it; None where it is required or has none."""
    if field.is_required():
        return None
    return plain(field.get_default(call_default_factory=True))


def plain(value: Any) -> Any:
    """A default as JSON and TOML know it."""
    if isinstance(value, Config):
        return value.plain()
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def default_words(field: FieldInfo) -> str:
    """The default as a person would type it; nothing where there is none."""
    value = default_of(field)
    if value is None or value == [] or isinstance(value, bool):
        return ""
    parts = value if isinstance(value, list) else [value]
    return " ".join(str(part) for part in parts)


def allowed_values(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The closed choice or the range of a setting in words; empty where neither is closed."""
    told = _allowed(annotation, metadata)
    return f"Allowed: {told}" if told else ""


def choices_of(annotation: Any) -> list[str]:
    """All words that a setting may be, of which there is a closed choice."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return [str(value) for value in parts]
    return [word for part in parts for word in choices_of(part)]


def is_list(annotation: Any) -> bool:
    """Whether a setting holds any number of values."""
    parts = get_args(annotation)
    if get_origin(annotation) is tuple:
        return parts[-1] is Ellipsis
    return any(is_list(part) for part in parts)


def holds(annotation: Any, kind: type) -> bool:
    """Whether a setting, or each value of a list, may be of a type."""
    return annotation is kind or any(holds(part, kind) for part in get_args(annotation))


def group_of(annotation: Any) -> type[Config] | None:
    """The kind of a setting that is a group, be it optional."""
    for part in (annotation, *get_args(annotation)):
        if get_origin(annotation) is not tuple and _is_config(part):
            kind: type[Config] = part
            return kind
    return None


def entry_of(annotation: Any) -> type[Config] | None:
    """The kind of the entries of a setting that is a list of groups."""
    parts = get_args(annotation)
    if get_origin(annotation) is tuple and parts and _is_config(parts[0]):
        kind: type[Config] = parts[0]
        return kind
    return None


def _is_config(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, Config)


def _allowed(annotation: Any, metadata: Sequence[Any]) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _allowed(parts[0], [*metadata, *parts[1:]])
    if origin is tuple and get_origin(parts[0]) is Literal:
        return _allowed(parts[0], ())
    if origin is Literal:
        return ", ".join(toml_value(value) for value in parts)
    if origin in (Union, UnionType):
        told = [_allowed(part, metadata) for part in parts if part is not NoneType]
        return ", ".join(filter(None, told))
    return " and ".join(_bounds(metadata))


def _bounds(metadata: Sequence[Any]) -> Iterator[str]:
    """The limits of a number in words."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _bounds(item.metadata)
        for name, word in BOUNDS.items():
            limit = getattr(item, name, None)
            if limit is not None:
                yield f"{word} {limit if isinstance(limit, int) else format(limit, 'g')}"
