from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from feature_networks import small_trunk
from mass3d.errors import ConfigError, ModelError
from mass3d.io.datasets.channels import Wanted
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.model.protocol import NetworkModule
from mass3d.model.segmentation import SegmentationNetwork
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.finetuned.segmenter import FinetunedSegmenter, load_finetuned
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.trained import TrainedModel, load_trained
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.volume import Volume

CPU = torch.device("cpu")
CROP = (8, 12, 8)


class ByValue(nn.Module):
    """Says 2 structures by the brightness of a voxel, and notes the shapes that it is shown."""

    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen += [tuple(image.shape[2:])] * len(image)
        background = torch.zeros_like(image)
        return 20 * torch.cat([background, image - 1, -image - 0.5], 1)


def segmenter(net: nn.Module) -> FinetunedSegmenter:
    preparation = PreparationConfig(spacing_mm=2.0, modality="ct")
    trunk = cast("NetworkModule", small_trunk())
    trained = TrainedModel(trunk, CROP, preparation, "0" * 64, CPU)
    return FinetunedSegmenter(trained, cast("SegmentationNetwork", net), {"bright": 7, "dark": 300})


def volume(shape: tuple[int, int, int]) -> Volume:
    """Grey with a bright and a dark block, voxels of 2 mm."""
    voxels = np.full(shape, 100, np.float32)
    voxels += np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    voxels[2:6, 4:8, 4:8] = 400
    voxels[8:12, 4:8, 4:8] = -400
    return Volume.from_array(voxels, spacing_mm=(2.0, 2.0, 2.0))


def test_values_of_structures_are_where_the_network_says() -> None:
    scan = volume((14, 14, 13))
    found = segmenter(ByValue()).segment(scan).voxels
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found == 7, scan.voxels > 300)
    np.testing.assert_array_equal(found == 300, scan.voxels < -300)


def test_a_scan_is_seen_as_a_whole_up_to_twice_the_crop_along_each_axis() -> None:
    net = ByValue()
    segmenter(net).segment(volume((14, 14, 13)))
    assert net.seen == [(16, 16, 16)]
    net.seen.clear()
    answer = segmenter(net).answer(volume((14, 40, 13)), overlap=0.25)
    assert set(net.seen) == {(16, 24, 16)}
    assert len(net.seen) == 2
    assert answer.method == "finetuned"


def test_a_task_or_a_prior_is_refused() -> None:
    scan = volume((14, 14, 13))
    with pytest.raises(ConfigError, match="a prior for a finetuned model"):
        segmenter(ByValue()).answer(scan, prior=scan)
    with pytest.raises(ModelError, match="which knows its structures"):
        segmenter(ByValue()).task([scan], [scan], {"x": 1})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A weights file as finetuning leaves it."""
    trunk = build_network(PRESETS["tiny"], seed=0)
    net = SegmentationNetwork(trunk, 2)  # type: ignore[arg-type]
    facts = {
        "preset": PRESETS["tiny"].plain(),
        "crop_vox": [16, 32, 48],
        "preparation": PreparationConfig(spacing_mm=2.5).plain(),
        "structures": [["liver", 5], ["aorta", 2]],
        "start": "scratch",
        "model": "0" * 64,
        "scans": "1" * 64,
        "step": 3,
    }
    checkpoint.save(tmp_path / WEIGHTS, net.state_dict(), kind="weights", facts=facts)
    return tmp_path


def test_a_finetuned_run_tells_its_structures_in_the_order_of_its_classes(run: Path) -> None:
    loaded = load_finetuned(run, device="cpu")
    assert list(loaded.structures.items()) == [("liver", 5), ("aorta", 2)]
    assert loaded.trained.crop == (16, 32, 48)
    assert loaded.trained.preparation.spacing_mm == 2.5
    assert not loaded.net.training


def test_a_finetuned_run_is_no_pretrained_one(run: Path) -> None:
    with pytest.raises(ModelError, match="a finetuned model"):
        load_trained(run, device="cpu")


def test_tensors_of_another_number_of_structures_are_refused(run: Path) -> None:
    tensors, facts, _ = checkpoint.load(run / WEIGHTS, kind="weights")
    more = {**facts, "structures": [*facts["structures"], ["spleen", 9]]}
    checkpoint.save(run / WEIGHTS, tensors, kind="weights", facts=more)
    with pytest.raises(ModelError, match="size mismatch"):
        load_finetuned(run, device="cpu")


class Brighter(nn.Module):
    """Says the 2 structures by which of two channels is brighter."""

    stride = 4

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        one, two = images[:, :1], images[:, 1:]
        return 20 * torch.cat([torch.zeros_like(one), one - two - 0.5, two - one - 0.5], 1)


def test_a_model_of_several_channels_wants_one_scan_of_each() -> None:
    scan = volume((14, 14, 13))
    dim = scan.with_voxels(np.where(abs(scan.voxels) > 200, scan.voxels, 90).astype(np.float32))
    grey = scan.with_voxels(np.random.default_rng(1).normal(100, 1, scan.voxels.shape))
    plain = segmenter(Brighter())
    channels = (Wanted(0, "one"), Wanted(3, ""))
    model = replace(plain, channels=channels)
    found = model.segment([dim, grey]).voxels
    np.testing.assert_array_equal(found == 7, scan.voxels > 300)
    np.testing.assert_array_equal(found == 300, scan.voxels < -300)
    swapped = model.answer((grey, dim)).labels
    np.testing.assert_array_equal(swapped == 300, scan.voxels > 300)
    for given, told in ((scan, "1 scan"), ([dim, grey, scan], "3 scans")):
        with pytest.raises(ConfigError, match=f"{told}; expected one for each of 2 .* one, 0003"):
            model.segment(given)
    with pytest.raises(ConfigError, match="2 scans; expected one, as"):
        plain.segment([scan, scan])
    one = segmenter(ByValue()).segment([scan]).voxels
    np.testing.assert_array_equal(one, segmenter(ByValue()).segment(scan).voxels)


def test_a_channel_is_the_kind_of_scan_that_its_name_says() -> None:
    """Both are -400 to 400: as CT the numbers stay apart from those of a scan by its own spread."""
    seen: list[torch.Tensor] = []

    class Looking(Brighter):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return super().forward(images)

    scan = volume((16, 16, 16))
    names = (Wanted(0, "CT"), Wanted(1, "T1 MR"))
    replace(segmenter(Looking()), channels=names).segment([scan, scan])
    assert seen[0][0, 0].mean() == pytest.approx((100 + 100) / 300, abs=0.05)
    assert abs(float(seen[0][0, 1].mean())) < 0.3


def test_the_channels_of_a_run_are_in_its_file(run: Path) -> None:
    assert load_finetuned(run, device="cpu").channels == ()
    _, facts, _ = checkpoint.load(run / WEIGHTS, kind="weights")
    trunk = build_network(PRESETS["tiny"], seed=0)
    net = SegmentationNetwork(trunk, 2, 2)  # type: ignore[arg-type]
    facts = {**facts, "channels": [[0, "CT"], [1, "PET"]]}
    checkpoint.save(run / WEIGHTS, net.state_dict(), kind="weights", facts=facts)
    loaded = load_finetuned(run, device="cpu")
    assert loaded.channels == ((0, "CT"), (1, "PET"))
    assert [one.called for one in loaded.channels] == ["CT", "PET"]
    assert loaded.net.channels == 2
    checkpoint.save(
        run / WEIGHTS, net.state_dict(), kind="weights", facts={**facts, "channels": []}
    )
    with pytest.raises(ModelError, match="channels"):
        load_finetuned(run, device="cpu")


def test_a_pretrained_model_sees_one_scan() -> None:
    scan, model = volume((14, 14, 13)), Segmenter(segmenter(ByValue()).trained)
    with pytest.raises(ConfigError, match="2 scans at once"):
        model.segment([scan, scan])
    for given in (scan, [scan]):
        with pytest.raises(ConfigError, match="no task for a pretrained model"):
            model.segment(given)
