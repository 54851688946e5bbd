"""mass3d: from a folder of unlabelled 3D scans to a one-shot segmentation.

Every verb of the command line is a function that takes its settings by keyword and returns its
report: `mass3d.prepare(inputs=["scans"], output="store")`. The names are resolved when they are
first used, so that importing the package loads nothing; their types are in `__init__.pyi`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

# Function -> verb. The room `mass3d.masks` has taken the name of the verb `masks`.
VERBS: Final = {
    "prepare": "prepare",
    "pretrain": "pretrain",
    "task": "task",
    "merge": "merge",
    "adapt": "adapt",
    "finetune": "finetune",
    "curve": "curve",
    "segment": "segment",
    "locate": "locate",
    "embed": "embed",
    "probe": "probe",
    "evaluate": "evaluate",
    "inspect": "inspect",
    "measure_masks": "masks",
    "check": "check",
    "extract": "extract",
    "show": "show",
    "export": "export",
    "serve": "serve",
    "demo": "demo",
}
# What else there is -> module and name.
OTHERS: Final = {
    "Volume": "mass3d.volume.volume:Volume",
    "read": "mass3d.io.read:volume_of",
    "read_label": "mass3d.io.read:label_of",
    "Store": "mass3d.store.reader:Store",
    "load": "mass3d.transfer.finetuned.segmenter:load_segmenter",
    "load_task": "mass3d.transfer.task_file:load_task",
    "save_task": "mass3d.transfer.task_file:save_task",
    "Mass3dError": "mass3d.errors:Mass3dError",
    "DataError": "mass3d.errors:DataError",
    "StoreError": "mass3d.errors:StoreError",
    "ModelError": "mass3d.errors:ModelError",
    "OutputError": "mass3d.errors:OutputError",
    "ConfigError": "mass3d.errors:ConfigError",
    "Interrupted": "mass3d.errors:Interrupted",
}
__all__ = [*VERBS, *OTHERS]  # noqa: PLE0604 - names


def __getattr__(name: str) -> Any:
    if name in VERBS:
        return _function(name, VERBS[name])
    if name in OTHERS:
        return _other(*OTHERS[name].split(":"))
    if name == "__version__":
        return _other("mass3d.files", "VERSION")
    raise AttributeError(f"module 'mass3d' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is to use, not what this file needs to find it."""
    own = {name for name in globals() if name.startswith("__")}
    return sorted({*__all__, "__version__", *own})


def _other(module: str, attribute: str) -> Any:
    from importlib import import_module  # noqa: PLC0415
    from operator import attrgetter  # noqa: PLC0415

    return attrgetter(attribute)(import_module(module))


def _function(name: str, verb: str) -> Callable[..., Any]:
    """The function of a verb: settings by keyword in, report out; raises `Mass3dError`."""
    from importlib import import_module  # noqa: PLC0415
    from inspect import signature  # noqa: PLC0415

    from mass3d.config import build  # noqa: PLC0415

    app = import_module(f"mass3d.apps.{verb}")
    kind = getattr(app, f"{verb.capitalize()}Config")

    def call(**settings: Any) -> Any:
        return app.run(build(kind, settings))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = app.run.__doc__
    returned = signature(app.run).return_annotation
    call.__signature__ = signature(kind).replace(  # type: ignore[attr-defined]
        return_annotation=returned
    )
    return call
