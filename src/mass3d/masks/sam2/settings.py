"""Settings of the `sam2` engine. Sizes are in mm, so that they mean the same at any spacing."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, FiniteFloat, field_validator

from mass3d.config import Config
from mass3d.volume.volume import Modality

Axis = Literal["axial", "coronal", "sagittal"]
Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[FiniteFloat, FiniteFloat]

# Settings of where and in what portions the work is done; they do not decide what is found.
NOT_CONTENT: Final = frozenset(
    {"checkpoint", "download", "device", "points_per_batch", "objects_per_chunk"}
)


class Sam2Profile(Config):
    """How slices of one modality are shown to SAM2, and which of its masks are believed."""

    unit: Literal["raw", "percentile"]
    """What the channels are given in: raw intensities (HU), or percentiles of the body voxels."""
    channels: tuple[Range, Range, Range]
    """Lower and upper end of the intensities that red, green and blue show."""
    min_predicted_iou: Share = 0.4
    """Least quality that SAM2 gives its own mask."""
    min_stability: Share = 0.7
    """Least IoU of a mask cut at a logit one above and one below the threshold."""
    min_mm2: float = Field(default=100.0, ge=0)
    """Smallest hole that stays open and smallest island that stays, on the seed slice."""
    min_mm3: float = Field(default=500.0, ge=0)
    """Smallest mask."""

    @field_validator("channels")
    @classmethod
    def _rising(cls, channels: tuple[Range, Range, Range]) -> tuple[Range, Range, Range]:
        for low, high in channels:
            if not low < high:
                raise ValueError("three pairs of numbers, the lower one first")
        return channels


class Sam2Config(Config):
    """Settings of the `sam2` engine."""

    checkpoint: str | None = Field(default=None, examples=["facebook/sam2.1-hiera-tiny"])
    """SAM2 or EdgeTAM video model: a folder with config.json and model.safetensors, or a hub id."""
    download: bool = False
    """Whether a hub id may be fetched; otherwise it must be in the local cache already."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    ct: Sam2Profile = Sam2Profile(
        unit="raw", channels=((-115.0, 235.0), (-1350.0, 150.0), (-450.0, 750.0))
    )
    """CT: soft tissue, lung and bone in HU."""
    mr: Sam2Profile = Sam2Profile(
        unit="percentile", channels=((5.0, 95.0), (15.0, 85.0), (1.0, 99.0))
    )
    """MR."""
    pet: Sam2Profile = Sam2Profile(
        unit="percentile", channels=((0.0, 100.0), (0.0, 90.0), (0.0, 60.0))
    )
    """PET."""
    axes: tuple[Axis, ...] = Field(default=("axial",), min_length=1)
    """Directions that the scan is cut in; each is a pass of its own."""
    interval_mm: float = Field(default=30.0, gt=0)
    """Distance of the slices that masks are looked for on (seed slices)."""
    min_seeds: int = Field(default=10, ge=1)
    """Least number of seed slices, where the body has as many."""
    points_per_side: int = Field(default=32, ge=1)
    """Prompts along each side of a crop; all its squares are tried."""
    crop_layers: int = Field(default=2, ge=0, le=4)
    """Layer n cuts the slice into 2^n x 2^n crops more, which find small structures."""
    crop_overlap: float = Field(default=0.5, ge=0, lt=1)
    """Overlap of the crops of the first layer, as a share of the slice's short side."""
    crop_edge: Share = 0.02
    """Masks this close to a crop's edge are cut off by it and dropped; a share of its sides."""
    max_box_iou: Share = 0.5
    """Of two masks on a slice whose boxes overlap more, one stays."""
    min_in_body: Share = 0.9
    """Least share of a mask on its seed slice that lies in the body."""
    max_masks_per_slice: int = Field(default=70, ge=1)
    """Most masks of a seed slice; the best by predicted quality stay."""
    max_iou: Share = 0.95
    """Of two masks of the case that overlap more, the one of better predicted quality stays."""
    max_masks: int = Field(default=1000, ge=1)
    """Most masks of a case; the best by predicted quality stay."""
    points_per_batch: int = Field(default=32, ge=1)
    """Prompts at once; fewer take less memory."""
    objects_per_chunk: int = Field(default=64, ge=1)
    """Masks followed at once; fewer take less memory and more time."""

    def profile(self, modality: Modality) -> Sam2Profile:
        """The profile of a modality."""
        return {"ct": self.ct, "mr": self.mr, "pet": self.pet}[modality]

    def content(self) -> dict[str, Any]:
        """The settings that decide what is found, for fingerprints; add `weights_id` to them."""
        return self.model_dump(mode="json", exclude=set(NOT_CONTENT))
