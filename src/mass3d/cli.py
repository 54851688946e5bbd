"""The command line: one command per verb, each a thin layer over the app of the same name.

Settings come from the defaults, then a `--config` file, then `--set`, then flags. Apps are imported
inside the commands, so that help does not wait for torch. Exit codes: 0 all done, 1 something
could not be done, 2 a wrong setting or command line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mass3d.errors import Mass3dError

VARIADIC = {
    "task": ("-i", "--images", "-l", "--labels"),
    "extract": ("--case", "--mask"),
}  # options that take several values

app = typer.Typer(
    name="mass3d",
    help="From a folder of unlabelled 3D scans to a one-shot segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings of this command.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, dotted; may be repeated."),
]
Scans = Annotated[
    list[Path] | None, typer.Argument(metavar="SCANS...", help="Scans or folders of scans.")
]
StorePath = Annotated[Path | None, typer.Argument(metavar="STORE", help="Prepared store.")]
StorePaths = Annotated[
    list[Path] | None, typer.Argument(metavar="STORE...", help="Prepared stores.")
]
Spacing = Annotated[
    str | None, typer.Option("--spacing", metavar="MM|auto", help="Edge of the cubic voxels.")
]
ModalityName = Annotated[
    str | None, typer.Option("--modality", metavar="auto|ct|mr|pet", help="Kind of scan.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="Processes; by default by cores and memory.")
]
Engines = Annotated[
    list[str] | None,
    typer.Option(
        "--engine", metavar="hierarchy|external|sam2", help="What proposes masks; may be repeated."
    ),
]
MaskFolders = Annotated[
    list[Path] | None,
    typer.Option("--masks", metavar="DIR", help="Masks by case id, for the engine external."),
]
Checkpoint = Annotated[
    str | None, typer.Option("--checkpoint", metavar="PATH|ID", help="Weights of the engine sam2.")
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="A running dask scheduler to work at."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Decides every random choice.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Steps of pretraining.")]
Device = Annotated[
    str | None, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")
]


def _output(what: str) -> Any:
    return typer.Option("--output", "-o", metavar="PATH", help=what)


def _model(what: str) -> Any:
    return typer.Option("--model", "-m", metavar="RUN", help=what)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Say the version and stop.")] = False,
) -> None:
    if version:
        from mass3d.files import VERSION  # noqa: PLC0415

        typer.echo(VERSION)
        raise typer.Exit


@app.command()
def prepare(
    inputs: Scans = None,
    output: Annotated[Path | None, _output("Store to write, or to go on with.")] = None,
    spacing: Spacing = None,
    modality: ModalityName = None,
    engines: Engines = None,
    masks: MaskFolders = None,
    checkpoint: Checkpoint = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Turn scans into a store of prepared cases with proposed masks."""
    flags = {
        "inputs": inputs,
        "output": output,
        "spacing_mm": spacing,
        "modality": modality,
        "masks.engines": engines,
        "masks.external.folders": masks,
        "masks.sam2.checkpoint": checkpoint,
        "workers": workers,
        "scheduler": scheduler,
    }
    _execute("prepare", config, assignments, flags)


@app.command()
def pretrain(
    store: StorePaths = None,
    output: Annotated[Path | None, _output("Run folder to write.")] = None,
    preset: Annotated[str | None, typer.Option(help="Size of the network, such as tiny.")] = None,
    steps: Steps = None,
    seed: Seed = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Insist that there is an unfinished run.")
    ] = False,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Train a network on one or several stores, without labels."""
    flags = {
        "store": store,
        "output": output,
        "preset": preset,
        "fit.steps": steps,
        "seed": seed,
        "resume": resume or None,
    }
    _execute("pretrain", config, assignments, flags)


@app.command()
def task(
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", "-i", metavar="SCAN...", help="Reference scans, one or more."),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option("--labels", "-l", metavar="LABEL...", help="Their label maps, in order."),
    ] = None,
    model: Annotated[Path | None, _model("Run folder of the pretrained model.")] = None,
    output: Annotated[Path | None, _output("Task file to write.")] = None,
    device: Device = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Make a task from labelled examples: what to segment, as a model sees it."""
    flags = {
        "images": images,
        "labels": labels,
        "model": model,
        "output": output,
        "device": device,
    }
    _execute("task", config, assignments, flags)


@app.command()
def segment(
    inputs: Scans = None,
    task: Annotated[
        Path | None, typer.Option("--task", "-t", metavar="X.task", help="Task file.")
    ] = None,
    output: Annotated[Path | None, _output("Folder for the segmentations.")] = None,
    model: Annotated[
        Path | None, _model("Run folder, if it has moved since the task was made.")
    ] = None,
    device: Device = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Segment scans with a task, each on its own grid."""
    flags = {"inputs": inputs, "task": task, "output": output, "model": model, "device": device}
    _execute("segment", config, assignments, flags)


@app.command()
def evaluate(
    predictions: Annotated[
        Path | None, typer.Argument(metavar="PREDICTIONS", help="Folder of segmentations.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Argument(metavar="LABELS", help="Folder of true label maps.")
    ] = None,
    output: Annotated[Path | None, _output("Folder for the scores.")] = None,
    seed: Seed = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Score segmentations against label maps."""
    flags = {
        "predictions": predictions,
        "labels": labels,
        "output": output,
        "seed": seed,
        "workers": workers,
        "scheduler": scheduler,
    }
    _execute("evaluate", config, assignments, flags)


@app.command()
def inspect(
    inputs: Scans = None,
    output: Annotated[Path | None, _output("Folder for inspect.json and the page.")] = None,
    modality: ModalityName = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Say what scans are there and what is wrong with them."""
    flags = {
        "inputs": inputs,
        "output": output,
        "modality": modality,
        "workers": workers,
        "scheduler": scheduler,
    }
    _execute("inspect", config, assignments, flags)


@app.command()
def masks(
    store: StorePath = None,
    engines: Engines = None,
    masks: MaskFolders = None,
    checkpoint: Checkpoint = None,
    add: Annotated[
        bool, typer.Option("--add", help="Keep the engines that the store has beside these.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="DIR", help="Label maps to compare with, no more."),
    ] = None,
    output: Annotated[Path | None, _output("Folder for quality.json and masks.html.")] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Measure the masks of a store; with engines named, propose new ones first."""
    flags = {
        "store": store,
        "masks.engines": engines,
        "masks.external.folders": masks,
        "masks.sam2.checkpoint": checkpoint,
        "add": add or None,
        "labels": labels,
        "output": output,
        "workers": workers,
        "scheduler": scheduler,
    }
    _execute("masks", config, assignments, flags)


@app.command()
def check(
    store: StorePaths = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Check every byte of a store, and what the bytes mean."""
    flags = {"store": store, "workers": workers, "scheduler": scheduler}
    _execute("check", config, assignments, flags)


@app.command()
def extract(
    input: Annotated[  # noqa: A002 - the name of the setting
        Path | None, typer.Argument(metavar="STORE", help="Prepared store.")
    ] = None,
    output: Annotated[Path | None, _output("Folder for the files of every case.")] = None,
    case: Annotated[
        list[str] | None,
        typer.Option("--case", metavar="ID...", help="Cases; all by default."),
    ] = None,
    mask: Annotated[
        list[int] | None,
        typer.Option("--mask", metavar="ROW...", help="Masks to write as files of their own."),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Write cases of a store as NIfTI, each on the grid of its scan."""
    flags = {
        "input": input,
        "output": output,
        "case": case,
        "mask": mask,
        "workers": workers,
        "scheduler": scheduler,
    }
    _execute("extract", config, assignments, flags)


@app.command()
def demo(
    output: Annotated[Path | None, _output("Folder for everything the demo makes.")] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="A raw nnU-Net dataset, not phantoms."),
    ] = None,
    steps: Steps = None,
    seed: Seed = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Run every step on made-up scans and write a page about it."""
    flags = {"output": output, "data": data, "steps": steps, "seed": seed}
    _execute("demo", config, assignments, flags)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Errors that mass3d raises on purpose, and those of the file system, such as a full disk, become
    one message on stderr; others keep their traces.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        app(args=spread(arguments), prog_name="mass3d")
    except Mass3dError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"error: {where}{error.strerror}", err=True)
        sys.exit(1)


def spread(arguments: Sequence[str]) -> list[str]:
    """Repeat options that take several values: `-i a b` becomes `-i a -i b`."""
    options = VARIADIC.get(arguments[0], ()) if arguments else ()
    told: list[str] = []
    current: str | None = None
    for argument in arguments:
        if argument.startswith("-"):
            current = argument if argument in options else None
            told.append(argument)
        elif current is None or told[-1] == current:
            told.append(argument)
        else:
            told += [current, argument]
    return told


def _execute(
    verb: str, file: Path | None, assignments: list[str] | None, flags: dict[str, Any]
) -> None:
    from mass3d.config import resolve  # noqa: PLC0415

    module = import_module(f"mass3d.apps.{verb}")
    kind = getattr(module, f"{verb.capitalize()}Config")
    given = {key: value for key, value in flags.items() if value not in (None, [])}
    report = module.run(resolve(kind, file=file, assignments=assignments or (), flags=given))
    report.show(Console())
    if not report.ok:
        raise typer.Exit(1)
