"""Whether this installation has what a server needs; loads none of it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from mass3d.errors import ConfigError, install_extra

NEEDED: Final = ("fastapi", "uvicorn")


def require_server() -> None:
    """Raise `ConfigError` unless the optional part of the installation is there."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            "mass3d serve",
            found=f"no {' and no '.join(missing)} in this installation",
            expected="the libraries of a server, which are an optional part",
            fix=install_extra("serve"),
        )
