"""Write what is made from the settings: configs/<verb>.toml, the tables of options, the types.

A setting is written once, as a field with its docstring. From that come `configs/`, the tables
between the marks `<!-- options -->` of docs/reference/commands.md, and src/mass3d/__init__.pyi.
`--check` writes nothing and exits 1 when a file is not what it would write. In configs/ settings
without a default stand as examples behind a `#` without a space, and so do those that follow from
another one, such as a preset; other comments have a space.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import api_stub
from pydantic.fields import FieldInfo

from mass3d.cli.describe import (
    allowed_values,
    config_of,
    default_of,
    default_words,
    entry_of,
    field_of,
    group_of,
    meaning_of,
    plain,
)
from mass3d.cli.options import help_words
from mass3d.cli.verbs import VERBS, names_of
from mass3d.config import Config, build, differences, toml_key, toml_value

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Path("docs/reference/commands.md")
WIDTH = 100
BEGIN, END = "<!-- options: made by tools/write_configs.py -->", "<!-- end of options -->"


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check all files; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 when a file is stale")
    parser.add_argument("--folder", type=Path, default=ROOT, help="the repository, or a copy")
    chosen = parser.parse_args(argv)
    stale = []
    for name, text in made_files().items():
        path = chosen.folder / name
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(str(name))
        if not chosen.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        told = "stale, run tools/write_configs.py" if chosen.check else "written"
        sys.stdout.write(f"{', '.join(stale)}: {told}\n")
    return 1 if stale and chosen.check else 0


def made_files() -> dict[Path, str]:
    """Every file that is made from the settings, by its place in the repository."""
    made = {Path("configs") / f"{verb}.toml": render(verb) for verb in VERBS}
    made[REFERENCE] = reference((ROOT / REFERENCE).read_text())
    made[Path("src/mass3d/__init__.pyi")] = api_stub.render()
    return made


# --- the reference -------------------------------------------------------------------------------


def reference(page: str) -> str:
    """The page with the tables of options made anew."""
    for verb in VERBS:
        table = "\n".join([BEGIN, *option_rows(verb), END])
        section = rf"(^## {verb}\n.*?){re.escape(BEGIN)}.*?{re.escape(END)}"
        found = re.search(section, page, flags=re.DOTALL | re.M)
        if not found:
            raise ValueError(f"{REFERENCE}: no table of options under '## {verb}'")
        page = page[: found.start()] + found[1] + table + page[found.end() :]
    return page


def option_rows(verb: str) -> Iterator[str]:
    """A row for every setting that has an option of its own."""
    yield "| Option | Setting | Default | |"
    yield "|---|---|---|---|"
    for setting, typed in VERBS[verb].given.items():
        names, value = names_of(typed)
        option = ", ".join(f"`{name}`" for name in names) or f"`{value}`"
        field = field_of(config_of(verb), setting)
        default = f"`{told}`" if (told := default_words(field)) else ""
        meaning = escaped(help_words(field, with_default=False))
        yield f"| {option} | `{setting}` | {default} | {meaning} |"


def escaped(text: str) -> str:
    """Text within a cell of a Markdown table."""
    return re.sub(r"(?<!`)<(\w+)>", r"`<\1>`", text).replace("|", "\\|")


# --- configs -------------------------------------------------------------------------------------


def render(verb: str) -> str:
    """The file of one verb."""
    head = [
        f"# All settings of `mass3d {verb}`, with their defaults; use it as",
        f"#     mass3d {verb} --config {verb}.toml",
        "# A line that begins with # and no space is an example; without it the setting",
        "# is None, or missing where it is required.",
    ]
    writer = Writer(verb)
    if writer.following:
        head += [
            f"# One that ends with `{writer.mark}` is a default that follows from other settings,",
            "# as the preset or the optimiser; without the first # it stays, whatever those are.",
        ]
    head.append("# Written by tools/write_configs.py from the settings themselves.")
    return "\n".join([*head, *writer.group(config_of(verb))]) + "\n"


def examples(kind: type[Config]) -> dict[str, Any]:
    """The least that must be given, as it stands in the examples."""
    required = {name: field for name, field in kind.model_fields.items() if field.is_required()}
    return {name: field.examples[0] for name, field in required.items() if field.examples}


class Writer:
    """Writes the settings of one verb; an entry of a list is explained once per file."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.explained: set[type[Config]] = set()
        usual = build(config_of(verb), examples(config_of(verb)))
        self.following = {name for name, *_ in differences(usual.following(), {})}
        self.mark = f"# of {getattr(usual, 'preset', 'muon')}"

    def group(
        self, kind: type[Config], default: Config | None = None, prefix: str = ""
    ) -> Iterator[str]:
        """Plain settings of a group, then the groups in it, each under its heading."""
        groups = {n: g for n, f in kind.model_fields.items() if (g := group_of(f.annotation))}
        for name, field in kind.model_fields.items():
            if name not in groups:
                value = default_of(field) if default is None else plain(getattr(default, name))
                yield from self.setting(f"{prefix}{name}", field, value)
        for name, inner in groups.items():
            field = kind.model_fields[name]
            value = field.default if default is None else getattr(default, name)
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
        yield from wrapped(f"{meaning_of(field)} {required}")
        yield from wrapped(allowed_values(field.annotation, field.metadata))
        entry = entry_of(field.annotation)
        if entry and entry not in self.explained:
            self.explained.add(entry)
            yield from explained(entry)
        key = toml_key(path.rpartition(".")[2])
        if value is not None:
            line = f"{key} = {pretty(value)}"
            yield f"#{line}  {self.mark}" if path in self.following else line
            return
        if not field.examples:
            raise ValueError(f"{self.verb}: {path} has no default: give its field an example")
        yield from commented([f"{key} = {pretty(field.examples[0])}"])


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


if __name__ == "__main__":
    sys.exit(main())
