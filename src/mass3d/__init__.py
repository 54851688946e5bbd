"""mass3d: from a folder of unlabelled 3D scans to a one-shot segmentation.

Every verb of the command line is a function that takes its settings by keyword and returns its
report: `mass3d.prepare(inputs=["scans"], output="store")`. The names are resolved when they are
first used, so that importing the package loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

# Function -> verb. The room `mass3d.masks` has taken the name of the verb `masks`.
_VERBS: Final = {
    "prepare": "prepare",
    "pretrain": "pretrain",
    "task": "task",
    "segment": "segment",
    "evaluate": "evaluate",
    "inspect": "inspect",
    "measure_masks": "masks",
    "check": "check",
    "extract": "extract",
    "demo": "demo",
}


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return _function(name, _VERBS[name])
    if name == "load":
        from mass3d.transfer.segmenter import Segmenter  # noqa: PLC0415

        return Segmenter.load
    raise AttributeError(f"module 'mass3d' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The functions, not what this file needs to find them."""
    return sorted({*_VERBS, "load", *(name for name in globals() if name.startswith("__"))})


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
