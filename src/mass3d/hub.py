"""Models of the hub of Hugging Face that lie in its local cache; nothing is downloaded here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(name: str) -> bool:
    """Whether a name could be one of the hub: an owner, a slash and a model."""
    return HUB_ID.fullmatch(name) is not None and ".." not in name


def cached_file(name: str, file: str) -> Path | None:
    """A file of a model, where `hf download` or the library has put it; None where it is not."""
    if not is_hub_id(name):
        return None
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  optional
    except ImportError:
        return None
    found = try_to_load_from_cache(name, file)
    return Path(found) if isinstance(found, str) else None
