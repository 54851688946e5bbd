from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam2Model

from mass3d.errors import ConfigError, ModelError
from mass3d.masks.sam2.crops import point_grid
from mass3d.masks.sam2.network import Network, load
from sam2_models import SIZE

CPU = torch.device("cpu")


def network(folder: Path) -> Network:
    return load(folder, device=CPU, identity=str(folder))


def picture(seed: int = 0, shape: tuple[int, int] = (40, 48)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def altered(folder: Path, target: Path, **weights: torch.Tensor | None) -> Path:
    """A copy of a checkpoint with other weights; None leaves one out."""
    shutil.copytree(folder, target)
    merged = load_file(target / "model.safetensors") | weights
    held = {name: tensor for name, tensor in merged.items() if tensor is not None}
    save_file(held, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_masks_are_those_of_the_image_model_of_the_same_checkpoint(random: Path) -> None:
    """`Sam2Model` reads the same file; the video model must not need a second copy of it."""
    ours, points = network(random), point_grid(4)
    decoded = ours.decode(ours.embed(picture()), points)
    theirs = Sam2Model.from_pretrained(random).eval()
    with torch.inference_mode():
        expected = theirs(
            pixel_values=ours.pixels(picture())[None],
            input_points=torch.as_tensor(points, dtype=torch.float32)[None, :, None] * SIZE - 0.5,
            multimask_output=True,
        )
    torch.testing.assert_close(decoded.logits, expected.pred_masks[0])
    torch.testing.assert_close(decoded.quality, expected.iou_scores[0])


def test_a_picture_is_stretched_to_the_models_square_and_normalised(random: Path) -> None:
    grey = np.full((30, 50, 3), 51, np.uint8)
    pixels = network(random).pixels(grey)
    assert pixels.shape == (3, SIZE, SIZE)
    for channel, mean, std in zip(
        pixels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True
    ):
        torch.testing.assert_close(channel, torch.full((SIZE, SIZE), (0.2 - mean) / std))


def test_a_point_is_asked_for_where_it_lies(random: Path) -> None:
    """A quarter from the left and three from the top, in the encoder's terms of -1 to 1."""
    ours = network(random)
    asked = []
    embedding = ours.model.prompt_encoder.shared_embedding
    handle = embedding.register_forward_hook(lambda _, given, made: asked.append((given, made)))
    ours.decode(ours.embed(picture()), np.array([[0.25, 0.75]]))
    handle.remove()
    turns = 2 * np.pi * (torch.tensor([-0.5, 0.5]) @ embedding.positional_embedding)
    torch.testing.assert_close(asked[0][1][0, 0, 0], torch.cat([turns.sin(), turns.cos()]))


def test_a_model_is_read_once_for_all_cases(random: Path) -> None:
    assert network(random) is network(random)
    assert load(random, device=CPU, identity="other weights") is not network(random)


def test_reading_a_model_shows_nothing(random: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(random, device=CPU, identity="shown")
    assert capfd.readouterr() == ("", "")


def test_missing_weights_are_refused_instead_of_drawn(random: Path, tmp_path: Path) -> None:
    folder = altered(random, tmp_path / "m", **{"mask_decoder.conv_s0.weight": None})
    with pytest.raises(ModelError, match=r"1 missing or misshapen .* mask_decoder.conv_s0.weight"):
        network(folder)


def test_weights_of_another_shape_are_refused(random: Path, tmp_path: Path) -> None:
    folder = altered(random, tmp_path / "m", **{"mask_decoder.conv_s0.bias": torch.zeros(3)})
    with pytest.raises(ModelError, match="Fetch the checkpoint again"):
        network(folder)


def test_a_truncated_file_is_refused(random: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random, tmp_path / "m"))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="Fetch the checkpoint again"):
        network(folder)


def test_a_missing_extra_is_named(random: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[sam2\]'"):
        load(random, device=CPU, identity="without the extra")


def test_an_edgetam_with_its_own_backbone_asks_for_timm(edgetam: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(edgetam, tmp_path / "m"))
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["backbone_config"] = {"model_type": "timm_wrapper"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="pip install timm"):
        network(folder)
