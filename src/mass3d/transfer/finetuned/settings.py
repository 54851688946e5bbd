"""The settings of a finetuning, and those that a curve of many shares with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from mass3d.config import Config, Device, Regions, Seed
from mass3d.training.config import RATES, FitConfig
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
    """Optimiser steps of the whole run; the learning-rate schedule spans them."""
    batch_size: int = Field(default=2, ge=1, le=10**4)
    """Samples per batch."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average (EMA) of the weights; a run delivers the EMA
    weights."""

    @model_validator(mode="before")
    @classmethod
    def _with_rates(cls, values: Any) -> Any:
        """A rate and decay that are not given suit the optimiser."""
        name = values.get("optimizer") if isinstance(values, dict) else None
        return {**RATES[name], **values} if isinstance(name, str) and name in RATES else values

    def following(self) -> dict[str, Any]:
        """The rates that the optimiser has decided."""
        usual = RATES[self.optimizer].items()
        return {name: value for name, value in usual if getattr(self, name) == value}


class StoppingConfig(Config):
    """Weights that are scored on the way, on the scans kept apart."""

    every: int = Field(default=0, ge=0)
    """Steps between two scorings of the held-out scans; the best weights are delivered. 0: no
    scoring, and the last weights are delivered."""
    patience: int = Field(default=0, ge=0)
    """Scorings without a gain after which training stops; 0: never."""


class LearningConfig(Config):
    """How a network learns with labels, whichever scans are chosen.

    In the verbs it is the first parent: pydantic lists its settings last.
    """

    structures: Regions = None
    """Name and label value of the structures, or all values of a region; by default from
    dataset.json or from mask files, else from the headers of the labels, else all label values."""
    partial: bool = False
    """Labels are partial: a structure that a label map does not show at all may still be in the
    scan."""
    channels: Channels = ()
    """Channels of each case by name or number, where dataset.json names several; by default all.
    The network sees them together; the first one defines the grid."""
    seed: Seed = 0
    device: Device = "auto"
    fit: FinetuneFitConfig = FinetuneFitConfig()
    """Optimisation; a rate and decay that are not given suit the chosen optimiser."""
    views: LabelledViewConfig = LabelledViewConfig()
    """Crops and augmentation of the labelled scans."""

    def following(self) -> dict[str, Any]:
        """What the optimiser has decided."""
        return {"fit": self.fit.following()}


class RunConfig(Config):
    """What one finetuning learns from, begins with and writes."""

    images: tuple[Path, ...] = Field(min_length=1, examples=[["dataset"]])
    """Labelled scans: a dataset in the layout of nnU-Net or another, of which only imagesTr is
    used; folders of scans; or files."""
    label_maps: tuple[Path, ...] = Field(default=(), examples=[["labels"]])
    """Folder of label maps named like the cases, or one file per scan, in the same order; by
    default as the layout of the dataset says."""
    model: Path = Field(examples=["run"])
    """Run folder or weights file of the pretrained model, or the published weights of MASS."""
    output: Path = Field(examples=["tuned"])
    """Run folder to write."""
    labels: Number = "all"
    """How many labelled scans to train on: a number, a percentage such as 10%, or all. A larger
    number includes the scans of a smaller one."""
    validation: int | None = Field(default=None, ge=0, examples=[10])
    """Labelled scans held out and scored at the end; by default a fifth, at most ten, and none of
    fewer than ten. Scans of one subject or of one label file are on
    one side."""
    unlabelled: tuple[Path, ...] = Field(default=(), examples=[["scans"]])
    """Unlabelled scans to train on as well, with pseudo-labels by a task that is made from the
    labelled scans. Scans that are labelled or held out are skipped."""
    start: Start = "pretrained"
    """Initial weights; `scratch` is random initialisation, and everything else stays the same."""
    learn: Learn = "full"
    """Weights that are trained: all (`full`), those of the decoder and the new head (`decoder`), or
    the new head alone (`head`)."""
    trunk_share: float = Field(default=1.0, ge=0, le=1)
    """Learning rate of all weights but those of the new head, as a fraction of the learning
    rate."""
    resume: bool = False
    """Continue an interrupted run, and refuse to start a new one; without it, do whichever
    applies."""
    stopping: StoppingConfig = StoppingConfig()
    """Which weights are delivered, and when training stops early."""


class FinetuneConfig(LearningConfig, RunConfig):
    """Settings of `mass3d finetune`."""
