"""The command line: one command per verb, each a thin layer over the app of the same name.

Settings come from the defaults, then a `--config` file, then `--set`, then options. The options of
a verb are read off its `Config` (`options`) when that verb is typed, so that `mass3d --help` waits
for no library. Exit codes: 0 all done, 1 something could not be done, 2 a wrong setting or command
line, 128 and more stopped by a signal after saving.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mass3d.cli.verbs import VERBS, names_of, takes_several
from mass3d.errors import Mass3dError, printable

if TYPE_CHECKING:
    from mass3d.cli.options import Voice

COMPLETING = "_TYPER_COMPLETE_ARGS"  # what is typed so far, while a shell asks for completions


def build_app(*complete: str) -> typer.Typer:
    """The application; of the verbs in `complete` with all options, of others without any."""
    app = typer.Typer(
        name="mass3d",
        help="From a folder of unlabelled 3D scans to a one-shot segmentation.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for verb in VERBS:
        function = _command(verb) if verb in complete else _placeholder(verb)
        app.command(verb, epilog=_epilog(verb) if verb in complete else None)(function)
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Errors that mass3d raises on purpose, and those of the file system, such as a full disk, become
    one message on stderr; others keep their traces.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    typed = words or os.environ.get(COMPLETING, "").split()[1:]
    verb = next((word for word in typed if not word.startswith("-")), "")
    try:
        build_app(verb)(args=spread(words), prog_name="mass3d")
    except Mass3dError as error:
        _tell(f"{error}{option_hint(verb, error)}")
        sys.exit(error.exit_code)
    except OSError as error:
        if error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _tell(f"{where}{error.strerror}")
        sys.exit(1)
    except KeyboardInterrupt:  # before there was anything to lose
        sys.exit(128 + signal.SIGINT)


def option_hint(verb: str, error: Mass3dError) -> str:
    """How the setting that an error is about is given on the command line; or nothing."""
    if not error.setting or verb not in VERBS:
        return ""
    setting = re.sub(r"\.\d+$", "", error.setting)  # of several values, whichever it is
    typed = VERBS[verb].given.get(setting)
    if typed is None:
        return f" On the command line: --set {setting}=VALUE."
    names, value = names_of(typed)
    return f" On the command line: {' '.join([*names[:1], value.removesuffix('...')]).strip()}."


def spread(words: Sequence[str]) -> list[str]:
    """Repeat options that take several values: `-i a b` becomes `-i a -i b`."""
    several = takes_several(words[0]) if words else set()
    told: list[str] = []
    current: str | None = None
    for word in words:
        if word.startswith("-"):
            current = word if word in several else None
            told.append(word)
        elif current is None or told[-1] == current:
            told.append(word)
        else:
            told += [current, word]
    return told


def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from mass3d.files import VERSION  # noqa: PLC0415

        typer.echo(VERSION)
        raise typer.Exit


def _placeholder(verb: str) -> Callable[[], None]:
    """What stands in the list of verbs for one that is not typed."""

    def command() -> None:
        raise AssertionError(f"{verb} was not built")

    command.__doc__ = VERBS[verb].meaning
    return command


def _command(verb: str) -> Callable[..., None]:
    from mass3d.cli.options import command_of  # noqa: PLC0415

    def execute(*typed: Any) -> None:
        _execute(*typed)

    return command_of(verb, execute)


def _epilog(verb: str) -> str:
    """An example, and the settings that `--set` and `--config` reach."""
    from mass3d.cli.options import further_settings  # noqa: PLC0415

    further = ", ".join(further_settings(verb))
    told = f"Further settings, for --set and --config: {further}." if further else ""
    return f"Example: mass3d {verb} {VERBS[verb].example}\n\n{told}"


@contextmanager
def _unheard() -> Iterator[None]:
    """Progress goes nowhere; errors are told after it."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield


def _execute(
    verb: str, file: Path | None, assignments: list[str], flags: dict[str, Any], voice: Voice
) -> None:
    from rich.console import Console  # noqa: PLC0415

    from mass3d.cli.describe import config_of  # noqa: PLC0415
    from mass3d.config import resolve  # noqa: PLC0415
    from mass3d.execution.processes import require_alone, started_processes  # noqa: PLC0415
    from mass3d.execution.signals import interruptible  # noqa: PLC0415
    from mass3d.files import json_bytes  # noqa: PLC0415

    if not VERBS[verb].shared:
        require_alone(verb)
    with interruptible(f"mass3d {verb}"), _unheard() if voice.quiet else nullcontext():
        config = resolve(config_of(verb), file=file, assignments=assignments, flags=flags)
        report = import_module(f"mass3d.apps.{verb}").run(config)
    if started_processes().first and voice.as_json:
        typer.echo(json_bytes({"verb": verb, **report.outcome()}).decode().rstrip("\n"))
    elif started_processes().first:
        report.show(Console())
    if not report.ok:
        raise typer.Exit(1)


def _tell(message: str) -> None:
    with suppress(OSError):  # a closed terminal hears nothing, and the exit code stays
        typer.echo(f"error: {printable(message)}", err=True)
