"""BIDS: what the name of a file says, by https://bids-specification.readthedocs.io."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mass3d.io.names import LABEL, stem_of

DATASET: Final = "dataset_description.json"
DERIVATIVES: Final = "derivatives"
SOURCES: Final = "sourcedata"  # as it came, DICOM above all; the dataset holds it converted
# what a derivative adds to the name of its source
ADDED: Final = frozenset({"space", "res", "den", "label", "desc", "atlas", "seg", "hemi"})
ON_ITS_SOURCE: Final = frozenset({"orig", "individual", "native"})  # spaces of one's own grid
USUAL_SUFFIX: Final = "T1w"  # what a label of several scans is usually drawn on
# folders whose images are series in time, or maps to correct them
NO_SCANS: Final = frozenset({"func", "dwi", "perf", "fmap", "meg", "eeg", "ieeg", "beh", "nirs"})
SUBJECT: Final = re.compile(r"sub-[0-9A-Za-z]+(?=[_.]|$)")  # at the beginning of a name


@dataclass(frozen=True)
class BidsName:
    """`<dataset>/[derivatives/<pipeline>/]sub-01/[ses-1/]anat/sub-01_ses-1_desc-x_T1w.nii.gz`."""

    dataset: Path  # above all derivatives
    entities: Mapping[str, str]
    suffix: str
    folder: str  # the kind of data: anat, pet, func, ...

    @property
    def is_label(self) -> bool:
        """Whether it is a segmentation or mask."""
        return LABEL.fullmatch(self.suffix) is not None

    @property
    def source(self) -> tuple[Path, frozenset[tuple[str, str]]]:
        """What a scan and the labels drawn on it have in common."""
        kept = {pair for pair in self.entities.items() if pair[0] not in ADDED}
        return self.dataset, frozenset(kept)

    @property
    def structure(self) -> str:
        """What a mask is of."""
        return self.entities.get("label") or self.entities.get("desc") or self.suffix


def bids_name(path: Path) -> BidsName | None:
    """The parts of a name that is one of BIDS: it begins with that of a folder `sub-<label>`."""
    subject = subject_folder(path)
    if subject is None:
        return None
    *words, suffix = stem_of(path).split("_")
    parts = subject.parent.parts
    above = parts[: parts.index(DERIVATIVES)] if DERIVATIVES in parts else parts
    entities = dict(word.split("-", 1) for word in words if "-" in word)
    return BidsName(Path(*above), entities, suffix, path.parent.name)


def subject_folder(path: Path) -> Path | None:
    """The outermost folder `sub-<label>` with which the name of the file begins."""
    for folder in reversed(path.parents):
        if folder.name.startswith("sub-") and path.name.startswith(f"{folder.name}_"):
            return folder
    return None


def subject_of(*names: str) -> str | None:
    """The subject `sub-<label>` with which the first of some names begins that has one."""
    found = (SUBJECT.match(name) for name in names)
    return next((match[0] for match in found if match), None)


def scans_of_label(label: BidsName, scans: Sequence[BidsName]) -> list[BidsName]:
    """The scan on whose grid a label lies, among those with its source; none where it is unclear.

    A label in the space of one of them, such as `space-T1w`, is of that; one that names no space
    is of the only scan, else of the T1w.
    """
    space = label.entities.get("space")
    if space and space not in ON_ITS_SOURCE:
        own = [scan for scan in scans if scan.entities.get("space") == space]
        named = [scan for scan in scans if scan.suffix == space and "space" not in scan.entities]
        return (own or named)[:1]
    plain = [scan for scan in scans if "space" not in scan.entities]
    if len(plain) > 1:
        plain = [scan for scan in plain if scan.suffix == USUAL_SUFFIX]
    return plain if len(plain) == 1 else []
