"""SAM2 and EdgeTAM of `transformers`, as this engine uses them: one copy of the weights.

The video model holds the whole image model, so masks of a slice and their way through the volume
come from the same object. The library's image processors need torchvision; slices and prompts
are made into tensors here instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mass3d.errors import ConfigError, ModelError
from mass3d.masks.sam2.weights import KINDS, extra_missing, read_architecture

# of ImageNet, in which the models were trained to see
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Network:
    """A video model on its device."""

    model: Any  # Sam2VideoModel or EdgeTamVideoModel
    session_type: Any
    device: torch.device

    @property
    def size(self) -> int:
        """Pixels of each side of the square that the model sees."""
        return int(self.model.image_size)

    def precision(self) -> AbstractContextManager[Any]:
        """bfloat16 where a GPU computes, float32 elsewhere."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def pixels(self, colours: NDArray[np.uint8]) -> Tensor:
        """A picture (H, W, 3) as the model's input (3, S, S), stretched to its square."""
        picture = torch.from_numpy(colours).to(self.device).permute(2, 0, 1)[None].float() / 255
        picture = F.interpolate(
            picture, size=(self.size, self.size), mode="bilinear", antialias=True
        )
        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (MEAN, STD))
        return ((picture - mean) / std)[0]

    def embed(self, colours: NDArray[np.uint8]) -> list[Tensor]:
        """Features of a picture (H, W, 3), finest first, for `decode`."""
        with torch.inference_mode(), self.precision():
            found: list[Tensor] = self.model.get_image_embeddings(self.pixels(colours)[None])
        return found

    def decode(self, features: list[Tensor], points: NDArray[np.floating[Any]]) -> Decoded:
        """Three masks for each of the points (P, 2), (x, y) as shares of the picture's sides."""
        at = torch.as_tensor(points, dtype=torch.float32, device=self.device) * self.size
        ones = torch.ones(1, len(points), 1, dtype=torch.int32, device=self.device)
        with torch.inference_mode(), self.precision():
            sparse, dense = self.model.get_prompt_embeddings(
                # the encoder counts from the middle of the first pixel
                input_points=at[None, :, None] - 0.5,
                input_labels=ones,
            )
            logits, quality, _, _ = self.model.mask_decoder(
                image_embeddings=features[-1],
                image_positional_embeddings=self.model.get_image_wide_positional_embeddings(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
                high_resolution_features=features[:-1],
            )
        return Decoded(logits[0].float(), quality[0].float())


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the model finds at each of P points: several masks, of a part up to the whole."""

    logits: Tensor  # (P, M, h, w), above 0 inside
    quality: Tensor  # (P, M), IoU that the model predicts for its mask


@lru_cache(maxsize=1)  # a cohort's cases share it
def load(folder: Path, *, device: torch.device, identity: str) -> Network:
    """The model of a checkpoint folder; `identity` tells when it must be read again.

    Raises `ConfigError` where a library is missing, `ModelError` where the weights do not fit.
    """
    kind = read_architecture(folder)["model_type"]
    try:
        import transformers  # noqa: PLC0415 - optional, and slow to import
    except ImportError as missing:
        raise extra_missing() from missing
    if kind.startswith("edgetam") and not find_spec("timm") and _wants_timm(folder):
        raise ConfigError(
            folder,
            found="an EdgeTAM model, and no library timm",
            expected="timm, which holds its backbone",
            fix="Run pip install timm, or take a SAM2 checkpoint.",
        )
    model_type, session_type = (getattr(transformers, name) for name in KINDS[kind])
    with _quiet(transformers):
        try:
            model, told = model_type.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # whatever the library thinks of a foreign folder
            raise _refused(folder, str(error).splitlines()[0]) from error
    wrong = [*told["missing_keys"], *told["mismatched_keys"]]
    if wrong:
        raise _refused(folder, f"{len(wrong)} missing or misshapen weights, such as {wrong[0]}")
    return Network(model.float().eval().to(device), session_type, device)


def _wants_timm(folder: Path) -> bool:
    backbone = read_architecture(folder).get("vision_config", {}).get("backbone_config") or {}
    return bool(backbone.get("model_type", "timm_wrapper") == "timm_wrapper")


def _refused(folder: Path, found: str) -> ModelError:
    return ModelError(
        folder,
        found=found,
        expected="the weights of the model that config.json describes",
        fix="Fetch the checkpoint again.",
    )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bars of the library for as long as the block runs."""
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
