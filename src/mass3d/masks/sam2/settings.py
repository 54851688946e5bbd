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
    """Unit of the channels: raw intensities (HU), or percentiles of the body voxels."""
    channels: tuple[Range, Range, Range]
    """Lower and upper end of the intensities shown in red, green and blue."""
    min_predicted_iou: Share = 0.4
    """Minimum quality that SAM2 predicts for its mask."""
    min_stability: Share = 0.7
    """Minimum IoU between the mask at one logit above and at one below the threshold."""
    min_mm2: float = Field(default=100.0, ge=0)
    """Minimum area of holes and islands on the seed slice; smaller ones are removed."""
    min_mm3: float = Field(default=500.0, ge=0)
    """Minimum volume of a mask."""

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
    """Whether a hub id may be downloaded; otherwise it must be in the local cache already."""
    device: str = "auto"
    """Device of the model: cpu, cuda, cuda:1, ...; auto: a GPU if there is one."""
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
    """Slice directions; each is a separate pass."""
    interval_mm: float = Field(default=30.0, gt=0)
    """Distance between the slices on which masks are searched for (seed slices)."""
    min_seeds: int = Field(default=10, ge=1)
    """Minimum number of seed slices, if the body has as many."""
    points_per_side: int = Field(default=32, ge=1)
    """Point prompts along each side of a crop; the whole grid is tried."""
    crop_layers: int = Field(default=2, ge=0, le=4)
    """Crop layer n adds 2^n x 2^n crops of the slice, which find small structures."""
    crop_overlap: float = Field(default=0.5, ge=0, lt=1)
    """Overlap of the crops of the first layer, as a share of the slice's short side."""
    crop_edge: Share = 0.02
    """Masks closer than this to the edge of a crop are cut off by it and dropped; fraction of its
    sides."""
    max_box_iou: Share = 0.5
    """Of two masks on a slice whose boxes have a higher IoU, one is kept."""
    min_in_body: Share = 0.9
    """Minimum fraction of a mask on its seed slice that lies in the body."""
    max_masks_per_slice: int = Field(default=70, ge=1)
    """Maximum number of masks of a seed slice; those of best predicted quality are kept."""
    max_iou: Share = 0.95
    """Of two masks of a case with a higher IoU, the one of better predicted quality is kept."""
    max_masks: int = Field(default=1000, ge=1)
    """Maximum number of masks of a case; those of best predicted quality are kept."""
    points_per_batch: int = Field(default=32, ge=1)
    """Prompts per batch; fewer take less memory."""
    objects_per_chunk: int = Field(default=64, ge=1)
    """Masks propagated at once; fewer take less memory and more time."""

    def profile(self, modality: Modality) -> Sam2Profile:
        """The profile of a modality."""
        return {"ct": self.ct, "mr": self.mr, "pet": self.pet}[modality]

    def content(self) -> dict[str, Any]:
        """The settings that decide what is found, for fingerprints; add `weights_id` to them."""
        return self.model_dump(mode="json", exclude=set(NOT_CONTENT))
