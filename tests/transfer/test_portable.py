"""Models as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from feature_networks import SmallTrunk, small_trunk
from mass3d.errors import ConfigError, ModelError
from mass3d.model.protocol import NetworkModule
from mass3d.model.segmentation import add_head
from mass3d.transfer import portable
from mass3d.transfer.finetuned.segmenter import FinetunedSegmenter
from mass3d.transfer.portable import OPSET, require_onnx, write_onnx
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.preparation import PreparationConfig

CROP = (8, 12, 16)


def trained(net: SmallTrunk) -> TrainedModel:
    module = cast("NetworkModule", net.eval())
    return TrainedModel(
        module, CROP, PreparationConfig(spacing_mm=2.0), "ab" * 32, torch.device("cpu")
    )


def test_a_finetuned_model_gives_the_logits_of_any_number_of_windows(tmp_path: Path) -> None:
    net = add_head(small_trunk(), 2, seed=0).eval()
    torch.nn.init.normal_(net.out.weight)
    segmenter = FinetunedSegmenter(trained(SmallTrunk()), net, {"liver": 7, "aorta": 2})
    found = write_onnx(tmp_path / "model.onnx", segmenter)
    assert (found.output, found.opset, found.window_vox) == ("logits", OPSET, CROP)
    assert 0 <= found.max_relative_error < 1e-5
    model = onnx.load(tmp_path / "model.onnx")
    assert [one.version for one in model.opset_import] == [OPSET]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch in (1, 3):
        image = np.random.default_rng(0).normal(size=(batch, 1, *CROP)).astype(np.float32)
        (answer,) = session.run(None, {"image": image})
        with torch.no_grad():
            expected = net(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(answer, expected, atol=1e-4)
    told = session.get_modelmeta().custom_metadata_map
    assert told["structures"] == '{"liver": 7, "aorta": 2}'
    assert told["classes"] == "[[7], [2]]"
    assert told["window_vox"] == "[8, 12, 16]"
    before = (tmp_path / "model.onnx").read_bytes()
    write_onnx(tmp_path / "model.onnx", segmenter)
    assert (tmp_path / "model.onnx").read_bytes() == before


class Unusual(SmallTrunk):
    """With an operation that ONNX has not."""

    def features(self, image: Tensor) -> Tensor:
        return super().features(image).cauchy_()


class Fickle(SmallTrunk):
    """Answers by more than its input."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def features(self, image: Tensor) -> Tensor:
        self.asked += 1
        return super().features(image) * self.asked


class Batchless(SmallTrunk):
    """Counts its windows once and for all when it is traced."""

    def features(self, image: Tensor) -> Tensor:
        found = super().features(image)
        return torch.cat([found, found])[: len(image)]


@pytest.mark.parametrize(
    ("net", "told"), [(Unusual(), "cauchy"), (Fickle(), "differ by"), (Batchless(), "differ by")]
)
def test_what_cannot_be_written_is_refused(net: SmallTrunk, told: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=told):
        write_onnx(tmp_path / "model.onnx", Segmenter(trained(net)))
    assert not list(tmp_path.iterdir())


def test_without_onnx_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require_onnx()
    monkeypatch.setattr(portable, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[onnx\]'"):
        require_onnx()
