"""Files that torch has saved elsewhere: read without running anything, every key accounted for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from mass3d.errors import ModelError

WRAPPERS: Final = ("module.", "_orig_mod.")  # of training on several devices, of compilation

# An archive; or, from before torch 1.6, a pickle that begins with torch's number.
BEGINNINGS: Final = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")


class KeyRow(NamedTuple):
    """What becomes of one key of a file."""

    released: str
    ours: str  # empty where it is left out
    why: str  # empty where it is taken

    @property
    def fate(self) -> str:
        """`left out`, `matched` where it is taken under its name, or `renamed`."""
        if self.why:
            return "left out"
        return "matched" if self.released == self.ours else "renamed"


def key_table(rows: Sequence[KeyRow]) -> str:
    """What became of every key: a line each, columns of equal width."""
    width = max(len(row.released) for row in rows)
    ends = {"left out": ": {0.why}", "matched": "", "renamed": "  {0.ours}"}
    return "\n".join(
        f"{row.released:<{width}}  {row.fate}{ends[row.fate].format(row)}" for row in rows
    )


def is_of_torch(path: Path) -> bool:
    """Whether a regular file is one that torch saved, by its first bytes, rather than ours."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(max(BEGINNINGS, key=len))).startswith(BEGINNINGS)


def unpickled(path: Path) -> Mapping[str, Any]:
    """What torch saved in a file. Raises `ModelError` for what is no dictionary of plain things."""
    try:
        with path.open("rb") as stream:
            archive = stream.read(2) == b"PK"
        with _numbers_of_numpy(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused in our own words
            # mapped: what training needs to go on lies beside the weights, and is not read
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except UnpicklingError as error:  # torch's own words tell how to run what a pickle holds
        raise ModelError(
            path,
            found="a pickle of other things than tensors and plain values, none of which was run",
            expected="weights that torch has saved",
            fix="Save its weights alone as tensors, on a machine where you trust it.",
        ) from error
    except (RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        raise ModelError(
            path,
            found=f"a file that cannot be read ({str(error).splitlines()[0][:200]})",
            expected="weights that torch has saved: tensors and plain values",
            fix="Copy it again, or save its weights alone as tensors.",
        ) from error
    if not isinstance(content, Mapping):
        raise ModelError(
            path,
            found=f"a {type(content).__name__}",
            expected="weights that torch has saved: tensors by their names",
            fix="Save its weights by their names.",
        )
    return content


@contextmanager
def _numbers_of_numpy() -> Iterator[None]:
    """Let single numbers of numpy through, which checkpoints hold as their best score."""
    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64")]
    scalar: Any = np.float64(0).__reduce__()[0]
    old: Any = (scalar, "numpy.core.multiarray.scalar")  # as numpy 1 has written it
    with torch.serialization.safe_globals([scalar, old, np.dtype, *kinds]):
        yield


def bare(key: str) -> str:
    """A key without what wrappers have put before it, in whatever order."""
    while key.startswith(WRAPPERS):
        key = key.removeprefix(next(one for one in WRAPPERS if key.startswith(one)))
    return key


def some_of(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(name[:100] for name in names[:5]) + more
