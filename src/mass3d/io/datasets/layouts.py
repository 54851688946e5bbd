"""How datasets are laid out: which image files are scans, what they are called, which are labels.

nnU-Net raw and the decathlon (imagesTr, labelsTr), BIDS, TotalSegmentator (segmentations beside
ct.nii.gz) and plain folders. Only names are looked at, and the channels of dataset.json.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from mass3d.files import real
from mass3d.io.datasets.bids import (
    DATASET,
    DERIVATIVES,
    NO_SCANS,
    SOURCES,
    bids_name,
    subject_folder,
)
from mass3d.io.datasets.dataset_json import read_channels
from mass3d.io.names import CHANNEL, LABEL, LABEL_FIRST, case_id_of, safe_name, stem_of

IMAGES: Final = re.compile(r"images?(?P<split>tr|ts|val)?", re.IGNORECASE)
LABELS: Final = re.compile(
    r"labels?(?:tr|ts|val)?|(?:.+[-_ ])?(?:masks?|seg(?:mentation)?s?|labels?|annotations?)"
    r"|predictions?|instances|gt|gt_segmentations|ground[-_ ]?truth|nnunet_results",
    re.IGNORECASE,
)
SOURCE: Final = "source data of BIDS, converted beside it"
TABLE: Final = "dataset.json"
OWN_MASKS: Final = "segmentations"  # of TotalSegmentator, beside one of:
OWN_SCANS: Final = frozenset({"ct", "mri"})


@dataclass(frozen=True)
class LabelFiles:
    """What lies beside a scan as its label, by the layout of its dataset. Nothing is opened."""

    paths: tuple[Path, ...]  # one label map; or the binary masks, one per structure
    names: tuple[str, ...] = ()  # of the structures, one per mask; empty for a label map
    table: Path | None = None  # the dataset.json that names the values of a label map


@dataclass(frozen=True)
class ImageFile:
    """A file that is an image by its name, and the folder that was searched."""

    path: Path
    root: Path

    @property
    def way(self) -> tuple[str, ...]:
        """The folders between the two."""
        return self.path.relative_to(self.root).parts[:-1]


def is_label(file: ImageFile) -> bool:
    """Whether a file is a label map or mask by its name or its folder below the root.

    Of folders for images and for labels within each other, the inner one counts.
    """
    stem = stem_of(file.path)
    if LABEL.fullmatch(stem) or LABEL_FIRST.fullmatch(stem):
        return True
    bids = bids_name(file.path)
    if bids is not None:
        return bids.is_label
    for folder in reversed(file.way):
        if IMAGES.fullmatch(folder):
            return False
        if LABELS.fullmatch(folder):
            return True
    return False


def reason_against(file: ImageFile) -> str:
    """Why a file that is no label is no scan either; empty for a scan."""
    if SOURCES in file.way and _has_sources(file):
        return SOURCE
    bids = bids_name(file.path)
    if bids is None:
        return ""
    if DERIVATIVES in file.way:
        return "a derivative of BIDS, no scan as it was taken"
    return f"{bids.folder} of BIDS, no scan of the anatomy" if bids.folder in NO_SCANS else ""


def _has_sources(file: ImageFile) -> bool:
    """Whether the folder of source data belongs to a dataset of BIDS below the root."""
    sources = next(folder for folder in file.path.parents if folder.name == SOURCES)
    return (sources.parent / DATASET).exists()


def case_ids(scans: Iterable[ImageFile]) -> dict[ImageFile, str]:
    """What each scan is called: its way from the root and its own name.

    Folders that only sort the files of a dataset (imagesTr, sub-01/anat) are no part of it. The
    id depends on the scan and its dataset, not on what else was found.
    """
    scans = list(scans)
    owners = Counter(scan.path.parent for scan in scans if _is_own(scan.path))
    channels: dict[Path, Mapping[int, str]] = {}
    names = {}
    for scan in scans:
        parts = [safe_name(folder) for folder in _telling_folders(scan)]
        if _is_own(scan.path) and owners[scan.path.parent] == 1:
            parts = parts or [safe_name(real(scan.path.parent).name)]
        else:
            parts.append(_own_name(scan.path, channels))
        names[scan] = "_".join(filter(None, parts))
    return names


def _is_own(path: Path) -> bool:
    """Whether this is the scan of a folder of TotalSegmentator."""
    return stem_of(path) in OWN_SCANS and (path.parent / OWN_MASKS).is_dir()


def _telling_folders(file: ImageFile) -> list[str]:
    subject = subject_folder(file.path)
    way = file.way
    if subject is not None:
        way = subject.relative_to(file.root).parts[:-1] if file.root in subject.parents else ()
    return [folder for folder in way if not IMAGES.fullmatch(folder)]


class NumberedFile(NamedTuple):
    """A file that is named as a channel of a case: `case_0001`."""

    case: str
    channel: str  # the four digits
    names: Mapping[int, str]  # of all channels, in dataset.json; empty without one

    @property
    def own_name(self) -> str:
        """With the channel's name, where there are several; empty where none is needed or told."""
        name = safe_name(self.names.get(int(self.channel), ""))
        if len(self.names) < 2 or not name:
            return ""
        alike = [safe_name(other).lower() == name.lower() for other in self.names.values()]
        return f"{self.case}_{self.channel if sum(alike) > 1 else name}"


def numbered_file(path: Path, tables: dict[Path, Mapping[int, str]]) -> NumberedFile | None:
    """What the name of a file says of its channel; None for another name.

    tables: what each dataset.json says, which is filled. Raises `DataError` for a bad one.
    """
    named = CHANNEL.fullmatch(stem_of(path))
    if named is None:
        return None
    split = IMAGES.fullmatch(path.absolute().parent.name)
    if split is None or split["split"] is None:
        return NumberedFile(named["case"], named["channel"], {})
    table = path.absolute().parents[1] / TABLE
    if table not in tables:
        tables[table] = read_channels(table) if table.exists() else {}
    return NumberedFile(named["case"], named["channel"], tables[table])


def _own_name(path: Path, tables: dict[Path, Mapping[int, str]]) -> str:
    """The case id of a file; of one of several channels of nnU-Net, with that channel's name."""
    file = numbered_file(path, tables)
    return (file.own_name if file else "") or case_id_of(path)
