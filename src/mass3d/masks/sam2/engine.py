"""From a prepared scan to masks: seed slices, automatic masks, propagation, packing.

torch and transformers are imported only when masks are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from mass3d.files import text_hash
from mass3d.masks.layers import MaskSet
from mass3d.masks.packing import CutMask, pack
from mass3d.masks.sam2.regions import distinct
from mass3d.masks.sam2.settings import Axis, Sam2Config
from mass3d.masks.sam2.slice_files import Work
from mass3d.masks.sam2.slices import AXES, Slices, raw_ranges, seed_slices
from mass3d.masks.sam2.weights import locate, weights_id
from mass3d.volume.body import body_mask, fill_axial
from mass3d.volume.box import Box
from mass3d.volume.volume import Modality

if TYPE_CHECKING:
    from mass3d.masks.sam2.network import Network

ENGINE = "sam2"


def propose(
    image: NDArray[np.float32],
    *,
    spacing_mm: float,
    modality: Modality,
    mean: float,
    std: float,
    config: Sam2Config,
    work: Path | None = None,
) -> MaskSet:
    """Masks of a prepared scan; their score is the quality that SAM2 predicts for them.

    image (D, H, W), normalised; raw intensities are `image * std + mean`. `work` is a folder for
    what is finished: after a kill the same call goes on there and ends with the same bytes; the
    caller removes it. Raises `ConfigError` and `ModelError` as `weights.locate` does, and where the
    model or the device cannot be used.
    """
    network = _network(config)
    raw = image * np.float32(std) + np.float32(mean)
    body = fill_axial(body_mask(raw, modality))
    profile = config.profile(modality)
    scan = Slices(image, body, mean, std, raw_ranges(raw, body, profile))
    del raw
    if work is not None:
        facts = {"spacing_mm": spacing_mm, "modality": modality, "mean": mean, "std": std}
        work /= _key(image, facts, config)
    case = _Case(network, scan, spacing_mm, modality, config, Work(work))
    found = [mask for axis in config.axes for mask in case.masks_along(axis)]
    kept = distinct(found, max_iou=config.max_iou)[: config.max_masks]
    shape = image.shape[0], image.shape[1], image.shape[2]
    return pack(kept, shape=shape, engine=ENGINE)


def _network(config: Sam2Config) -> Network:
    from mass3d.device import choose_device  # noqa: PLC0415 - torch
    from mass3d.masks.sam2.network import load  # noqa: PLC0415 - torch

    device = choose_device(config.device, setting="masks.sam2.device")
    return load(locate(config), device=device, identity=weights_id(config))


def _key(image: NDArray[np.float32], facts: dict[str, Any], config: Sam2Config) -> str:
    """A name for everything that decides the masks of a case."""
    pixels = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
    settings = {"settings": config.content(), "weights": weights_id(config)}
    return text_hash({"image": pixels, "shape": image.shape, **facts, **settings})[:16]


@dataclass(frozen=True, eq=False)
class _Case:
    """One scan on its way through the engine."""

    network: Network
    scan: Slices  # axial
    spacing_mm: float
    modality: Modality
    config: Sam2Config
    work: Work

    def masks_along(self, axis: Axis) -> Iterator[CutMask]:
        """Masks of (D, H, W) from slices across one axis, large enough to count."""
        slices = self.scan.along(axis)
        least = self.config.profile(self.modality).min_mm3 / self.spacing_mm**3
        seeds = seed_slices(
            slices.body,
            spacing_mm=self.spacing_mm,
            interval_mm=self.config.interval_mm,
            least=self.config.min_seeds,
        )
        for seed in seeds:
            for mask in self._from_seed(slices, axis, seed):
                if mask.voxels >= least:
                    yield _axis_back(mask, AXES[axis])

    def _from_seed(self, slices: Slices, axis: Axis, seed: int) -> Iterator[CutMask]:
        """Masks found on one slice and followed from there, in chunks."""
        from mass3d.masks.sam2.propagate import follow  # noqa: PLC0415 - torch

        masks = self.work.once(f"{axis}-{seed}", partial(self._on_seed, slices, seed))
        size = self.config.objects_per_chunk
        for start in range(0, len(masks), size):
            chunk = masks[start : start + size]
            name = f"{axis}-{seed}-{start}-{start + len(chunk)}"
            yield from self.work.once(name, partial(follow, self.network, slices, chunk))

    def _on_seed(self, slices: Slices, seed: int) -> list[CutMask]:
        from mass3d.masks.sam2.automatic import automatic_masks  # noqa: PLC0415 - torch

        found = automatic_masks(
            self.network,
            slices.colours(seed),
            body=slices.body[seed],
            pixel_mm2=self.spacing_mm**2,
            profile=self.config.profile(self.modality),
            config=self.config,
        )
        return [mask.on(seed) for mask in found]


def _axis_back(mask: CutMask, axis: int) -> CutMask:
    """A mask of (N, H, W), N along `axis`, as a mask of (D, H, W)."""
    box = list(mask.box[1:])
    box.insert(axis, mask.box[0])
    inside = np.ascontiguousarray(np.moveaxis(mask.mask, 0, axis))
    return CutMask(cast("Box", tuple(box)), inside, mask.voxels, mask.score)
