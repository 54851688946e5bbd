"""Views of labelled scans: crops near a structure, moved and changed a little with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from mass3d.config import Config
from mass3d.views.crop import CropVox
from mass3d.views.draw import Intensity, Vector, Warp, case_order, rotation, stream
from mass3d.views.render import render_image, render_view
from mass3d.views.warp import Crop
from mass3d.volume.box import Box

UNKNOWN: Final = 255  # number of voxels that nobody has annotated
MAX_STRUCTURES: Final = UNKNOWN - 1
MAX_PLACES: Final = 10_000  # voxels of a structure that crops are drawn around
PURPOSE: Final = 5  # of the random stream
MIDDLE_STD_VOX: Final = 3.0  # of the crop's place along an axis on which it shows the whole scan
FITS: Final = 1.1  # edges of the crop, up to which an axis counts as shown as a whole
FEWEST_MOVED: Final = 0.3  # share of crops that are moved where many scans are labelled
MIN_INSIDE: Final = 0.4  # of the crop's edge, from its middle to the end of the scan


class LabelledViewConfig(Config):
    """Crops of labelled scans and how they are changed."""

    crop_vox: CropVox | None = Field(default=None, examples=[[48, 64, 64]])
    """Size of a crop along (D, H, W), multiples of the network's stride; None: that of the
    pretrained model."""
    jitter_vox: float = Field(default=6.0, ge=0)
    """Standard deviation of the crop's centre around a voxel of a structure."""
    moved: float | None = Field(default=None, ge=0, le=1, examples=[0.3])
    """Fraction of crops that are rotated, scaled and deformed; by default 1 divided by the number
    of labelled scans, but at least 0.3."""
    degrees: float = Field(default=6.0, ge=0)
    """Standard deviation of the rotation about each axis."""
    scale: float = Field(default=0.07, ge=0, le=1)
    """Standard deviation of the log of the scale, of all axes together and of each."""
    bend_vox: float = Field(default=1.7, ge=0)
    """Standard deviation of the smooth deformation at its nodes."""
    bend_every_vox: float = Field(default=12.0, gt=0)
    """Distance between the nodes of the deformation."""
    gain: float = Field(default=0.12, ge=0)
    """Standard deviation of the log of the brightness."""
    shift: float = Field(default=0.12, ge=0)
    """Standard deviation of the brightness offset, in standard deviations of the scan."""
    gamma: float = Field(default=0.2, ge=0)
    """Standard deviation of log gamma, on the crop's own intensity range."""
    blur_p: float = Field(default=0.3, ge=0, le=1)
    """Fraction of crops that are blurred."""
    blur_vox: float = Field(default=0.8, gt=0)
    """Standard deviation of the blur."""
    max_noise: float = Field(default=0.1, ge=0)
    """Maximum standard deviation of added noise."""


@dataclass(frozen=True)
class LabelledCase:
    """A prepared scan with the numbers of its S structures, in memory."""

    case_id: str
    image: NDArray[np.float16] = field(repr=False)  # (D, H, W), normalised
    label: NDArray[np.uint8] = field(repr=False)  # (D, H, W): 0, structures from 1, UNKNOWN
    outside: float  # the value of what lies outside of the scan
    known: tuple[bool, ...]  # of each structure: where its number is not, it is not
    others: tuple[LabelledCase, ...] = ()  # its further channels, on the same grid

    @property
    def shape(self) -> Crop:
        """Voxels along (D, H, W)."""
        d, h, w = self.image.shape
        return d, h, w

    def read_stored_image(self, box: Box) -> NDArray[np.float16]:
        """What lies in a box of the scan."""
        return self.image[box]

    def read_layers(self, box: Box) -> NDArray[np.uint8]:
        """The label in a box of the scan, as one layer."""
        return self.label[(None, *box)]

    @cached_property
    def places(self) -> dict[int, NDArray[np.int64]]:
        """Number -> voxels (N, 3) of every structure that is shown; evenly chosen of very many."""
        found = {}
        for number in np.unique(self.label).tolist():
            if number not in (0, UNKNOWN):
                voxels = np.flatnonzero(self.label == number)
                chosen = voxels[:: -(-len(voxels) // MAX_PLACES)]
                found[int(number)] = np.stack(np.unravel_index(chosen, self.shape), axis=-1)
        return found


class LabelledViews(NamedTuple):
    """One view per sample, with its label."""

    image: Tensor  # (B, channels, D, H, W), unitless
    label: Tensor  # (B, D, H, W) int64: 0, structures from 1, UNKNOWN
    known: Tensor | None  # (B, S) bool, as in `LabelledCase`; None where all are
    case_ids: tuple[str, ...]


@dataclass(frozen=True)
class LabelledMaker:
    """Makes the batch of any step; a function of seed and step, whatever the network.

    Crops that are moved are interpolated, and so blurred as no scan is. Where few scans are
    labelled, what they do not show is worth more than that. The channels of a case are moved
    alike, and the intensities of each are changed by themselves.
    """

    cases: Sequence[LabelledCase]
    crop: Crop
    batch_size: int
    seed: int
    config: LabelledViewConfig

    @property
    def moved(self) -> float:
        """Share of the crops that are moved by more than whole voxels."""
        usual = max(FEWEST_MOVED, 1 / len(self.cases))
        return usual if self.config.moved is None else self.config.moved

    def __call__(self, step: int, device: torch.device) -> LabelledViews:
        """The batch of `step` on `device`."""
        cases, warps = [], []
        intensities: list[list[Intensity]] = []  # of each case, of each channel
        for index in range(self.batch_size):
            position = step * self.batch_size + index
            case = self.cases[case_order(self.seed, position, len(self.cases))]
            rng = stream(self.seed, step, index, purpose=PURPOSE)
            centre = draw_centre(rng, case, self.crop, jitter_vox=self.config.jitter_vox)
            cases.append(case)
            warp = draw_small_warp(rng, centre, self.crop, self.config)
            first = draw_small_intensity(rng, self.config)
            moved = rng.uniform() < self.moved
            warps.append(warp if moved else whole_voxels(centre, self.crop))
            intensities.append(
                [first, *(draw_small_intensity(rng, self.config) for _ in case.others)]
            )
        known = [case.known for case in cases]
        drawn = list(zip(*intensities, strict=True))
        views = render_view(cases, warps, drawn[0], crop=self.crop, device=device)
        others = zip(*(case.others for case in cases), strict=True)
        images = [
            render_image(channel, warps, draws, crop=self.crop, device=device)
            for channel, draws in zip(others, drawn[1:], strict=True)
        ]
        return LabelledViews(
            torch.cat([views.images, *images], 1),
            views.ranks[:, 0].long(),
            None if all(map(all, known)) else torch.tensor(known, device=device),
            tuple(case.case_id for case in cases),
        )


def draw_centre(
    rng: np.random.Generator, case: LabelledCase, crop: Crop, *, jitter_vox: float
) -> Vector:
    """The middle of a crop near a voxel of a structure, each structure as often as the others.

    Along an axis on which the crop shows the whole scan it is the middle of the scan, roughly;
    along others the crop keeps to the scan but for a small part. A scan without any structure is
    shown anywhere.
    """
    size, edge = np.array(case.shape, float), np.array(crop, float)
    numbers = list(case.places)
    if numbers:
        voxels = case.places[int(rng.choice(numbers))]
        near = voxels[rng.integers(len(voxels))] + rng.normal(0, 1, 3) * jitter_vox
    else:
        near = rng.uniform(0, size - 1)
    middle = (size - 1) / 2 + rng.normal(0, MIDDLE_STD_VOX, 3)
    lowest = np.minimum(MIN_INSIDE * edge, (size - 1) / 2)
    return np.where(size <= FITS * edge, middle, np.clip(near, lowest, size - 1 - lowest))


def draw_small_warp(
    rng: np.random.Generator, centre: Vector, crop: Crop, config: LabelledViewConfig
) -> Warp:
    """A small rotation, a change of size and of proportions, and a smooth bending."""
    angles = np.deg2rad(rng.normal(0, 1, 3) * config.degrees)
    sizes = np.exp((rng.normal(0, 1, 3) + rng.normal()) * config.scale)
    nodes = [max(2, int(np.ceil(n / config.bend_every_vox)) + 1) for n in crop]
    bend = rng.standard_normal((3, *nodes)).astype(np.float32) * np.float32(config.bend_vox)
    return Warp(centre, rotation(angles) @ np.diag(sizes), bend if config.bend_vox else None)


def whole_voxels(centre: Vector, crop: Crop) -> Warp:
    """A crop whose voxels are voxels of the scan, as near to `centre` as can be."""
    half = (np.array(crop) - 1) / 2
    return Warp(np.round(centre - half) + half, np.eye(3), None)


def draw_small_intensity(rng: np.random.Generator, config: LabelledViewConfig) -> Intensity:
    """Brightness, gamma and noise for every view, blur for some."""
    gain, shift, gamma = rng.normal(0, 1, 3) * (config.gain, config.shift, config.gamma)
    return Intensity(
        gain=float(np.exp(gain)),
        shift=float(shift),
        gamma=float(np.exp(gamma)),
        contrast=1.0,
        blur_vox=config.blur_vox if rng.uniform() < config.blur_p else 0.0,
        noise_std=float(rng.uniform(0, config.max_noise)),
        noise_seed=int(rng.integers(2**62)),
    )
