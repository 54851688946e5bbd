"""Draw first, apply after: what the two views of a sample are, as plain values.

Every draw is a function of (seed, step, index in the batch), never of workers, ranks or the
point of a resume. All positions are voxels of the store's isotropic grid, axes (D, H, W), so
rotations and scales act in millimetres without shear on non-cubic crops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from mass3d.config import Config
from mass3d.masks.table import MaskTable
from mass3d.views.balance import Balance
from mass3d.views.crop import CropVox

Vector = NDArray[np.float64]


def _in_order(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("two numbers, the lower one first")
    return pair


Factor = Annotated[float, Field(gt=0)]
Factors = Annotated[tuple[Factor, Factor], AfterValidator(_in_order)]
Width = Annotated[float, Field(ge=0)]
Widths = Annotated[tuple[Width, Width], AfterValidator(_in_order)]


class WarpConfig(Config):
    """Random geometry of one view."""

    p: float = Field(default=0.5, ge=0, le=1)
    """Fraction of views that are rotated and scaled."""
    max_degrees: float = Field(default=30.0, ge=0, le=180)
    """Maximum rotation about each axis."""
    max_scale: float = Field(default=1.43, ge=1)
    """Maximum scale factor per axis; the minimum is its inverse."""
    max_shear: float = Field(default=0.0, ge=0, le=0.5)
    """Maximum shear between two axes."""
    bend_p: float = Field(default=0.0, ge=0, le=1)
    """Fraction of views that are deformed by a smooth random field."""
    bend: float = Field(default=0.03, ge=0, le=0.2)
    """Standard deviation of the deformation, as a fraction of the crop size."""


class StrongWarpConfig(WarpConfig):
    """Random geometry of the query, which is moved, sheared and bent more than the reference."""

    p: float = Field(default=0.8, ge=0, le=1)
    """Fraction of views that are rotated and scaled."""
    max_shear: float = Field(default=0.1, ge=0, le=0.5)
    """Maximum shear between two axes."""
    bend_p: float = Field(default=0.5, ge=0, le=1)
    """Fraction of views that are deformed by a smooth random field."""


class IntensityConfig(Config):
    """Random intensity of one view, as MASS trains; each range is one uniform draw."""

    p: float = Field(default=0.2, ge=0, le=1)
    """Fraction of views to which each operation is applied."""
    gain: Factors = (0.9, 1.1)
    """Multiplicative brightness."""
    shift_std: float = Field(default=0.1, ge=0)
    """Standard deviation of the brightness offset, in standard deviations of the scan."""
    gamma: Factors = (0.8, 1.2)
    """Gamma: exponent on the view's own intensity range."""
    contrast: Factors = (0.8, 1.2)
    """Contrast about the mean, clamped to the previous range."""
    blur_vox: Widths = (0.8, 1.2)
    """Standard deviation of Gaussian blur, in voxels."""
    noise_std: float = Field(default=0.02, ge=0)
    """Standard deviation of added noise."""


class StrongIntensityConfig(IntensityConfig):
    """Random intensity of the query, which is changed more than the reference."""

    gain: Factors = (0.8, 1.3)
    """Multiplicative brightness."""
    shift_std: float = Field(default=0.15, ge=0)
    """Standard deviation of the brightness offset, in standard deviations of the scan."""
    gamma: Factors = (0.8, 1.3)
    """Gamma: exponent on the view's own intensity range."""
    contrast: Factors = (0.8, 1.3)
    """Contrast about the mean, clamped to the previous range."""
    blur_vox: Widths = (0.7, 1.5)
    """Standard deviation of Gaussian blur, in voxels."""
    noise_std: float = Field(default=0.04, ge=0)
    """Standard deviation of added noise."""


class ViewConfig(Config):
    """The pair of views and its masks."""

    crop_vox: CropVox | None = Field(default=None, examples=[[48, 64, 64]])
    """Size of a view along (D, H, W), multiples of the network's stride; None: chosen from store
    and preset."""
    num_masks: int = Field(default=13, ge=1, le=1000)
    """Masks per pair."""
    min_overlap: float = Field(default=0.67, gt=0, le=1)
    """Minimum overlap of the two crops per axis, before they are warped."""
    far_share: float = Field(default=0.1, ge=0, le=1)
    """Fraction of pairs whose query crop is anywhere in the scan, to learn that a mask can be
    absent; `tokens` and `base` only."""
    negative_share: float = Field(default=0.1, ge=0, le=1)
    """Maximum fraction of a pair's masks that may be absent from the query; `tokens` and `base`
    only."""
    min_visible_vox: int = Field(default=16, ge=1, le=10**9)
    """Minimum number of voxels for a mask to count as visible in a view."""
    across_share: float = Field(default=0.6, ge=0, le=1)
    """Fraction of pairs whose reference is another scan, aligned to that of the query; only for
    networks that match (not `tokens` and `base`)."""
    alignments: int = Field(default=200, ge=0, le=10**6)
    """Number of scan pairs that are aligned for this before training; about a second each."""
    prior_error_vox: float = Field(default=0.6, ge=0)
    """Random error of the first guess of a mask's location, in voxels; only for networks that
    match."""
    weak: WarpConfig = WarpConfig()
    """Geometric augmentation of the reference."""
    strong: StrongWarpConfig = StrongWarpConfig()
    """Geometric augmentation of the query."""
    weak_intensity: IntensityConfig = IntensityConfig()
    """Intensity augmentation of the reference."""
    strong_intensity: StrongIntensityConfig = StrongIntensityConfig()
    """Intensity augmentation of the query."""


@dataclass(frozen=True)
class Warp:
    """Where a view's voxels come from: source = centre + matrix @ (view voxel - view centre)."""

    centre: Vector  # (3,) source voxel
    matrix: Vector  # (3, 3)
    bend: NDArray[np.float32] | None  # (3, n, n, n) coarse displacement in source voxels


@dataclass(frozen=True)
class Intensity:
    """Drawn intensity changes; the neutral value where an operation is not applied."""

    gain: float
    shift: float
    gamma: float
    contrast: float
    blur_vox: float
    noise_std: float
    noise_seed: int


def stream(seed: int, step: int, index: int, *, purpose: int = 0) -> np.random.Generator:
    """The random stream of one sample of one step."""
    return np.random.default_rng((seed, purpose, step, index))


def case_order(seed: int, position: int, num_cases: int, balance: Balance | None = None) -> int:
    """Which case the sample at `position` (of the whole run) shows: shuffled passes over all.

    With a `balance`, passes over each of its parts, as often as it says.
    """
    if balance is not None:
        return balance.number(seed, position)
    order = np.random.default_rng((seed, 1, position // num_cases)).permutation(num_cases)
    return int(order[position % num_cases])


def draw_crop_centres(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    crop: tuple[int, int, int],
    *,
    near: tuple[Vector, Vector],
    min_overlap: float,
    far: bool = False,
) -> tuple[Vector, Vector]:
    """Centres of the reference and the query crop, in voxels of the scan.

    The reference crop is drawn around a point of the box `near` (first and last corner of a
    mask); the query crop shares at least `min_overlap` of every axis with it, or lies anywhere
    when `far`. Crops stay inside the scan; a scan smaller than the crop is centred in it.
    """
    size, edge = np.array(shape, float), np.array(crop, float)
    lowest = np.minimum(edge, size) / 2 - 0.5
    highest = size - 0.5 - np.minimum(edge, size) / 2
    middle = (size - 1) / 2
    lowest, highest = (
        np.where(size <= edge, middle, lowest),
        np.where(size <= edge, middle, highest),
    )
    target = rng.uniform(near[0], near[1])
    reference = np.clip(target + rng.uniform(-0.25, 0.25, 3) * edge, lowest, highest)
    reach = (1 - min_overlap) * edge
    query = reference + rng.uniform(-1, 1, 3) * reach
    anywhere = rng.uniform(lowest, np.maximum(highest, lowest))
    return reference, np.clip(anywhere if far else query, lowest, highest)


def draw_warp(
    rng: np.random.Generator, centre: Vector, crop: tuple[int, int, int], config: WarpConfig
) -> Warp:
    """Rotation, anisotropic scale and shear about the crop's centre, and a smooth bending."""
    angles = np.deg2rad(rng.uniform(-1, 1, 3) * config.max_degrees)
    scales = np.exp(rng.uniform(-1, 1, 3) * np.log(config.max_scale))
    shears = rng.uniform(-1, 1, 6) * config.max_shear
    coarse = rng.standard_normal((3, 4, 4, 4)).astype(np.float32)
    moved, bent = rng.uniform() < config.p, rng.uniform() < config.bend_p
    matrix = rotation(angles) @ (np.diag(1 / scales) + _off_diagonal(shears))
    amplitude = np.array(crop, np.float32).reshape(3, 1, 1, 1) * config.bend
    return Warp(centre, matrix if moved else np.eye(3), coarse * amplitude if bent else None)


def draw_intensity(rng: np.random.Generator, config: IntensityConfig) -> Intensity:
    """Each operation with probability `p`, otherwise its neutral value."""
    gates = rng.uniform(size=6) < config.p
    return Intensity(
        gain=_gated(gates[0], rng.uniform(*config.gain), 1.0),
        shift=_gated(gates[1], rng.normal(0, config.shift_std), 0.0),
        gamma=_gated(gates[2], rng.uniform(*config.gamma), 1.0),
        contrast=_gated(gates[3], rng.uniform(*config.contrast), 1.0),
        blur_vox=_gated(gates[4], rng.uniform(*config.blur_vox), 0.0),
        noise_std=_gated(gates[5], config.noise_std, 0.0),
        noise_seed=int(rng.integers(2**62)),
    )


def draw_visible(
    rng: np.random.Generator,
    in_reference: NDArray[np.int64],
    in_query: NDArray[np.int64],
    *,
    num_masks: int,
    min_visible_vox: int,
    negative_share: float,
) -> NDArray[np.int64]:
    """Choose mask rows that teach something: visible in both views, spread over log-size.

    in_reference, in_query (N,): visible voxels of every mask. Up to `negative_share` of the
    choice are masks seen in the reference but absent from the query. Returns at most `num_masks`
    distinct rows; fewer when the views show fewer.
    """
    seen = in_reference >= min_visible_vox
    both = np.flatnonzero(seen & (in_query >= min_visible_vox))
    absent = np.flatnonzero(seen & (in_query == 0))
    num_absent = min(len(absent), rng.binomial(num_masks, negative_share))
    chosen = rng.choice(absent, num_absent, replace=False) if num_absent else absent[:0]
    wanted = min(len(both), num_masks - num_absent)
    if wanted:
        # one weight per half octave of size, shared by the masks in it: small and large alike
        bins = np.round(2 * np.log2(in_reference[both])).astype(np.int64)
        _, where, counts = np.unique(bins, return_inverse=True, return_counts=True)
        weights = 1.0 / counts[where]
        picked = rng.choice(both, wanted, replace=False, p=weights / weights.sum())
        chosen = np.concatenate([picked, chosen])
    return chosen.astype(np.int64)


def anchor_box(rng: np.random.Generator, table: MaskTable) -> tuple[Vector, Vector]:
    """First and last voxel of a mask's box; masks are drawn evenly over log-size."""
    octave = np.floor(np.log2(np.maximum(table.voxels, 1)))
    wanted = rng.choice(np.unique(octave))
    box = table.box[rng.choice(np.flatnonzero(octave == wanted))].reshape(3, 2)
    return box[:, 0].astype(float), box[:, 1] - 1.0


def rotation(angles: Vector) -> Vector:
    """Rotation matrix about the three axes in turn; angles in radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def _off_diagonal(values: Vector) -> Vector:
    matrix = np.zeros((3, 3))
    matrix[~np.eye(3, dtype=bool)] = values
    return matrix


def _gated(gate: np.bool_, value: float, neutral: float) -> float:
    return float(value) if gate else neutral
