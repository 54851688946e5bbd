"""From a scan as read to what masks and networks see: one grid, one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, FiniteFloat, PositiveFloat

from mass3d.config import Config
from mass3d.errors import DataError
from mass3d.volume.body import body_mask, box_of_body
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.intensity import Intensity, modality_of
from mass3d.volume.resample import place_image, place_label, resample_image, resample_label
from mass3d.volume.volume import Modality, Volume

MAX_VOXELS = 2e9  # of a prepared scan; beyond, the spacing is a mistake
FLAT = 1e-6  # times the values of a body: a spread that is rounding
VARIED = 1e-2  # times the same: a spread that no resampling takes away
FEW_VOXELS = 2e5  # of a scan, before and after, that is prepared as soon as looked at


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError("two numbers, the lower one first")
    return pair


Percent = Annotated[float, Field(ge=0, le=100)]
SpacingMm = Annotated[float, Field(ge=1e-3, le=1e3)]
Range = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_rising)]
Statistics = Literal["body", "box"]
Percentiles = Annotated[tuple[Percent, Percent], AfterValidator(_rising)]


class PreparationConfig(Config):
    """How a scan is brought to the network's grid and scale."""

    spacing_mm: SpacingMm
    """Edge of the cubic voxels."""
    modality: Modality | Literal["auto"] = "auto"
    """Kind of scan; auto goes by DICOM tags, else by the file's name and histogram."""
    ct_clip_hu: Range = (-991.0, 500.0)
    """CT is clipped to this range."""
    ct_mean_std_hu: tuple[FiniteFloat, PositiveFloat] = (-100.0, 300.0)
    """CT is shifted and divided by these. They are fixed, because HU are absolute: a z-score per
    scan would move the same tissue with every change of the field of view."""
    percentiles: Percentiles = (2.0, 98.0)
    """MR and PET are clipped to these percentiles of the body voxels."""
    # a store or model that has the usual statistics says nothing of them, as older ones do
    statistics: Statistics = Field(default="body", exclude_if=lambda value: value == "body")
    """Region of the intensity statistics: `body`; or `box` as in the MASS release, where a CT also
    gets its own mean and standard deviation."""


@dataclass(frozen=True)
class Prepared:
    """A scan on cubic voxels with normalised intensities, and the way back."""

    image: NDArray[np.float32]  # (D, H, W), normalised
    grid: Grid
    source: SourceGrid
    modality: Modality
    modality_from: str  # "setting", "tags", "name" or "histogram"
    intensity: Intensity
    repairs: tuple[str, ...]


def prepare_volume(
    volume: Volume, config: PreparationConfig, *, modality: Modality | None = None
) -> Prepared:
    """Resample to cubic voxels, clip and normalise.

    `modality` overrides the setting. CT is normalised with fixed numbers, MR and PET with mean
    and standard deviation of the clipped body voxels of the scan itself; with the statistics of a
    box, every scan with those of all its clipped voxels, of CT in a box around the body. Raises
    `DataError` when the body has a single intensity or the grid would be absurdly large.
    """
    kind, decided_by = _modality(volume, config, modality)
    grid = prepared_grid(volume, config.spacing_mm)
    image = resample_image(volume.voxels, volume.grid, grid)
    intensity = _measure(image, kind, config, volume)
    return Prepared(
        intensity.apply(image), grid, volume.source, kind, decided_by, intensity, volume.repairs
    )


def prepare_channels(volumes: Sequence[Volume], config: PreparationConfig) -> tuple[Prepared, ...]:
    """Prepare the channels of a case, each by itself, and bring all to the grid of the first.

    A channel that says what kind of scan it is, is taken for that whatever the setting, which is
    for all: PET lies beside CT. Where another channel does not reach, it has its value outside.
    Raises `DataError` as `prepare_volume` does, and where two channels show nothing in common.
    """
    if len(volumes) == 1:
        return (prepare_volume(volumes[0], config),)
    first, *others = (prepare_volume(one, config, modality=one.modality) for one in volumes)
    pairs = zip(volumes[1:], others, strict=True)
    return first, *(_on_grid_of(first, one, volumes[0], volume) for volume, one in pairs)


def _on_grid_of(first: Prepared, other: Prepared, one: Volume, volume: Volume) -> Prepared:
    """Another channel on the grid of the first; `one` and `volume` are what they were made of."""
    if other.grid == first.grid:
        return other
    reached = place_label(np.ones(other.grid.shape, np.bool_), other.grid, first.grid)
    if not reached.any():
        raise DataError(
            volume.path or "channel",
            found=f"no voxel within the box of {one.path or 'the first channel'}",
            expected="channels of one case, which show the same part of the body",
            fix="Check that both are of one examination and aligned, or leave the channel out.",
        )
    image = place_image(other.image, other.grid, first.grid)
    image[~reached] = other.intensity.outside
    return replace(other, image=image, grid=first.grid)


def preparation_fault(
    volume: Volume, config: PreparationConfig, modality: Modality, sample: NDArray[np.float32]
) -> str | None:
    """What `prepare_volume` would say against this scan; None where it would prepare it.

    sample: evenly spread voxels; where they vary much and are many, nothing is resampled.
    """
    try:
        grid = prepared_grid(volume, config.spacing_mm)
        many = min(np.prod(grid.shape, dtype=float), volume.voxels.size) > FEW_VOXELS
        if not (many and _varies(sample, modality, config)):
            prepare_volume(volume, config, modality=modality)
    except DataError as error:
        return str(error)
    return None


def _varies(sample: NDArray[np.float32], modality: Modality, config: PreparationConfig) -> bool:
    """Whether the middle half of a scan, clipped as CT is, surely has more than one intensity."""
    if modality == "ct":
        sample = np.clip(sample, *config.ct_clip_hu)
    low, high = (float(edge) for edge in np.percentile(sample, (25, 75)))
    return high - low > VARIED * max(abs(low), abs(high))


def prepare_label(volume: Volume, grid: Grid) -> NDArray[Any]:
    """A label map, nearest, on the grid of its prepared image."""
    return resample_label(volume.voxels, volume.grid, grid)


def prepared_grid(volume: Volume, spacing_mm: float) -> Grid:
    """The grid of cubic voxels. Raises `DataError` where it would not fit into any memory."""
    lengths_mm = np.multiply(volume.grid.shape, volume.spacing_mm)
    wanted = np.maximum(1, lengths_mm / spacing_mm)
    if np.log(wanted).sum() > np.log(MAX_VOXELS):
        raise DataError(
            volume.path or "volume",
            found=f"{' x '.join(f'{n:.0f}' for n in wanted)} voxels at {spacing_mm:g} mm",
            expected=f"at most {MAX_VOXELS:.0e} voxels",
            fix="Check the spacing in the header, or prepare with a coarser spacing_mm.",
        )
    return volume.grid.resampled((spacing_mm, spacing_mm, spacing_mm))


def prepared_modality(volume: Volume, config: PreparationConfig) -> Modality:
    """What a scan is taken for."""
    return _modality(volume, config, None)[0]


def _modality(
    volume: Volume, config: PreparationConfig, override: Modality | None
) -> tuple[Modality, str]:
    if override is not None:
        return override, "setting"
    if config.modality != "auto":
        return config.modality, "setting"
    return modality_of(volume)


def _measure(
    image: NDArray[np.float32], modality: Modality, config: PreparationConfig, volume: Volume
) -> Intensity:
    if modality == "ct" and config.statistics == "body":
        (low, high), (mean, std) = config.ct_clip_hu, config.ct_mean_std_hu
        spread = float(np.ptp(np.clip(image, low, high)))
    else:
        measured = _measured(image, modality, config)
        low, high = (
            config.ct_clip_hu
            if modality == "ct"
            else (float(edge) for edge in np.percentile(measured, config.percentiles))
        )
        clipped = np.clip(measured, low, high)
        mean, std = float(clipped.mean(dtype=np.float64)), float(clipped.std(dtype=np.float64))
        spread = std
    if not spread > FLAT * max(abs(low), abs(high), abs(mean)):
        raise DataError(
            volume.path or "volume",
            found=f"one intensity throughout the body, between {low:g} and {high:g}",
            expected=f"an image of modality {modality}",
            fix="Check the file"
            + ("." if modality == "mr" else "; if it is no CT, say modality mr."),
            setting="" if modality == "mr" else "modality",
        )
    return Intensity(float(low), float(high), mean, std)


def _measured(
    image: NDArray[np.float32], modality: Modality, config: PreparationConfig
) -> NDArray[np.float32]:
    """The voxels that mean and deviation are those of."""
    if config.statistics == "body":
        return image[body_mask(image, modality)]
    if modality == "ct":
        return image[box_of_body(image, config.spacing_mm)]
    return image
