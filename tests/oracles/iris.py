"""The released network written out plainly: no rewrites, and its weights under their own names.

Letters: B batch, K masks, T tokens of a mask, C channels, s stride of a map.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def released_shapes(
    channels: Sequence[int], *, edge: int = 128, prior_rows: int = 73
) -> dict[str, tuple[int, ...]]:
    """Every key and shape of the released network with these five widths."""
    shapes: dict[str, tuple[int, ...]] = {}
    deep = list(reversed(channels))[:3]
    for stage, width in enumerate(deep):
        shapes[f"task_prior_{stage}"] = (prior_rows, 11, width)
    shapes["encoder.inc.conv1.weight"] = (channels[0], 1, 3, 3, 3)
    shapes |= _block("encoder.inc.conv2", channels[0], channels[0])
    for i in range(1, 5):
        shapes |= _block(f"encoder.down{i}.conv.1", channels[i - 1], channels[i])
        shapes |= _block(f"encoder.down{i}.conv.2", channels[i], channels[i])
        out, below = channels[4 - i], channels[5 - i]
        shapes |= _block(f"decoder.up{i}.conv.0", out + below, out)
        shapes |= _block(f"decoder.up{i}.conv.1", out, out)
    for stage, width in enumerate(deep):
        shapes |= _fusion(f"decoder.prior_fuse.{stage}", width)
        shapes |= _task(f"task_embedding.{stage}", width, (16, 8, 4)[stage] ** 3, edge)
    total = sum(deep)
    shapes |= _affine("out.norm", total)
    for number, (before, after) in enumerate([(total, channels[0]), (channels[0], channels[0])]):
        name = f"out.classifier_pred.{number}"
        shapes |= _linear(f"{name}.fc1", before, before) | _linear(f"{name}.fc2", before, after)
    return shapes


def _block(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        f"{name}.conv1.conv.weight": (after, before, 3, 3, 3),
        f"{name}.conv2.conv.weight": (after, after, 3, 3, 3),
    }
    if before != after:
        found[f"{name}.shortcut.conv.weight"] = (after, before, 3, 3, 3)
    return found


def _affine(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


def _attention(name: str, width: int, *, norms: Sequence[str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        f"{name}.fn.mha.in_proj_weight": (3 * width, width),
        f"{name}.fn.mha.in_proj_bias": (3 * width,),
        **_linear(f"{name}.fn.mha.out_proj", width, width),
    }
    for norm in norms:
        found |= _affine(f"{name}.{norm}", width)
    return found


def _ffn(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        **_affine(f"{name}.norm", width),
        **_linear(f"{name}.fn.fc1", width, 4 * width),
        **_linear(f"{name}.fn.fc2", 4 * width, width),
    }


def _fusion(name: str, width: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for block in (0, 1):
        at = f"{name}.attn_layers.{block}"
        for cross in ("prior_aggregate_block", "feat_aggregate_block"):
            found |= _attention(f"{at}.{cross}", width, norms=("norm1", "norm2"))
        found |= _attention(f"{at}.prior_attn_block", width, norms=("norm",))
        for ffn in ("prior_ffn", "feat_ffn", "prior_ffn_2"):
            found |= _ffn(f"{at}.{ffn}", width)
    return found


def _task(name: str, width: int, cells: int, edge: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        f"{name}.task_query": (10, width),
        f"{name}.pos_embed.embedding": (1, 1, edge, edge, edge),
        f"{name}.expand.2.weight": (cells, width, 1, 1, 1),
        f"{name}.expand.2.bias": (cells,),
        f"{name}.merge.2.weight": (1, 2, 3, 3, 3),
        f"{name}.merge.2.bias": (1,),
        f"{name}.squeeze.2.weight": (width, cells, 1, 1, 1),
        f"{name}.squeeze.2.bias": (width,),
    }
    for norm in ("norm_foreground", "norm_query", "norm_combined", "norm_post"):
        found |= _affine(f"{name}.{norm}", width)
    for block in (0, 1):
        at = f"{name}.attn_layers.{block}"
        found |= _attention(f"{at}.query_aggregate_block", width, norms=("norm1", "norm2"))
        for own in ("query_attn_block_1", "query_attn_block_2"):
            found |= _attention(f"{at}.{own}", width, norms=("norm",))
        for ffn in ("query_ffn_1", "query_aggregate_ffn", "query_ffn_2"):
            found |= _ffn(f"{at}.{ffn}", width)
    return found


def made_weight(key: str, shape: tuple[int, ...], seed: int) -> Any:
    """The deterministic weight of a key: parity/README.md."""
    rng = np.random.default_rng([zlib.crc32(key.encode()), seed])
    w = rng.standard_normal(shape, dtype=np.float32)
    if key.endswith(".bias") or "task_prior" in key:
        return 0.1 * w
    if len(shape) == 1:
        return 1 + 0.1 * w
    if "pos_embed" in key:
        return 0.5 * w
    return w * np.float32(1 / np.sqrt(np.prod(shape[1:])))


def made_state(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Deterministic weights for all keys."""
    return {key: torch.from_numpy(made_weight(key, shape, seed)) for key, shape in shapes.items()}


def made_inputs(size: tuple[int, int, int], masks: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Target and reference (1, 1, D, H, W) and spheres (1, K, D, H, W): parity/README.md."""
    rng = np.random.default_rng([777, seed])
    target = rng.standard_normal((1, 1, *size), dtype=np.float32)
    reference = rng.standard_normal((1, 1, *size), dtype=np.float32)
    grid = np.meshgrid(*[np.arange(n) for n in size], indexing="ij")
    spheres = []
    for _ in range(masks):
        centre = [rng.uniform(0.25 * n, 0.75 * n) for n in size]
        radius = rng.uniform(0.12, 0.35) * min(size)
        squares = ((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True))
        spheres.append(sum(squares) < radius * radius)
    stacked = np.stack(spheres)[None].astype(np.float32)
    return torch.from_numpy(target), torch.from_numpy(reference), torch.from_numpy(stacked)


class PlainIris:
    """The network as the facts tell it; reference.md, section 4."""

    def __init__(self, state: State) -> None:
        self.state = state

    def encode(self, image: Tensor) -> list[Tensor]:
        """image (B, 1, D, H, W) -> maps at strides 1, 2, 4, 8, 16."""
        stem = F.conv3d(image, self.state["encoder.inc.conv1.weight"], padding=1)
        maps = [self._block(stem, "encoder.inc.conv2")]
        for i in range(1, 5):
            x = F.max_pool3d(maps[-1], 2)
            for number in (1, 2):
                x = self._block(x, f"encoder.down{i}.conv.{number}")
            maps.append(x)
        return maps

    def encode_task(self, maps: Sequence[Tensor], masks: Tensor) -> list[Tensor]:
        """Tokens (B, K, 11, C) of three stages, the deepest first."""
        return [self._task(f"task_embedding.{i}", maps[4 - i], masks) for i in range(3)]

    def dense(self, maps: Sequence[Tensor], tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Features (B, C, D, H, W) of the decoder, and posteriors (B, K, sum of C) of the masks."""
        x, posteriors = maps[4], []
        for i in range(1, 5):
            if i <= 3:
                x, fused = self._fusion(f"decoder.prior_fuse.{i - 1}", x, tokens[i - 1])
                posteriors.append(fused[:, :, 0])
            skip = maps[4 - i]
            up = F.interpolate(x, skip.shape[2:], mode="trilinear", align_corners=True)
            x = torch.cat([skip, up], 1)
            for number in (0, 1):
                x = self._block(x, f"decoder.up{i}.conv.{number}")
        return x, torch.cat(posteriors, -1)

    def decode(self, maps: Sequence[Tensor], tokens: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, D, H, W)."""
        features, posteriors = self.dense(maps, tokens)
        x = self._norm(posteriors, "out.norm", 1e-5)
        for number in (0, 1):
            x = self._mlp(x, f"out.classifier_pred.{number}")
        return torch.einsum("bkc,bcdhw->bkdhw", x, features)

    def __call__(self, target: Tensor, reference: Tensor, masks: Tensor) -> Tensor:
        """target, reference (B, 1, D, H, W), masks (B, K, D, H, W) -> logits of that shape."""
        found = self.encode(target)
        return self.decode(found, self.encode_task(self.encode(reference), masks))

    def _block(self, x: Tensor, name: str) -> Tensor:
        y = self._conv(x, f"{name}.conv1.conv.weight")
        y = self._conv(y, f"{name}.conv2.conv.weight")
        shortcut = f"{name}.shortcut.conv.weight"
        return y + (self._conv(x, shortcut) if shortcut in self.state else x)

    def _conv(self, x: Tensor, name: str) -> Tensor:
        return F.conv3d(F.relu(F.instance_norm(x, eps=1e-4)), self.state[name], padding=1)

    def _task(self, name: str, features: Tensor, masks: Tensor) -> Tensor:
        B, K = masks.shape[:2]
        state, size = self.state, masks.shape[2:]
        s = size[0] // features.shape[2]
        up = F.interpolate(features, size, mode="trilinear", align_corners=True)
        sums = torch.einsum("bcdhw,bkdhw->bkc", up, masks)
        foreground = sums / masks.sum((2, 3, 4)).clamp_min(1)[..., None]
        del up
        x = self._pointwise(features, f"{name}.expand.2")
        x = shuffled(x, s).repeat_interleave(K, 0)
        x = torch.cat([x, masks.flatten(0, 1)[:, None]], 1)
        x = F.relu(F.instance_norm(x, eps=1e-5))
        x = F.conv3d(x, state[f"{name}.merge.2.weight"], state[f"{name}.merge.2.bias"], padding=1)
        where = tuple(slice(n) for n in size)
        x = x + state[f"{name}.pos_embed.embedding"][(slice(None), slice(None), *where)]
        x = self._pointwise(unshuffled(x, s), f"{name}.squeeze.2")
        cells = (x + features.repeat_interleave(K, 0)).flatten(2).transpose(1, 2)
        queries = self._norm(state[f"{name}.task_query"], f"{name}.norm_query", 1e-5)
        first = self._norm(foreground, f"{name}.norm_foreground", 1e-5)
        tokens = torch.cat([queries.expand(B, K, -1, -1), first[:, :, None]], 2).flatten(0, 1)
        tokens = self._norm(tokens, f"{name}.norm_combined", 1e-5)
        for block in (0, 1):
            at = f"{name}.attn_layers.{block}"
            tokens = self._self(tokens, f"{at}.query_attn_block_1")
            tokens = self._ffn(tokens, f"{at}.query_ffn_1")
            tokens = self._cross(tokens, cells, f"{at}.query_aggregate_block")
            tokens = self._ffn(tokens, f"{at}.query_aggregate_ffn")
            tokens = self._self(tokens, f"{at}.query_attn_block_2")
            tokens = self._ffn(tokens, f"{at}.query_ffn_2")
        return self._norm(tokens, f"{name}.norm_post", 1e-5).unflatten(0, (B, K))

    def _fusion(self, name: str, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        K = tokens.shape[1]
        cells, flat = features.flatten(2).transpose(1, 2), tokens.flatten(1, 2)
        for block in (0, 1):
            at = f"{name}.attn_layers.{block}"
            flat = self._cross(flat, cells, f"{at}.prior_aggregate_block")
            flat = self._ffn(flat, f"{at}.prior_ffn")
            cells = self._cross(cells, flat, f"{at}.feat_aggregate_block")
            cells = self._ffn(cells, f"{at}.feat_ffn")
            flat = self._self(flat, f"{at}.prior_attn_block")
            flat = self._ffn(flat, f"{at}.prior_ffn_2")
        back = cells.transpose(1, 2).unflatten(2, features.shape[2:])
        return back, flat.unflatten(1, (K, -1))

    def _pointwise(self, x: Tensor, name: str) -> Tensor:
        x = F.relu(F.instance_norm(x, eps=1e-5))
        return F.conv3d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def _self(self, x: Tensor, name: str) -> Tensor:
        y = self._norm(x, f"{name}.norm", 1e-4)
        return x + self._attention(y, y, name)

    def _cross(self, x: Tensor, context: Tensor, name: str) -> Tensor:
        y = self._norm(x, f"{name}.norm1", 1e-5)
        return x + self._attention(y, self._norm(context, f"{name}.norm2", 1e-5), name)

    def _attention(self, x: Tensor, context: Tensor, name: str) -> Tensor:
        width, mha = x.shape[-1], f"{name}.fn.mha"
        module = torch.nn.MultiheadAttention(
            width, width // 32, batch_first=True, device="meta"
        ).eval()
        prefix = f"{mha}."
        own = {k.removeprefix(prefix): v for k, v in self.state.items() if k.startswith(prefix)}
        found: Tensor = torch.func.functional_call(
            module, own, (x, context, context), {"need_weights": False}
        )[0]
        return found

    def _ffn(self, x: Tensor, name: str) -> Tensor:
        return x + self._mlp(self._norm(x, f"{name}.norm", 1e-4), f"{name}.fn")

    def _mlp(self, x: Tensor, name: str) -> Tensor:
        for number, layer in enumerate(("fc1", "fc2")):
            weight, bias = (self.state[f"{name}.{layer}.{kind}"] for kind in ("weight", "bias"))
            x = F.linear(F.gelu(x) if number else x, weight, bias)
        return x


def shuffled(x: Tensor, s: int) -> Tensor:
    """(B, s³, d, h, w) -> (B, 1, s d, s h, s w): channels become voxels, the last axis fastest."""
    B, _, d, h, w = x.shape
    blocks = x.view(B, s, s, s, d, h, w).permute(0, 4, 1, 5, 2, 6, 3)
    return blocks.reshape(B, 1, d * s, h * s, w * s)


def unshuffled(x: Tensor, s: int) -> Tensor:
    """The inverse of `shuffled`."""
    B, _, D, H, W = x.shape
    blocks = x.view(B, D // s, s, H // s, s, W // s, s).permute(0, 2, 4, 6, 1, 3, 5)
    return blocks.reshape(B, s**3, D // s, H // s, W // s)
