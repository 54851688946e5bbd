"""Settings: frozen pydantic models, TOML file < `--set key=value`, unknown keys refused."""

from __future__ import annotations

import difflib
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeVar, get_args

import tomlkit
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mass3d.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails
    from tomlkit.items import Item, Table
    from tomlkit.toml_document import TOMLDocument

UNKNOWN: Final = "extra_forbidden"  # pydantic's names of faults
MISSING: Final = "missing"
MAX_LABEL_VALUE: Final = 65535  # label maps are 16 bits
LONGEST_FOUND = 200  # letters of a wrong value in a message


class Config(BaseModel):
    """A frozen group of settings; each setting has one default, one check, one owner."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-able values, for records and fingerprints."""
        return self.model_dump(mode="json")

    def following(self) -> dict[str, Any]:
        """Of the `plain` settings those, in their groups, that follow from others, as a preset."""
        return {}


C = TypeVar("C", bound=Config)

Paths = Annotated[
    tuple[Path, ...],
    BeforeValidator(lambda given: (given,) if isinstance(given, str | Path) else given),
    Field(min_length=1),
]
"""One path or several."""

STRUCTURES_ONCE: Final = "every label value once, for one structure"


def _each_value_once(structures: dict[str, int]) -> dict[str, int]:
    if len(set(structures.values())) < len(structures):
        raise ValueError(STRUCTURES_ONCE)
    return structures


def _each_region_once(
    structures: dict[str, int | tuple[int, ...]],
) -> dict[str, int | tuple[int, ...]]:
    """A region of one value is that value."""
    single = {
        name: some[0] if isinstance(some, tuple) and len(set(some)) == 1 else some
        for name, some in structures.items()
    }
    if len(set(single.values())) < len(single):
        raise ValueError(STRUCTURES_ONCE)
    return single


# Settings that several verbs share: what they mean, and what may be written, stands here once.
Workers = Annotated[
    Annotated[int, Field(ge=1)] | None,
    Field(
        description="Number of worker processes; default: as many as cores and memory allow, or "
        "none for small jobs. 1: no extra process.",
        examples=[4],
    ),
]
Scans = Annotated[
    tuple[Path, ...],
    Field(
        min_length=1,
        description="Scans, folders of scans, or .zip archives of DICOM.",
        examples=[["scans"]],
    ),
]
Value = Annotated[int, Field(gt=0, le=MAX_LABEL_VALUE)]
Structures = Annotated[
    Annotated[
        dict[str, Value],
        Field(min_length=1),
        AfterValidator(_each_value_once),
    ]
    | None,
    Field(examples=[{"liver": 1, "spleen": 3}]),
]
Regions = Annotated[
    Annotated[
        dict[str, Value | Annotated[tuple[Value, ...], Field(min_length=1)]],
        Field(min_length=1),
        AfterValidator(_each_region_once),
    ]
    | None,
    Field(examples=[{"liver": 1, "spleen": 3}]),
]
"""As `Structures`, or with regions of several values."""
CssColour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Scheduler = Annotated[
    str | None,
    Field(
        description="Address of a running dask scheduler; its workers are used instead of local "
        "processes.",
        examples=["tcp://node1:8786"],
    ),
]
Device = Annotated[
    str,
    Field(
        description="Device to compute on: `cpu`, `cuda`, `cuda:1`, ...; `auto`: a CUDA device if "
        "there is one."
    ),
]
LabelMaps = Annotated[
    bool,
    Field(
        description="Accept scans that look like label maps (at most 16 different values, all "
        "integers), too."
    ),
]
Seed = Annotated[
    int,
    Field(
        ge=0,
        le=2**32 - 1,
        description="Seed of all random choices; the same seed gives the same result.",
    ),
]


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
                "assignment", found=repr(assignment), expected="key=value", fix="Add the value."
            )
        _put(values, key.strip(), _read_value(text.strip()))
    for key, value in (flags or {}).items():
        if value is not None:
            _put(values, key, value)
    return build(kind, values)


def build(kind: type[C], values: dict[str, Any]) -> C:
    """Validate `values`. Raises `ConfigError`; for an unknown key it names the closest one."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _refusal(kind, values, error.errors()) from error


class FirstFault(NamedTuple):
    """What pydantic does not like first."""

    key: str  # dotted; empty where it is the whole
    found: Any
    message: str


def first_fault(error: ValidationError) -> FirstFault:
    """Of facts in a file; faults of settings are told by `build`."""
    first = error.errors()[0]
    return FirstFault(".".join(map(str, first["loc"])), first["input"], first["msg"])


def _refusal(
    kind: type[Config], values: Mapping[str, Any], faults: Sequence[ErrorDetails]
) -> ConfigError:
    """The first fault in words; an unknown key goes first, as it may be why another is missing."""
    first = next((fault for fault in faults if fault["type"] == UNKNOWN), faults[0])
    name = _name(values, first)
    if first["type"] == UNKNOWN:
        return _unknown(kind, name)
    if first["type"] == MISSING:
        field = _fields(kind).get(_without_numbers(name))
        meaning = " ".join((field.description or "").split()) if field else ""
        return ConfigError(
            f"setting {name!r}",
            found="no value",
            expected=f"one ({meaning.rstrip('.')})" if meaning else "one",
            fix="Give it a value." if name == _without_numbers(name) else "Complete the value.",
            setting=name,
        )
    branches = [fault for fault in faults if _name(values, fault) == name]
    return ConfigError(
        f"setting {name!r}" if name else "settings",
        found=textwrap.shorten(repr(first["input"]), LONGEST_FOUND),
        expected=" or ".join(dict.fromkeys(map(_in_words, branches))),
        fix="Correct the value.",
        setting=name,
    )


def _name(values: Mapping[str, Any], fault: ErrorDetails) -> str:
    """The dotted key that a fault is about; pydantic also counts the branches of a union."""
    parts: list[str] = []
    at: Any = values
    for part in fault["loc"]:
        if isinstance(part, int):
            at = at[part] if isinstance(at, Sequence) and part < len(at) else None
        elif isinstance(at, Mapping) and part in at:
            at = at[part]
        elif fault["type"] != MISSING or part != fault["loc"][-1]:
            continue
        parts.append(str(part))
    return ".".join(parts)


def _unknown(kind: type[Config], name: str) -> ConfigError:
    """The error that names the keys beside an unknown one, and the closest of all."""
    known = _fields(kind)
    plain = _without_numbers(name)
    group = plain.rpartition(".")[0]
    beside = [key for key in known if key.rpartition(".")[0] == group]
    close = max(known, key=lambda key: _likeness(key, plain))
    return ConfigError(
        f"setting {name!r}",
        found="an unknown key",
        expected=f"one of {', '.join(sorted(beside))}",
        fix=f"Did you mean {close!r}?",
    )


def _likeness(known: str, given: str) -> tuple[float, float]:
    """How alike two keys are, by their last words before anything else."""
    last, whole = (
        difflib.SequenceMatcher(None, a, b).ratio()
        for a, b in ((known.rpartition(".")[2], given.rpartition(".")[2]), (known, given))
    )
    return last, whole


def _in_words(fault: ErrorDetails) -> str:
    """What pydantic expected, without its phrases."""
    text = re.sub(r"^(Input should be|Input is|Value error,|\w+ should have) ", "", fault["msg"])
    text = re.sub(r"(, unable to| after validation| or instance of| for <class).*", "", text)
    return text[0].lower() + text[1:]


def _fields(kind: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every setting by its dotted key: groups, what is in them, and in the entries of lists."""
    found: dict[str, FieldInfo] = {}
    for name, field in kind.model_fields.items():
        found[prefix + name] = field
        for group in _groups(field.annotation):
            found |= _fields(group, f"{prefix}{name}.")
    return found


def _groups(annotation: Any) -> Iterator[type[BaseModel]]:
    """The groups of settings within a type, such as an optional one or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _groups(part)


def _without_numbers(name: str) -> str:
    return ".".join(part for part in name.split(".") if not part.isdigit())


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(
            file,
            found=f"no readable file ({error.strerror})",
            expected="a TOML file",
            fix="Check the path of the file of settings.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            file, found=f"invalid TOML ({error})", expected="a TOML file", fix="Correct the file."
        ) from error


def _read_value(text: str) -> Any:
    """A TOML value, or the text itself; no setting is a date, but a folder may be called so."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if isinstance(value, date | time) else value


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a dotted key. Raises `ConfigError` where a group on the way is a single value."""
    *groups, last = dotted.split(".")
    for group in groups:
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"setting {dotted!r}",
                found=f"{group} = {inner!r} before it",
                expected=f"{group} as a group of settings",
                fix=f"Leave {group} = {inner!r} out.",
                setting=dotted,
            )
        values = inner
    values[last] = value


FOLLOWING: Final = (
    "What stands behind a # follows from other settings, such as the preset.",
    "Without the # it stays as it is, whatever the others are.",
)


def to_toml(config: Config, *, following: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The settings as TOML that `--config` reads back; those that are None are left out.

    following: settings that follow from others, in their groups; they become comments, so that who
    reads the file with another preset is not held to the numbers of this one.
    """
    document = tomlkit.document()
    for line in FOLLOWING if _flat(following) else ():
        document.add(tomlkit.comment(line))
    _fill(document, config.plain(), following)
    return tomlkit.dumps(document)


def toml_value(value: Any) -> str:
    """A JSON-able value as TOML on one line; groups become inline tables."""
    return _item(value).as_string()


def toml_key(key: str) -> str:
    """A key, in quotes where TOML wants them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def _fill(
    table: Table | TOMLDocument, values: Mapping[str, Any], following: Mapping[str, Any]
) -> None:
    """Plain settings first, then every group under a heading of its own."""
    for key, value in values.items():
        if value is None or isinstance(value, dict):
            continue
        if key in following:
            table.add(tomlkit.comment(f"{toml_key(key)} = {toml_value(value)}"))
        else:
            table.add(key, _item(value))
    for key, value in values.items():
        if isinstance(value, dict):
            group = tomlkit.table()
            _fill(group, value, following.get(key, {}))
            table.add(key, group)


def _item(value: Any) -> Item:
    """A value within a line; what is None in a group is left out."""
    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        inline.update({key: _item(part) for key, part in value.items() if part is not None})
        return inline
    if isinstance(value, list):
        array = tomlkit.array()
        for part in value:
            array.append(_item(part))
        return array
    item: Item = tomlkit.item(value)
    return item


def merged(usual: Mapping[str, Any], given: Any) -> Any:
    """What is given over what is usual, setting by setting."""
    if isinstance(given, Config):
        given = given.model_dump(exclude_unset=True)
    if not isinstance(given, dict):
        return given  # refused for what it is
    below = {
        name: merged(usual[name], given[name]) if isinstance(usual.get(name), dict) else given[name]
        for name in given
    }
    return {**usual, **below}


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> list[tuple[str, object, object]]:
    """Dotted names of the settings that differ between two nested groups, with both values.

    None stands for a setting that a group does not have.
    """
    mine, other = _flat(ours), _flat(theirs)
    keys = sorted(mine.keys() | other.keys())
    return [(k, mine.get(k), other.get(k)) for k in keys if mine.get(k) != other.get(k)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
