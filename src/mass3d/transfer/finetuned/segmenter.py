"""A finetuned run at work: it knows its structures, and segments without a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import torch
from pydantic import Field, PositiveInt, StringConstraints, model_validator
from torch import Tensor, nn

from mass3d.config import Config
from mass3d.device import choose_device
from mass3d.errors import ConfigError, ModelError
from mass3d.execution.summary import counted
from mass3d.io.datasets.channels import Wanted
from mass3d.io.datasets.regions import Members, Targets, written
from mass3d.model.presets import Preset
from mass3d.model.protocol import FeatureNetworkModule, NetworkModule
from mass3d.model.released import is_released
from mass3d.model.segmentation import SegmentationNetwork
from mass3d.training import checkpoint
from mass3d.training.choosing import Chosen
from mass3d.transfer.expectation import Expectation
from mass3d.transfer.finetuned.mixing import mixed
from mass3d.transfer.made_by import KEPT, in_brackets
from mass3d.transfer.maps import Maps
from mass3d.transfer.nearest import References
from mass3d.transfer.oneshot.carrying import Found
from mass3d.transfer.oneshot.output import labels_of_slabs
from mass3d.transfer.segmenter import Answer, Segmenter, agreement_of, fill_agreement
from mass3d.transfer.sliding import slide_down_all
from mass3d.transfer.task_file import Name, Task, Value
from mass3d.transfer.trained import (
    STRUCTURES,
    TrainedModel,
    fill_weights,
    unfilled_network,
    weights_file,
)
from mass3d.views.labelled import MAX_STRUCTURES
from mass3d.volume.intensity import of_channel
from mass3d.volume.preparation import PreparationConfig, Prepared, prepare_channels
from mass3d.volume.volume import Volume

Start = Literal["pretrained", "scratch"]
Learn = Literal["full", "decoder", "head"]
MAX_CHANNELS: Final = 1000  # that a file may tell of
NO_AGREEMENT: Final = "no reference was aligned, so there is no map of how many agree"
REGION: Final = 0.5  # what the probability of a region has to exceed


class FinetunedRecord(Config):
    """What a weights file says beside its tensors: all that is needed to use and to repeat it."""

    preset: Preset
    """The network."""
    crop_vox: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Voxels of a view along (D, H, W)."""
    preparation: PreparationConfig
    """How a scan is brought to what the network has seen."""
    structures: Annotated[tuple[tuple[Name, Value], ...], Field(min_length=1)]
    """Name of each structure and the value that it is written with, in the order of the classes."""
    start: Start
    """What the training began with."""
    model: Annotated[str, StringConstraints(max_length=64)]
    """Fingerprint of the pretrained model."""
    scans: str
    """Fingerprint of the labelled scans that it learned from."""
    unlabelled: Annotated[str, StringConstraints(max_length=64)] = ""
    """Fingerprint of the scans without labels that it learned from; empty where there were none."""
    partial: bool = False
    """Whether structures that a label map did not show counted as unknown in it."""
    trunk_share: float = 1.0
    """Share of the learning rate that the trunk had."""
    learn: Learn = "full"
    """Weights that were moved."""
    step: int = Field(ge=0)
    """Updates behind the weights."""
    seed: int = Field(default=0, ge=0)
    """Decides the initial weights and every draw."""
    precision: str = "32-true"
    """Numbers it was trained in."""
    fit: dict[str, Any] = Field(default_factory=dict)
    """Settings of the loop."""
    views: dict[str, Any] = Field(default_factory=dict)
    """Settings of the views."""
    stopping: dict[str, Any] | None = None
    """When weights were scored on the way, and the fingerprint of the scans they were scored on."""
    chosen: Chosen | None = None
    """The scores on the way, by which the weights were chosen."""
    regions: tuple[tuple[Value, ...], ...] | None = None
    """All values of each structure in a label map, where they are regions."""
    channels: Annotated[tuple[Wanted, ...], Field(min_length=1, max_length=MAX_CHANNELS)] | None = (
        None
    )
    """Number and name in dataset.json of each channel of a case, where that names several."""

    @model_validator(mode="after")
    def _fits(self) -> FinetunedRecord:
        targets = self.targets
        if not targets.table.any(0).all() or len(targets.classes) > MAX_STRUCTURES:
            raise ValueError("regions of other structures")
        return self

    @property
    def targets(self) -> Targets:
        """What it looks for. Raises `ValueError` where the regions do not fit the structures."""
        return targets_in({"structures": self.structures, "regions": self.regions})


def targets_in(facts: Mapping[str, Any]) -> Targets:
    """What a finetuned model looks for. Raises `ValueError` where its facts do not fit."""
    values = {str(name): int(value) for name, value in facts["structures"]}
    regions = facts.get("regions")
    if regions is None:
        return Targets(values)
    return written(values, dict(zip(values, map(tuple, regions), strict=True)))


@dataclass(frozen=True)
class FinetunedSegmenter(Segmenter):
    """A finetuned model at work on volumes of any grid; `mass3d.load(run)` makes one."""

    net: SegmentationNetwork = field(repr=False)
    structures: Mapping[str, int]  # name -> label value, in the order of the classes
    regions: Mapping[str, Members] = field(default_factory=dict)  # all values; see `Targets`
    channels: tuple[Wanted, ...] = ()  # of a case, where it learned from one or some of several

    @cached_property
    def targets(self) -> Targets:
        """What it looks for."""
        return Targets(dict(self.structures), dict(self.regions))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the weights and what is said of them."""
        return self.trained.fingerprint

    @property
    def _whole(self) -> nn.Module:
        return self.net

    def task(self, *args: Any, **settings: Any) -> Task:
        """Not with this model. Raises `ModelError`."""
        del args, settings
        raise ModelError(
            "model",
            found="a finetuned model, which knows its structures",
            expected="a pretrained model, to make a task with",
            fix="Use the pretrained run, or segment with this one without a task.",
            setting="model",
        )

    def answer(
        self,
        volume: Volume | Sequence[Volume],
        task: Task | None = None,
        *,
        overlap: float = 0.5,
        alignment: bool = True,
        prior: Volume | None = None,
        maps: Maps | None = None,
        references: References = "all",
    ) -> Answer:
        """The structures of the model in a volume, in windows that share `overlap`.

        Of a model of several channels `volume` is a sequence of one for each, in their order, on
        any grids; the answer is on that of the first.
        A `task` of its structures, or of some, made with the pretrained model that this one began
        with, is asked as well: its references are aligned to the first channel, and the answer is
        made of both (`mixed`), which go wrong in different places. Without `alignment`, or where
        none is believed, the model answers alone. Memory grows with the voxels of the scan, and
        with structures times the voxels of a slab as deep as a window, or, with a task, of the
        scan. maps: those of probabilities are filled, and that of agreement where references are
        aligned; an answer without it says so. Raises `ConfigError` for a prior, for the nearest
        references, for a task of other structures, and for more or fewer scans than channels,
        `ModelError` for a task of another model, `DataError` for a scan that cannot be prepared.
        """
        _refuse(prior=prior, references=None if references == "all" else references)
        if task is not None:
            require_beside(task, self)
        volumes = self._of_channels(volume)
        scans = prepare_channels(volumes, self.trained.preparation)
        images = [torch.from_numpy(scan.image).to(self.trained.device) for scan in scans]
        slabs = slide_down_all(
            images,
            self._windows,
            window=self._window_of(images[0].shape),
            channels=len(self.structures),
            overlap=overlap,
            outside=[scan.intensity.outside for scan in scans],
        )
        found = self._aligned(task, scans[0]) if alignment else None
        parts = slabs if found is None else mixed(slabs, found)
        values, maps = list(self.structures.values()), maps or Maps()
        grid, old, regions = volumes[0].grid, scans[0].grid, bool(self.regions)
        expected = Expectation()
        labels = labels_of_slabs(
            grid,
            ((first, slab.numpy()) for first, slab in expected.counted(parts)),
            old,
            values,
            above=REGION if regions else None,
            nested=regions,
            shares=maps.probabilities,
        )
        alone = Answer(labels, "finetuned", expected_dice=expected.by_name(self.structures))
        if found is None:
            return alone if maps.agreement is None else replace(alone, odd=(NO_AGREEMENT,))
        fill_agreement(maps, labels, found, values=values, grid=grid, old=old)
        agreement = agreement_of(found, self.structures)
        return replace(alone, method="both", similarity=found.similarity, agreement=agreement)

    def _aligned(self, task: Task | None, scan: Prepared) -> Found | None:
        """What the references of a task say of a scan, class by class; None if none is believed."""
        if task is None or task.oneshot is None:
            return None
        found = task.oneshot.find(torch.from_numpy(scan.image), modality=scan.modality)
        if not found.voting.any():
            return None
        places = {name: place for place, name in enumerate(task.structures)}
        return found.ordered([places.get(name) for name in self.structures])

    def _of_channels(self, given: Volume | Sequence[Volume]) -> tuple[Volume, ...]:
        """A scan for each channel, as the kind of scan that the channel's name says."""
        volumes = (given,) if isinstance(given, Volume) else tuple(given)
        names = [one.name for one in self.channels] or [""]
        if len(volumes) != len(names):
            order = ", ".join(one.called for one in self.channels)
            raise ConfigError(
                "scan",
                found=counted(len(volumes), "scan"),
                expected=f"one for each of {len(names)} channels, in the order {order}"
                if self.channels
                else "one, as the model learned from single scans",
                fix="Give the scans of one case in a list.",
            )
        return tuple(map(of_channel, volumes, names))

    def _windows(self, images: Tensor) -> Tensor:
        """Probabilities (B, S, d, h, w) of the structures in windows (B, channels, d, h, w)."""
        classes = cast("Tensor", self.net(images)).float().softmax(1)[:, 1:]
        if not self.regions:
            return classes
        table = torch.from_numpy(self.targets.table).to(classes)
        return torch.einsum("sc,bcdhw->bsdhw", table, classes)

    def _window_of(self, shape: torch.Size) -> tuple[int, int, int]:
        """A window that shows the whole scan, but is at most twice a view along each axis."""
        stride = self.net.stride
        d, h, w = (
            min(-(-n // stride) * stride, 2 * edge)
            for n, edge in zip(shape, self.trained.crop, strict=True)
        )
        return d, h, w


def _refuse(**asked: object) -> None:
    """Raise `ConfigError` for what is asked of tasks alone."""
    for name, given in asked.items():
        if given is not None:
            raise ConfigError(
                name,
                found=f"a {name} for a finetuned model",
                expected="none, as the model knows its structures",
                fix=f"Leave the {name} out, or use the pretrained run.",
                setting=name,
            )


def require_beside(task: Task, model: FinetunedSegmenter, where: Path | str = "the task") -> None:
    """Raise an error unless a task and a finetuned model can answer together.

    `ModelError` where they are not of the same pretrained model, `ConfigError` where the task
    knows other structures, or has nothing to align.
    """
    began = str(model.trained.facts["model"])
    if task.model != began:
        kept = FinetunedRecord.model_validate(model.trained.facts).plain()
        differing = in_brackets(task.facts, {name: kept[name] for name in KEPT})
        raise ModelError(
            where,
            found=f"a task made by the model {task.model[:12]}…{differing}",
            expected=f"one made by {began[:12]}…, with which the finetuned model began",
            fix="Make the task again with that model, or finetune the one that made it.",
            setting="model",
        )
    if not task.structures.items() <= model.structures.items() or model.regions:
        told = [
            ", ".join(f"{name} ({value})" for name, value in one.structures.items())
            for one in (task, model)
        ]
        raise ConfigError(
            where,
            found=f"a task of {told[0]}",
            expected=f"structures of the model, none of them a region: {told[1]}",
            fix="Make the task of the same names and values, or leave it out.",
            setting="task",
        )
    part = task.oneshot
    if part is None or model.encoder_of(part) is not None:
        raise ConfigError(
            where,
            found="a task whose answer is that of the pretrained network",
            expected="one whose references are aligned, with heads that see voxels alone",
            fix="Make the task with the usual settings, or leave it out.",
            setting="task",
        )


def is_finetuned(run: Path) -> bool:
    """Whether a run folder or weights file is that of a finetuned model. Raises `ModelError`."""
    path = weights_file(run)
    if is_released(path):
        return False
    return STRUCTURES in checkpoint.read_facts(path, kind="weights")


def load_segmenter(run: Path | str, *, device: str = "auto") -> Segmenter:
    """Load a run folder, a weights file or the published weights of MASS.

    Of a finetuned run it segments without a task. Raises `ModelError` when it cannot be trusted.
    """
    load = load_finetuned if is_finetuned(Path(run)) else Segmenter.load
    return load(Path(run), device=device)


def load_finetuned(run: Path, *, device: str = "auto") -> FinetunedSegmenter:
    """Load a finetuned run. Raises `ModelError` when it is none, or cannot be trusted."""
    target, path = choose_device(device), weights_file(run)
    if not is_finetuned(path):
        raise ModelError(
            path,
            found="a pretrained model, which knows no structures",
            expected="a finetuned model",
            fix="Give a task to it, or finetune it with labels first.",
            setting="task",
        )
    tensors, facts, fingerprint = checkpoint.load(path, kind="weights")
    record = checkpoint.validated(FinetunedRecord, facts, path)
    named = {name.removeprefix("trunk."): tensor for name, tensor in tensors.items()}
    trunk = unfilled_network(path, record.preset, named)
    classes = len(record.targets.classes)
    channels = len(record.channels or (1,))
    net = SegmentationNetwork(cast("FeatureNetworkModule", trunk), classes, channels)
    fill_weights(path, net, tensors)
    net = net.eval().requires_grad_(False).to(target)
    # torch's stubs do not know the argument
    net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return segmenter_of(net, record, target, facts=facts, fingerprint=fingerprint)


def segmenter_of(
    net: SegmentationNetwork,
    record: FinetunedRecord,
    device: torch.device,
    *,
    facts: Mapping[str, Any],
    fingerprint: str = "",
) -> FinetunedSegmenter:
    """A network on a device at work, in evaluation mode; `record` is what `facts` say."""
    trunk = cast("NetworkModule", net.trunk)
    crop, preparation = record.crop_vox, record.preparation
    trained = TrainedModel(trunk, crop, preparation, fingerprint, device, facts=facts)
    targets = record.targets
    channels = record.channels or ()
    return FinetunedSegmenter(trained, net, targets.values, targets.regions, channels)
