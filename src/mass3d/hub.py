"""Models of the hub of Hugging Face that lie in its local cache; nothing is downloaded here."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from mass3d.errors import install_extra

LIBRARY: Final = "huggingface_hub"
HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(name: str) -> bool:
    """Whether a name could be one of the hub: an owner, a slash and a model."""
    return HUB_ID.fullmatch(name) is not None and ".." not in name


def cached_file(name: str, file: str) -> Path | None:
    """A file of a model, where `hf download` or the library has put it; None where it is not.

    Without the library it is not found either; `why_not` says so.
    """
    if not is_hub_id(name):
        return None
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  optional
    except ImportError:
        return None
    found = try_to_load_from_cache(name, file)
    return Path(found) if isinstance(found, str) else None


class WhyNot(NamedTuple):
    """Parts of a message about a name of which no model was found."""

    found: str = ""
    fix: str = ""


def why_not(name: str) -> WhyNot:
    """What to add to the message that there is no file of a name; nothing for a plain path."""
    if not is_hub_id(name):
        return WhyNot()
    if find_spec(LIBRARY) is None:
        return WhyNot(
            f", and no {LIBRARY} in this installation, which would look into the cache of the hub",
            f" {install_extra('hub')} Models of the hub need it.",
        )
    return WhyNot(
        ", and nothing of this name in the local cache of the hub",
        f" To fetch a model of the hub, run hf download {name}.",
    )
