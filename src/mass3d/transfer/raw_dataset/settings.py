"""How results become a raw dataset of nnU-Net, and the list of what is in one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mass3d.config import Config
from mass3d.execution.ownership import read_list, require_same_settings
from mass3d.transfer.results import CASES

How = Literal["link", "copy"]
Kind = Literal["true", "found"]  # of a label


class RawConfig(Config):
    """What becomes of results as a raw dataset of nnU-Net."""

    scans: tuple[Path, ...] = Field(default=(), examples=[["scans"]])
    """The scans that were segmented; by default where they were at that time."""
    true_labels: Path | None = Field(default=None, examples=["corrected"])
    """Folder of true label maps, named like the cases, that replace the predictions; the true
    labels of the scans that the task or the model was made from always do."""
    images: How = "link"
    """Whether the dataset links to the scans or copies them; a scan that is not a complete .nii.gz
    file as nnU-Net expects it is written anew."""
    min_agreement: float | None = Field(default=None, ge=0, le=1, examples=[0.7])
    """Leave out scans on which the references agree less, in mean Dice over all structures."""
    channel: str = ""
    """Name of the channel for nnU-Net, which decides how it normalises; by default CT, MR or
    PET."""


class RawCase(Config):
    """One case of the dataset."""

    source: str
    """SHA-256 over what it is made of."""
    label: Kind
    """Whether its label is a true one or was found."""
    files: dict[str, str] = Field(default_factory=dict)
    """Its files -> SHA-256 of each; empty while they are being written."""
    image: str = ""
    """How its scan came here: `link`, `copy` or `written`."""
    modality: str = ""
    """What its scan is taken for."""
    unknown: bool = False
    """Whether its label has voxels that nobody has annotated."""
    notes: tuple[str, ...] = ()
    """Sentences about what is odd."""


class RawIndex(Config):
    """What a dataset was made of, and with."""

    task: str
    """Fingerprint of what made the results."""
    images: How
    min_agreement: float | None
    cases: dict[str, RawCase] = Field(default_factory=dict)


def begun_dataset(output: Path, wanted: RawIndex) -> RawIndex:
    """What the folder holds, nothing at first. Raises `ConfigError`, `DataError`."""
    file = output / CASES
    if not file.exists():
        return wanted
    lost = "this file and the cases"
    found = read_list(RawIndex, file, of="cases", verb="export", remove=lost)
    require_same_settings(
        output, "a dataset", found, wanted, maker="task", other="a dataset of other results"
    )
    return found
