"""Small SAM2 video models: the library's own classes with weights that are drawn or chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    EdgeTamVideoConfig,
    EdgeTamVideoModel,
    Sam2VideoConfig,
    Sam2VideoModel,
)
from transformers.utils import logging

from mass3d.masks.sam2.settings import Sam2Config, Sam2Profile

MEAN, STD = -100.0, 300.0  # of the CT that they are shown, in HU
SIZE = 64  # pixels of each side of what the models see
SHARP = 128  # of the one that finds what is bright
WIDTH = 128  # the library wants twice the width of a memory, and that is fixed at 64


def vision(size: int) -> dict[str, Any]:
    """An image encoder of five blocks."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [size, size],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 24, 32],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    return {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [32, 24, 16, 8],
        "backbone_feature_sizes": [[size // stride, size // stride] for stride in (4, 8, 16)],
        "fpn_hidden_size": WIDTH,
    }


def architecture(size: int = SIZE) -> dict[str, Any]:
    """What SAM2 and EdgeTAM have in common, small."""
    side = size // 16
    return {
        "vision_config": vision(size),
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": size, "patch_size": 16},
        "mask_decoder_config": {
            "hidden_size": WIDTH,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        "image_size": size,
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 1,
        "memory_attention_rope_feat_sizes": [side, side],
        "memory_encoder_hidden_size": WIDTH,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_num_layers": 1,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": 32,
    }


def random_sam2(seed: int = 1, gain: float = 1.5) -> Any:
    """A SAM2 whose weights are drawn, large enough that its masks differ in size and place."""
    return _drawn(Sam2VideoModel, _sam2(SIZE), seed, gain)


def _sam2(size: int) -> Any:
    return Sam2VideoConfig(**architecture(size), memory_attention_feed_forward_hidden_size=32)


def random_edgetam(seed: int = 1, gain: float = 1.5) -> Any:
    """An EdgeTAM with SAM2's image encoder, because its own is in a library of its own (timm)."""
    config = EdgeTamVideoConfig(
        **architecture(),
        memory_attention_mlp_hidden_size=32,
        memory_attention_rope_k_sizes=[4, 4],
        perceiver_resampler_num_latents=16,
        perceiver_resampler_num_latents_2d=16,
        perceiver_resampler_num_layers=1,
    )
    return _drawn(EdgeTamVideoModel, config, seed, gain)


def _drawn(kind: Any, config: Any, seed: int, gain: float) -> Any:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = kind(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, gain / parameter[0].numel() ** 0.5)
        # sure that the object is still there, so that it is followed to the end
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(30)
    return model.eval()


def bright_sam2(levels: Sequence[float] = (0.3, 0.6, 0.8)) -> Any:
    """A SAM2 that finds what is brighter than each of three levels, whatever it is asked.

    Levels are shares of white. Of the weights only those on the straight way from the picture to
    the masks are not 0; the model trusts the second level most, and follows by it.
    """
    model = Sam2VideoModel(_sam2(SHARP)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        patch = model.vision_encoder.backbone.patch_embed.projection
        patch.weight[0, :, 1:5, 1:5] = torch.tensor([0.229, 0.224, 0.225])[:, None, None] / 48
        patch.bias[0] = sum((0.485, 0.456, 0.406)) / 3  # so that channel 0 is the share of white
        model.vision_encoder.neck.convs[3].weight[0, 0] = 1
        decoder = model.mask_decoder
        decoder.conv_s0.weight[0, 0] = 100
        decoder.conv_s0.bias[:2] = torch.tensor([100.0, 100.0])  # GELU leaves large numbers alone
        for token, level in enumerate((levels[1], *levels)):
            out = decoder.output_hypernetworks_mlps[token].proj_out
            out.bias[:2] = torch.tensor([1.0, -1 - level])
        decoder.iou_prediction_head.proj_out.bias[:] = torch.tensor([0.0, 1.0, 2.0, 0.5])
        decoder.pred_obj_score_head.proj_out.bias[:] = 10
    return model


def quick(checkpoint: Path, **others: Any) -> Sam2Config:
    """Settings that are quick and that believe most of what a drawn model says."""
    ct = Sam2Profile(unit="raw", channels=Sam2Config().ct.channels, min_stability=0.5)
    given = {
        "checkpoint": str(checkpoint),
        "device": "cpu",
        "ct": ct.model_copy(update={"min_predicted_iou": 0.3}),
        "min_in_body": 0.5,
        "points_per_side": 2,
        "crop_layers": 0,
        "interval_mm": 20.0,
        "min_seeds": 2,
        **others,
    }
    return Sam2Config.model_validate(given)


def save(model: Any, folder: Path) -> Path:
    """Write a model as the hub holds it."""
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    return folder
