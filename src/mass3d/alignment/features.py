"""What of a scan is compared with other scans: a pyramid of self-similarity and intensity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.alignment.filters import box_mean, halve, local_contrast
from mass3d.alignment.geometry import cell_centres
from mass3d.alignment.settings import DEFAULT, AlignmentConfig
from mass3d.volume.box import Box, box_shape, intersection, relative_to
from mass3d.volume.geometry import Shape

HISTOGRAM_BINS = 128
MAX_SAMPLED = 200_000  # voxels that quantiles look at
FEWEST_SLICES = 8  # a body thinner than this is a threshold gone wrong: the whole axis is kept
THIN = 0.02  # share of a slice, of the fullest one's, that makes it part of the body
SLAB_CELLS = 2**22  # a larger map is made in slabs of about so many cells
REACH = 4  # cells around one that its features depend on
CUT = 0.3  # a first or last slice so full means that the field of view ends within the body


@dataclass(frozen=True)
class Level:
    """Features of one stride; cell i covers the voxels origin + [i stride, (i + 1) stride)."""

    stride: int
    origin: Shape
    features: Tensor = field(repr=False)  # (C, d, h, w)
    known: Tensor = field(repr=False)  # (d, h, w): 1 in and near the body, else 0

    @property
    def centres(self) -> Tensor:
        """Centres of the cells in voxels of the scan: (d, h, w, 3)."""
        return cell_centres(self.known.shape, self.stride, self.origin)


@dataclass(frozen=True)
class ScanFeatures:
    """What an alignment needs of one scan."""

    shape: Shape  # of the scan
    origin: Shape  # first voxel of the box around the body
    size: Shape  # of that box
    levels: Mapping[int, Level] = field(repr=False)  # by stride


@torch.no_grad()
def scan_features(
    image: Tensor, config: AlignmentConfig = DEFAULT, *, finest: int = 1
) -> ScanFeatures:
    """Features of a scan (D, H, W) with cubic voxels and intensities of any scale.

    `finest`: the least stride that is wanted; see `with_fine` for the finer ones.
    """
    prepared = _Normalised.of(image, config)
    d, h, w = image.shape
    levels = _pyramid(prepared, config, finest)
    return ScanFeatures((d, h, w), prepared.origin, box_shape(prepared.box), levels)


@torch.no_grad()
def with_fine(
    scan: ScanFeatures, image: Tensor, box: Box, config: AlignmentConfig = DEFAULT
) -> ScanFeatures:
    """The scan (D, H, W) with levels of stride 2 and less within a box only."""
    whole = _Normalised.of(image, config)
    inner = intersection(box, whole.box)
    if min(box_shape(inner)) == 0:
        return scan
    part = relative_to(inner, whole.box)
    crop = _Normalised(whole.image[part].contiguous(), whole.body[part].contiguous(), inner)
    fine = _pyramid(crop, config, 1, coarsest=2)
    return replace(scan, levels={**scan.levels, **fine})


def air_threshold(image: Tensor) -> float:
    """Otsu's threshold (1979), lowered half way to the darkest: a generous body."""
    some = image.flatten()[:: max(1, image.numel() // MAX_SAMPLED)]
    low, high = torch.quantile(some, torch.tensor([0.001, 0.99])).tolist()
    if not high > low:
        return float(low)
    count = torch.histc(image.clamp(low, high), HISTOGRAM_BINS, low, high)
    value = torch.linspace(low, high, HISTOGRAM_BINS)
    below, total = count.cumsum(0), (count * value).cumsum(0)
    above = below[-1] - below
    gap = total / below.clamp_min(1) - (total[-1] - total) / above.clamp_min(1)
    best = value[(below * above * gap**2).argmax()].item()
    return float(low + 0.5 * (best - low))


def body_box(inside: Tensor, margin: int) -> Box:
    """Box of a body (D, H, W) bool and a margin of air, none where the view cuts the body."""
    d, h, w = (_body_range(inside, axis, margin) for axis in range(3))
    return d, h, w


def _body_range(inside: Tensor, axis: int, margin: int) -> slice:
    share = inside.float().mean(dim=[other for other in range(3) if other != axis])
    share = share / share.max().clamp_min(1e-6)
    hit = (share > THIN).nonzero().flatten()
    if len(hit) < FEWEST_SLICES:
        return slice(0, len(share))
    first, last = int(hit[0]), int(hit[-1])
    first = first if share[first] > CUT else max(0, first - margin)
    last = last if share[last] > CUT else min(len(share) - 1, last + margin)
    return slice(first, last + 1)


def normalised(image: Tensor, body: Tensor) -> Tensor:
    """Zero mean and unit deviation in the body, which is clipped to its percentiles 1 to 99."""
    # numpy picks voxels without a list of their places, which is six times as large as they are
    inside = torch.from_numpy(image.numpy()[body.numpy()])
    voxels = inside if len(inside) > 64 else image.flatten()
    voxels = voxels[:: max(1, voxels.numel() // 50_000)]
    low, high = torch.quantile(voxels, torch.tensor([0.01, 0.99])).tolist()
    voxels = voxels.clamp(low, high)
    clipped = image.clamp(low - 0.5 * (high - low), high)
    return clipped.sub_(voxels.mean()).div_(voxels.std(correction=0).clamp_min(1e-6))


@dataclass(frozen=True)
class _Normalised:
    """A scan within the box of its body."""

    image: Tensor  # (d, h, w), zero mean and unit deviation in the body
    body: Tensor  # (d, h, w) bool
    box: Box

    @classmethod
    def of(cls, image: Tensor, config: AlignmentConfig) -> _Normalised:
        image = torch.nan_to_num(image.float())
        inside = image > air_threshold(image)
        box = body_box(inside, config.margin_vox)
        crop, body = image[box].contiguous(), inside[box].contiguous()
        return cls(normalised(crop, body), body, box)

    @property
    def origin(self) -> Shape:
        z, y, x = (axis.start for axis in self.box)
        return z, y, x


def _pyramid(
    scan: _Normalised, config: AlignmentConfig, finest: int, coarsest: int = 16
) -> dict[int, Level]:
    """Levels of stride 1, 2, 4 and coarser until one is small; each is made of the finer image."""
    levels: dict[int, Level] = {}
    fine, share = scan.image[None], scan.body.float()[None]
    stride, cells = 2, share.numel()
    while stride <= min(4, coarsest) or (cells > config.coarse_cells and stride <= coarsest):
        share = halve(share)
        cells = share.numel()
        if stride >= finest:
            wide = (5, 2) if stride == 2 else (3, 1)
            known = F.max_pool3d((share > 0.3).float(), wide[0], 1, wide[1])[0]
            levels[stride] = Level(stride, scan.origin, _halved_features(fine, config), known)
        fine = halve(fine)
        stride *= 2
    if finest == 1 and any(stage == 1 for stage, _ in config.stages):
        levels[1] = _finest(scan.image[None], levels[2])
    return levels


def _finest(image: Tensor, above: Level) -> Level:
    """Voxels themselves: intensity, and relative to its surroundings."""
    known = above.known
    for axis in range(3):
        known = known.repeat_interleave(2, axis).narrow(axis, 0, image.shape[axis + 1])
    return Level(1, above.origin, torch.cat([0.5 * image, local_contrast(image)]), known)


def _halved_features(image: Tensor, config: AlignmentConfig) -> Tensor:
    """`halve` of the features of (1, d, h, w), twelve times as large, in the memory of a slab."""
    depth = image.shape[1]
    thickness = max(2 * REACH, SLAB_CELLS * depth // image.numel() // 2 * 2)
    if depth <= thickness:
        return halve(_features(image, config))
    starts = range(0, depth, thickness)
    slabs = [image[:, max(0, a - REACH) : a + thickness + REACH] for a in starts]
    inner = [slice(min(a, REACH), min(a, REACH) + thickness) for a in starts]
    noise = sum(
        float(_noise(_distances(slab[0]))[:, rows].sum(dtype=torch.float64))
        for slab, rows in zip(slabs, inner, strict=True)
    )
    parts = [
        halve(_features(slab, config, noise=noise / image.numel())[:, rows])
        for slab, rows in zip(slabs, inner, strict=True)
    ]
    return torch.cat(parts, 1)


def _features(image: Tensor, config: AlignmentConfig, *, noise: float | None = None) -> Tensor:
    """(1, d, h, w) -> (C, d, h, w): self-similarity, intensity, and relative intensity.

    What has no weight is no channel. noise: as for `self_similarity`.
    """
    found = [self_similarity(image[0], config.noise_floor, noise=noise)]
    if config.intensity_weight > 0:
        found.append(config.intensity_weight * image)
    if config.local_weight > 0:
        found.append(config.local_weight * local_contrast(image))
    return torch.cat(found)


def self_similarity(image: Tensor, floor: float, *, noise: float | None = None) -> Tensor:
    """MIND-SSC (Heinrich, MICCAI 2013) of (D, H, W), in [0, 1]: (12, D, H, W).

    Each channel compares patches of 3^3 voxels around two of the six neighbours at two voxels.
    noise: its mean over the whole scan, where the image is a part of it.
    """
    distance = _distances(image)
    here = _noise(distance)
    mean = here.mean() if noise is None else noise
    return torch.exp(-distance / here.clamp_min(floor * mean + 1e-6))


def _noise(distance: Tensor) -> Tensor:
    return distance.mean(0, keepdim=True)


def _distances(image: Tensor) -> Tensor:
    """How much the patches around a voxel differ, less the least: (12, D, H, W)."""
    padded = F.pad(image[None, None], (2,) * 6, mode="replicate")[0, 0]
    d, h, w = image.shape
    six = [(0, 2, 2), (4, 2, 2), (2, 0, 2), (2, 4, 2), (2, 2, 0), (2, 2, 4)]
    views = [padded[a : a + d, b : b + h, c : c + w] for a, b, c in six]
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6) if i // 2 != j // 2]
    distance = box_mean(torch.stack([(views[i] - views[j]) ** 2 for i, j in pairs]))
    return distance - distance.amin(0, keepdim=True)
