"""Write configs/<verb>.toml: every setting of every verb with its default and what it means.

`--check` writes nothing and exits 1 when a file is not what it would write. Settings without a
default stand as examples behind a `#` without a space; other comments have a space after it.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from mass3d import cli
from mass3d.config import Config, toml_key, toml_value

FOLDER = Path(__file__).resolve().parent.parent / "configs"
WIDTH = 100
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
# What a user may write for settings that have no default, by setting or by verb and setting.
EXAMPLES: dict[str, Any] = {
    "inputs": ["scans"],
    "store": "store",
    "workers": 4,
    "scheduler": "tcp://node1:8786",
    "prepare.output": "store",
    "pretrain.output": "run",
    "views.crop_vox": [48, 64, 64],
    "task.images": ["a.nii.gz", "b.nii.gz"],
    "task.labels": ["a_label.nii.gz", "b_label.nii.gz"],
    "task.model": "run",
    "task.output": "liver.task",
    "structures": {"liver": 1},
    "segment.task": "liver.task",
    "segment.output": "found",
    "segment.model": "run",
    "evaluate.predictions": "found",
    "evaluate.labels": "labels",
    "evaluate.output": "scores",
    "inspect.output": "inspected",
    "masks.labels": "labelsTr",
    "masks.output": "quality",
    "masks.sam2.checkpoint": "facebook/sam2.1-hiera-tiny",
    "extract.input": "store",
    "extract.output": "extracted",
    "demo.data": "Dataset001_Liver",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check all files; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 when a file is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files lie")
    chosen = parser.parse_args(argv)
    stale = []
    for verb in verbs():
        path, text = chosen.folder / f"{verb}.toml", render(verb)
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(path.name)
        if not chosen.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        told = "stale, run tools/write_configs.py" if chosen.check else "written"
        sys.stdout.write(f"{', '.join(stale)}: {told}\n")
    return 1 if stale and chosen.check else 0


def verbs() -> list[str]:
    """The verbs of the command line, in its order."""
    found = [command.callback for command in cli.app.registered_commands]
    return [callback.__name__ for callback in found if callback is not None]


def config_of(verb: str) -> type[Config]:
    """The settings of a verb."""
    kind: type[Config] = getattr(import_module(f"mass3d.apps.{verb}"), f"{verb.capitalize()}Config")
    return kind


def render(verb: str) -> str:
    """The file of one verb."""
    head = [
        f"# All settings of `mass3d {verb}`, with their defaults; use it as",
        f"#     mass3d {verb} --config {verb}.toml",
        "# A line that begins with # and no space is an example; without it the setting",
        "# is None, or missing where it is required.",
        "# Written by tools/write_configs.py from the settings themselves.",
    ]
    writer = Writer(verb)
    return "\n".join([*head, *writer.group(config_of(verb))]) + "\n"


class Writer:
    """Writes the settings of one verb; an entry of a list is explained once per file."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.explained: set[type[Config]] = set()

    def group(
        self, kind: type[Config], default: Config | None = None, prefix: str = ""
    ) -> Iterator[str]:
        """Plain settings of a group, then the groups in it, each under its heading."""
        groups = {n: g for n, f in kind.model_fields.items() if (g := group_of(f.annotation))}
        for name, field in kind.model_fields.items():
            if name not in groups:
                value = default_of(field) if default is None else getattr(default, name)
                yield from self.setting(f"{prefix}{name}", field, plain(value))
        for name, inner in groups.items():
            field = kind.model_fields[name]
            value = default_of(field) if default is None else getattr(default, name)
            absent = value is None
            lines = [
                "",
                *wrapped(field.description or ""),
                f"[{prefix}{name}]",
                *self.group(inner, inner() if absent else value, f"{prefix}{name}."),
            ]
            yield from commented(lines) if absent else lines

    def setting(self, path: str, field: FieldInfo, value: Any) -> Iterator[str]:
        """Comment and line of one setting; an example where there is no default."""
        yield ""
        required = "Required." if field.is_required() else ""
        yield from wrapped(f"{field.description or ''} {required}")
        yield from wrapped(allowed_values(field.annotation, field.metadata))
        entry = entry_of(field.annotation)
        if entry and entry not in self.explained:
            self.explained.add(entry)
            yield from explained(entry)
        key = toml_key(path.rpartition(".")[2])
        if value is None:
            yield from commented([f"{key} = {pretty(self.example(path))}"])
        else:
            yield f"{key} = {pretty(value)}"

    def example(self, path: str) -> Any:
        """What a user may write for a setting without a default."""
        for key in (f"{self.verb}.{path}", path):
            if key in EXAMPLES:
                return EXAMPLES[key]
        raise KeyError(f"{self.verb}.{path} has no default: add an example to EXAMPLES")


def default_of(field: FieldInfo) -> Any:
    """The default of a setting; None where it is required."""
    return None if field.is_required() else field.get_default(call_default_factory=True)


def plain(value: Any) -> Any:
    """A default as TOML knows it."""
    if isinstance(value, Config):
        return value.plain()
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def pretty(value: Any) -> str:
    """A value as TOML; groups in a list stand on lines of their own."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join(["[", *(f"    {toml_value(entry)}," for entry in value), "]"])
    return toml_value(value)


def commented(lines: Sequence[str]) -> Iterator[str]:
    """Settings as examples; comments and empty lines stay what they are."""
    for line in "\n".join(lines).splitlines():
        yield line if not line or line.startswith("#") else f"#{line}"


def wrapped(text: str, mark: str = "") -> list[str]:
    """A comment of as many lines as it needs, none for an empty text; `mark` begins the first."""
    rest = " " * len(mark)
    return textwrap.wrap(text, WIDTH, initial_indent=f"# {mark}", subsequent_indent=f"# {rest}")


def explained(entry: type[Config]) -> Iterator[str]:
    """What each entry of a list of groups holds."""
    for name, field in entry.model_fields.items():
        yield from wrapped(f"{name}: {field.description or ''}", "- ")
        yield from wrapped(allowed_values(field.annotation, field.metadata), "  ")


def allowed_values(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The closed choice or the range of a setting in words; empty where neither is closed."""
    told = allowed(annotation, metadata)
    return f"Allowed: {told}" if told else ""


def allowed(annotation: Any, metadata: Sequence[Any]) -> str:
    """What a type and the checks beside it allow, in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return allowed(parts[0], parts[1:])
    if origin is tuple and get_origin(parts[0]) is Literal:
        return allowed(parts[0], ())
    if origin is Literal:
        return ", ".join(toml_value(value) for value in parts)
    if origin in (Union, UnionType):
        told = [allowed(part, metadata) for part in parts if part is not NoneType]
        return ", ".join(filter(None, told))
    return " and ".join(bounds(metadata))


def bounds(metadata: Sequence[Any]) -> Iterator[str]:
    """The limits of a number in words."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from bounds(item.metadata)
        for name, word in BOUNDS.items():
            if getattr(item, name, None) is not None:
                yield f"{word} {getattr(item, name):g}"


def group_of(annotation: Any) -> type[Config] | None:
    """The kind of a setting that is a group, be it optional."""
    for part in (annotation, *get_args(annotation)):
        if get_origin(annotation) is not tuple and is_config(part):
            kind: type[Config] = part
            return kind
    return None


def entry_of(annotation: Any) -> type[Config] | None:
    """The kind of the entries of a setting that is a list of groups."""
    parts = get_args(annotation)
    if get_origin(annotation) is tuple and parts and is_config(parts[0]):
        kind: type[Config] = parts[0]
        return kind
    return None


def is_config(part: Any) -> bool:
    """Whether a type is a group of settings."""
    return isinstance(part, type) and issubclass(part, Config)


if __name__ == "__main__":
    sys.exit(main())
