"""From the `Config` of a verb to a function whose signature is the options of its command."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from pydantic.fields import FieldInfo

from mass3d.cli.describe import (
    allowed_values,
    choices_of,
    config_of,
    default_words,
    field_of,
    group_of,
    holds,
    is_list,
    meaning_of,
)
from mass3d.cli.verbs import VERBS, names_of
from mass3d.config import Config


class Voice(NamedTuple):
    """How a command tells what it does."""

    as_json: bool = False
    quiet: bool = False


Execute = Callable[[str, Path | None, list[str], dict[str, Any], Voice], None]

COMMON: Final = (
    Parameter(
        "_config",
        Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            Path | None,
            typer.Option("--config", metavar="FILE.toml", help="Settings of this command."),
        ],
    ),
    Parameter(
        "_assignments",
        Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            list[str] | None,
            typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated."),
        ],
    ),
    Parameter(
        "_quiet",
        Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[
            bool, typer.Option("--quiet", help="No progress; only the summary and errors.")
        ],
    ),
)
AS_JSON: Final = Parameter(
    "_as_json",
    Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--json", help="Print the summary and all faults as JSON.")
    ],
)


def command_of(verb: str, execute: Execute) -> Callable[..., None]:
    """The function behind `mass3d VERB`; it hands what was typed to `execute`, by setting."""
    row, kind = VERBS[verb], config_of(verb)
    settings = {setting.replace(".", "_"): setting for setting in row.given}

    def command(
        *,
        _config: Path | None,
        _assignments: list[str] | None,
        _quiet: bool,
        _as_json: bool = False,
        **typed: Any,
    ) -> None:
        flags = {settings[name]: value for name, value in typed.items() if value}
        execute(verb, _config, _assignments or [], flags, Voice(_as_json, _quiet))

    parameters = [_parameter(kind, setting, typed) for setting, typed in row.given.items()]
    own = "as_json" in row.given  # of a verb whose JSON says more
    signature = Signature([*parameters, *COMMON, *([] if own else [AS_JSON])])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    command.__name__, command.__doc__ = verb, row.meaning
    return command


def further_settings(verb: str) -> list[str]:
    """The settings of a verb that have no option, or groups of which only some have one."""
    given, kind = VERBS[verb].given, config_of(verb)
    return [
        f"{name}.*" if group_of(field.annotation) else name
        for name, field in kind.model_fields.items()
        if name not in given
    ]


def help_words(field: FieldInfo, *, with_default: bool = True) -> str:
    """Meaning, required mark, range and default of a setting; its choices stand beside it."""
    closed = (
        "" if choices_of(field.annotation) else allowed_values(field.annotation, field.metadata)
    )
    default = default_words(field) if with_default else ""
    told = (
        meaning_of(field),
        "Required." if field.is_required() else "",
        f"{closed}." if closed else "",
        f"Default: {default}." if default else "",
    )
    return " ".join(filter(None, told))


def _parameter(kind: type[Config], setting: str, typed: str) -> Parameter:
    field = field_of(kind, setting)
    names, value = names_of(typed)
    choices = choices_of(field.annotation)
    told: dict[str, Any] = {
        "help": help_words(field),
        "metavar": value if not choices or "|" in value else "|".join(choices),
        "show_default": False,
        "autocompletion": (lambda: choices) if choices else None,
    }
    if not value:
        option, annotation = typer.Option(*names, help=told["help"], show_default=False), bool
    elif names:
        option, annotation = typer.Option(*names, **told), _annotation(field)
    else:
        option, annotation = typer.Argument(**told), _annotation(field)
    return Parameter(
        setting.replace(".", "_"),
        Parameter.KEYWORD_ONLY,
        default=None if value else False,
        annotation=Annotated[annotation, option],
    )


def _annotation(field: FieldInfo) -> Any:
    """What typer makes of a word: a path, or text that pydantic reads."""
    word: Any = Path if holds(field.annotation, Path) else str
    return list[word] | None if is_list(field.annotation) else word | None
