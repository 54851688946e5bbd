"""What the names of image files say: format, case, channel, and whether they name a label."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

DETACHED: Final = (".mhd", ".nhdr")  # headers whose voxels lie in a file beside them
SUFFIXES: Final = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
MAX_NAME: Final = 100  # letters of a case id
CHANNEL: Final = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")  # as nnU-Net names its images
LABEL: Final = re.compile(
    r"(?:(?P<scan>.+)[-_. ])?(?:d?seg|probseg|segmentation|labels?|labelmap|(?:deface)?mask|gt)",
    re.IGNORECASE,
)
# as LiTS (segmentation-12 of volume-12) and others name labels, with the kind of file in front
LABEL_FIRST: Final = re.compile(
    r"(?:seg|segmentation|labels?|labelmap|mask|gt)[-_ ](?P<scan>.+)", re.IGNORECASE
)


def is_image_name(path: Path) -> bool:
    """Whether the name ends as one of an image file does."""
    return path.name.lower().endswith(SUFFIXES)


def stem_of(path: Path) -> str:
    """The name without the suffix of an image file or archive."""
    for suffix in (*SUFFIXES, ".zip"):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def case_id_of(path: Path) -> str:
    """The name of a file without its format suffix and nnU-Net's `_0000`; also of a folder `.`."""
    if path.name in ("", ".."):
        path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve would follow links
    stem = plain_name(stem_of(path))
    return stem.removesuffix("_0000") or stem


def plain_name(text: str) -> str:
    """A name as text that can be stored and shown: `%1B` and the like for what is no letter."""
    return "".join(c if c.isprintable() else quote(os.fsencode(c)) for c in text)


def safe_name(text: str) -> str:
    """Letters, digits, dots, dashes and underscores; everything between them is a dash."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[:MAX_NAME].rstrip("-.")
