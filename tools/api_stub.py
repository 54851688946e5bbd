"""The types of `import mass3d`: src/mass3d/__init__.pyi, made from the verbs and their settings."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

import mass3d
from mass3d import OTHERS  # type: ignore[attr-defined] # not told to users
from mass3d.cli.describe import config_of
from mass3d.cli.verbs import VERBS
from mass3d.config import Config

HEAD = '''"""The public face of mass3d, for type checkers and editors.

Written by tools/write_configs.py from the settings of the verbs; the package itself resolves
these names when they are first used.
"""
'''


PLACE = Path(__file__).resolve().parent.parent / "src/mass3d/__init__.pyi"


class Stub:
    """Collects what has to be imported while types are written."""

    def __init__(self) -> None:
        self.imports: set[tuple[str, str]] = set()

    def type_of(self, annotation: Any) -> str:
        """A type as a caller may give it: paths as text, lists as any sequence, groups as dicts."""
        origin, parts = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.type_of(parts[0])
        if origin in (Union, UnionType):
            return " | ".join(dict.fromkeys(self.type_of(part) for part in parts))
        if origin is Literal:
            self.imports.add(("typing", "Literal"))
            return f"Literal[{', '.join(map(repr, parts))}]"
        if origin is tuple:
            return self.sequence_of(parts)
        if origin is dict:
            self.imports.add(("collections.abc", "Mapping"))
            return f"Mapping[{self.type_of(parts[0])}, {self.type_of(parts[1])}]"
        return self.plain_type(annotation)

    def sequence_of(self, parts: tuple[Any, ...]) -> str:
        """A list of any length, or one of a fixed length."""
        self.imports.add(("collections.abc", "Sequence"))
        return f"Sequence[{self.type_of(parts[0])}]"

    def plain_type(self, kind: Any) -> str:
        """A class by its name."""
        if kind is NoneType:
            return "None"
        if kind is Path:
            self.imports.add(("pathlib", "Path"))
            return "str | Path"
        if issubclass(kind, Config):
            self.imports |= {(kind.__module__, kind.__name__), ("collections.abc", "Mapping")}
            return f"{kind.__name__} | Mapping[str, object]"
        return str(kind.__name__)

    def parameter(self, name: str, field: FieldInfo) -> str:
        """One setting of a function."""
        told = self.type_of(field.annotation)
        if "Paths" in str(field.metadata) or (name == "store" and told.startswith("Sequence")):
            told = f"str | Path | {told}"
        return f"    {name}: {told}{'' if field.is_required() else ' = ...'},"

    def function(self, verb: str) -> Iterator[str]:
        """The function of a verb."""
        report = f"{verb.capitalize()}Report"
        self.imports.add((f"mass3d.apps.{verb}", report))
        yield f"def {VERBS[verb].function or verb}("
        yield "    *,"
        for name, field in config_of(verb).model_fields.items():
            yield self.parameter(name, field)
        run = import_module(f"mass3d.apps.{verb}").run
        yield f") -> {report}:"
        yield from doc(inspect.getdoc(run) or VERBS[verb].meaning)
        yield ""


def doc(text: str) -> Iterator[str]:
    """A docstring within a function."""
    lines = text.splitlines()
    if len(lines) == 1:
        yield f'    """{lines[0]}"""'
        return
    yield f'    """{lines[0]}'
    yield from (f"    {line}".rstrip() for line in lines[1:])
    yield '    """'


def render() -> str:
    """The whole file, formatted."""
    stub = Stub()
    functions = [line for verb in VERBS for line in stub.function(verb)]
    stub.imports.add(("pathlib", "Path"))
    lines = [
        HEAD,
        *(f"from {module} import {name}" for module, name in sorted(stub.imports)),
        *other_names(),
        "",
        f"__all__ = {sorted(mass3d.__all__)}",
        "__version__: str",
        *functions,
    ]
    return formatted("\n".join(lines))


def other_names() -> Iterator[str]:
    """What is handed on from other modules, under its own name or a shorter one."""
    for name, place in sorted(OTHERS.items()):
        module, _, attribute = place.partition(":")
        if name == attribute:
            yield f"from {module} import {name} as {name}"
        elif "." not in attribute:
            yield f"from {module} import {attribute} as _{name}"
    for name, place in sorted(OTHERS.items()):
        attribute = place.partition(":")[2]
        if name != attribute and "." not in attribute:
            yield f"{name} = _{name}"


def formatted(text: str) -> str:
    """Text as the formatter of the repository writes it."""
    for words in (["check", "--fix-only", "--quiet", "--select", "I"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", str(PLACE), "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        text = done.stdout
    return text
