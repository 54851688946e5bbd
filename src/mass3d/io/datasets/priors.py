"""Label maps that somebody gives beside scans, to begin from."""

from __future__ import annotations

from pathlib import Path

from mass3d.errors import ConfigError, DataError
from mass3d.io.datasets.cohort import find_label


def prior_of(given: Path | None, case_id: str) -> Path | None:
    """The label map of a case: the file that is given, or the one in a folder; None for none.

    Raises `DataError` where the folder has none for the case.
    """
    if given is None:
        return None
    found = find_label(given, case_id) if given.is_dir() else given
    if found is None or not found.exists():
        raise DataError(
            given,
            found=f"no label map of the case {case_id!r}",
            expected="a label map for every scan",
            fix="Add it, or leave the scan out.",
        )
    return found


def require_one_prior(given: Path | None, *, scans: int) -> None:
    """Raise `ConfigError` when one label map is given for several scans."""
    if given is not None and not given.is_dir() and scans > 1:
        raise ConfigError(
            given,
            found=f"one label map for {scans} scans",
            expected="a folder of label maps that are named like the cases",
            fix="Give a folder, or one scan.",
            setting="prior",
        )
