"""What comes next fits in without touching a file: a network, an objective, a kind of view."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mass3d.io.datasets.cohort import find_cases, find_label
from mass3d.io.read import read_label, read_volume
from mass3d.model.protocol import Maps, NetworkModule, TaskTensors, segment_pair
from mass3d.pretext.tokens import pair_step
from mass3d.store.reader import Store, StoredCase
from mass3d.training import checkpoint
from mass3d.training.fit import FitConfig, StepContext, StepOutcome, fit
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.incontext import encode_reference, predict
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import TrainedModel
from mass3d.views.draw import (
    IntensityConfig,
    ViewConfig,
    WarpConfig,
    draw_intensity,
    draw_warp,
    stream,
)
from mass3d.views.pair import PairMaker
from mass3d.views.render import render_view
from mass3d.views.single import SingleMaker, SingleViews
from mass3d.volume.box import Box
from mass3d.volume.preparation import prepare_label, prepare_volume

MAX_LINES = 60
CROP = (16, 16, 16)
CPU = torch.device("cpu")


class PlainNetwork(nn.Module):
    """Three convolutions. A task is the mean feature of each mask: cosine finds what is like it."""

    stride = 2

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, width, 3, stride=2, padding=1)
        self.body = nn.Conv3d(width, width, 3, padding=1)
        self.key = nn.Conv3d(width, width, 1)

    def encode(self, image: Tensor) -> Maps:
        """image (B, 1, D, H, W) -> one map at half resolution."""
        return [self.key(F.silu(self.body(F.silu(self.stem(image)))))]

    def encode_task(self, maps: Maps, masks: Tensor) -> TaskTensors:
        """masks (B, K, D, H, W) -> mean (B, K, C)."""
        shares = F.avg_pool3d(masks, 2).flatten(2)
        total = torch.einsum("bkn,bcn->bkc", shares, maps[0].flatten(2))
        return {"mean": total / shares.sum(2, keepdim=True).clamp_min(1e-6)}

    def join_tasks(self, parts: Sequence[TaskTensors], weights: Tensor) -> TaskTensors:
        """weights (P, K): the weighted average."""
        share = (weights / weights.sum(0).clamp_min(1e-9))[:, None, :, None]
        return {"mean": (torch.stack([part["mean"] for part in parts]) * share).sum(0)}

    def decode(self, maps: Maps, task: TaskTensors) -> Tensor:
        """Logits (B, K, D, H, W): ten times cosine, less its middle."""
        features, means = F.normalize(maps[0], dim=1), F.normalize(task["mean"], dim=2)
        logits = 10 * torch.einsum("bcdhw,bkc->bkdhw", features, means) - 5
        return F.interpolate(logits, scale_factor=2, mode="trilinear")

    def forward(self, reference: Tensor, masks: Tensor, query: Tensor) -> Tensor:
        """reference, query (B, 1, D, H, W); masks (B, K, D, H, W) -> logits."""
        return segment_pair(self, reference, masks, query)


class Inpainter(nn.Module):
    """A network, and a layer that draws what was hidden from its features."""

    def __init__(self, network: PlainNetwork, width: int = 8) -> None:
        super().__init__()
        self.network, self.draw = network, nn.Conv3d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W) -> the same, drawn."""
        return F.interpolate(self.draw(self.network.encode(image)[0]), scale_factor=2)


def inpainting_step(model: nn.Module, views: SingleViews, context: StepContext) -> StepOutcome:
    """Hide half of the blocks of 4 voxels, drawn by the step's own generator, and draw them."""
    d, h, w = (n // 4 for n in views.image.shape[2:])
    hidden = torch.rand((len(views.image), 1, d, h, w), generator=context.generator) < 0.5
    hidden = hidden.repeat_interleave(4, 2).repeat_interleave(4, 3).repeat_interleave(4, 4)
    drawn = model(views.image.masked_fill(hidden, 0))
    loss = F.mse_loss(drawn[hidden], views.image[hidden])
    return StepOutcome(loss, {"error": loss.detach()}, views.case_ids)


@dataclass(frozen=True)
class Labelled:
    """A stored case whose label is moved with its image."""

    case: StoredCase
    label: NDArray[np.uint16]  # (D, H, W)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.case.shape

    @property
    def outside(self) -> float:
        return self.case.outside

    def read_stored_image(self, box: Box) -> NDArray[np.floating[Any]]:
        return self.case.read_stored_image(box)

    def read_layers(self, box: Box) -> NDArray[np.integer[Any]]:
        return self.label[(None, *box)]


class LabelledViews(NamedTuple):
    """One view per sample, with its label."""

    image: Tensor  # (B, 1, D, H, W)
    label: Tensor  # (B, D, H, W) int32


def labelled_views(cases: Sequence[Labelled], *, seed: int) -> LabelledViews:
    """One view of the middle of each case."""
    rngs = [stream(seed, 0, index) for index in range(len(cases))]
    middles = [(np.array(case.shape) - 1) / 2 for case in cases]
    warps = [
        draw_warp(rng, middle, CROP, WarpConfig())
        for rng, middle in zip(rngs, middles, strict=True)
    ]
    lights = [draw_intensity(rng, IntensityConfig()) for rng in rngs]
    views = render_view(cases, warps, lights, crop=CROP, device=CPU)
    return LabelledViews(views.images, views.ranks[:, 0])


NETWORK = (PlainNetwork,)
OBJECTIVE = (Inpainter, inpainting_step)
VIEW = (Labelled, LabelledViews, labelled_views)


@pytest.mark.parametrize("addition", [NETWORK, OBJECTIVE, VIEW])
def test_each_addition_is_short(addition: tuple[Any, ...]) -> None:
    assert sum(len(inspect.getsource(part).splitlines()) for part in addition) < MAX_LINES


@pytest.fixture(scope="module")
def cases(store: Path) -> list[StoredCase]:
    opened = Store.open(store)
    return [opened.case(case_id) for case_id in opened.case_ids]


def config(steps: int) -> FitConfig:
    return FitConfig(steps=steps, batch_size=2, log_every=steps, lr=1e-2, precision="32-true")


def test_a_plain_network_is_pretrained_and_segments(
    cases: list[StoredCase], store: Path, cohort: Path, tmp_path: Path
) -> None:
    pairs = PairMaker(cases, ViewConfig(num_masks=4), crop=CROP, batch_size=2, seed=0)
    torch.manual_seed(0)
    fit(PlainNetwork(), pairs, pair_step, config(6), run=tmp_path, facts={"plain": True})
    tensors, _, fingerprint = checkpoint.load(tmp_path / WEIGHTS, kind="weights")
    net = PlainNetwork()
    net.load_state_dict(tensors)
    preparation = Store.open(store).preparation
    model = TrainedModel(cast("NetworkModule", net.eval()), CROP, preparation, fingerprint, CPU)

    path = find_cases([cohort / "imagesTr"])[0].path
    scan = read_volume(path)
    label_path = find_label(cohort / "labelsTr", path.name.removesuffix("_0000.nii.gz"))
    assert label_path is not None
    prepared = prepare_volume(scan, preparation)
    label = prepare_label(read_label(label_path, like=scan), prepared.grid)
    values = [value for value in np.unique(label).tolist() if value]
    reference = encode_reference(model, prepared, label, values, name="one")
    names = {str(value): value for value in values}
    task = Task((reference,), names, model=fingerprint)
    found = torch.cat([slab for _, slab in predict(model, prepared, task, overlap=0.5)], 1)
    assert found.shape == (len(values), *prepared.image.shape)
    # it was shown this scan: what is like a structure is likelier inside than outside of it
    inside = [
        float(p[torch.from_numpy(label == v)].mean()) for p, v in zip(found, values, strict=True)
    ]
    outside = [float(p[torch.from_numpy(label == 0)].mean()) for p in found]
    assert np.mean(inside) > np.mean(outside)


def test_a_second_objective_learns(cases: list[StoredCase], tmp_path: Path) -> None:
    views = SingleMaker(cases, CROP, 2, 0, WarpConfig(), IntensityConfig())
    torch.manual_seed(0)
    model = Inpainter(PlainNetwork())
    batch = views(0, CPU)

    def error(net: nn.Module) -> float:
        context = StepContext(0, torch.Generator().manual_seed(0), net)
        return float(inpainting_step(net, batch, context).loss.detach())

    before = error(model)
    settings = config(60).model_copy(update={"ema_decay": 0.5})
    trained = fit(model, views, inpainting_step, settings, run=tmp_path, facts={})
    assert error(trained) < 0.8 * before


def test_a_label_moves_with_its_image(cases: list[StoredCase]) -> None:
    bright = [case.read_image() for case in cases]
    labelled = [
        Labelled(case, (image > np.median(image)).astype(np.uint16))
        for case, image in zip(cases, bright, strict=True)
    ]
    views = labelled_views(labelled, seed=3)
    assert views.label.shape == (len(cases), *CROP)
    for image, label in zip(views.image[:, 0], views.label, strict=True):
        assert 0 < int(label.sum()) < label.numel()
        assert image[label == 1].mean() > image[label == 0].mean()
    again = labelled_views(labelled, seed=3)
    assert torch.equal(views.label, again.label)
    assert torch.equal(views.image, again.image)
