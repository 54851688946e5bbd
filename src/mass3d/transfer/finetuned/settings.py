"""The settings of a finetuning, and those that a curve of many shares with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mass3d.config import Config, Device, Regions, Seed
from mass3d.training.config import FitConfig
from mass3d.transfer.finetuned.scans import Number
from mass3d.transfer.finetuned.segmenter import Learn, Start
from mass3d.views.labelled import LabelledViewConfig


def _names(given: Any) -> Any:
    """Names that are typed with commas between them, in brackets or not; numbers as names."""
    if isinstance(given, str):
        inner = given[1:-1] if given.startswith("[") and given.endswith("]") else given
        given = [one.strip() for one in inner.split(",")]
    some = given if isinstance(given, list | tuple) else [given]
    return tuple(str(one) if type(one) is int else one for one in some)


Channels = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_names),
    Field(examples=[["T1", "FLAIR"]]),
]
"""Several channels: `T1,FLAIR`."""


class FinetuneFitConfig(FitConfig):
    """How a network is trained with labels."""

    steps: int = Field(default=600, ge=1, le=10**9)
    """Optimiser updates of the whole run; the schedule is stretched over them."""
    batch_size: int = Field(default=2, ge=1, le=10**4)
    """Samples per batch."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the average of the weights, which is what a run delivers."""


class StoppingConfig(Config):
    """Weights that are scored on the way, on the scans kept apart."""

    every: int = Field(default=0, ge=0)
    """Updates between two scorings, of which the best weights are delivered; 0 for none: those
    after the last update are."""
    patience: int = Field(default=0, ge=0)
    """Scorings without a gain after which training ends; 0: it goes to its end."""


class LearningConfig(Config):
    """How a network learns with labels, whichever scans are chosen.

    In the verbs it is the first parent: pydantic lists its settings last.
    """

    structures: Regions = None
    """Name and label value of the structures, or all values of a region; by default those of
    dataset.json or of files of masks, else all values in the labels."""
    partial: bool = False
    """Structures that a label map does not show at all may be in the scan all the same."""
    channels: Channels = ()
    """Channels of each case by name or number, where dataset.json names several; by default all of
    them. The network sees them at once; the first tells the grid."""
    seed: Seed = 0
    device: Device = "auto"
    fit: FinetuneFitConfig = FinetuneFitConfig()
    """Optimisation."""
    views: LabelledViewConfig = LabelledViewConfig()
    """Crops of the labelled scans."""


class RunConfig(Config):
    """What one finetuning learns from, begins with and writes."""

    images: tuple[Path, ...] = Field(min_length=1, examples=[["dataset"]])
    """Labelled scans: a dataset in the layout of nnU-Net or another, of which imagesTr is taken
    alone; folders of scans; or files."""
    label_maps: tuple[Path, ...] = Field(default=(), examples=[["labels"]])
    """Folder of label maps that are named like the cases, or one file for each scan, in order; by
    default what the layout of the dataset says."""
    model: Path = Field(examples=["run"])
    """Run folder of the pretrained model."""
    output: Path = Field(examples=["tuned"])
    """Run folder to write."""
    labels: Number = "all"
    """How many labelled scans to learn from: a number, a share such as 10%, or all. A larger
    number adds to what a smaller one has."""
    validation: int | None = Field(default=None, ge=0, examples=[10])
    """Labelled scans that are kept apart and scored at the end; by default a fifth, at most ten,
    and none of fewer than ten. All scans of a subject of BIDS are on one side."""
    unlabelled: tuple[Path, ...] = Field(default=(), examples=[["scans"]])
    """Scans without labels to learn from as well: the labelled ones become a task of the model,
    which says what they show. What is labelled or kept apart is passed over."""
    start: Start = "pretrained"
    """Weights to begin with; with scratch, everything else stays the same."""
    learn: Learn = "full"
    """Weights that move: all; decoder: those of the way up and the new head; or the head alone."""
    trunk_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the learning rate that all but the new head has."""
    resume: bool = False
    """Go on with an interrupted run, and refuse to begin one; without it, do whichever fits."""
    stopping: StoppingConfig = StoppingConfig()
    """Which weights are delivered, and when training ends before its last update."""


class FinetuneConfig(LearningConfig, RunConfig):
    """Settings of `mass3d finetune`."""
