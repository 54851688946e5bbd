"""The networks on offer, each with the recipe it is trained by: one literal table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from mass3d.config import Config, build
from mass3d.errors import ConfigError
from mass3d.model.plan import ResEncPlan, Width, read_plan

OptimizerName = Literal["adamw", "lamb", "muon"]


class Recipe(Config):
    """How a network is trained unless the settings say otherwise."""

    steps: int = Field(default=700, ge=1, le=10**9)
    """Optimiser steps of the whole run; the learning-rate schedule spans them. The default depends
    on the preset: 700 for `tiny`, 4000 for `small`, 3000 for `tokens`, 50000 for `resenc-m` and
    `resenc-l`, 100000 for `base`."""
    batch_size: int = Field(default=4, ge=1, le=10**4)
    """Samples per batch."""
    optimizer: OptimizerName = "muon"
    """Optimiser: `adamw`, `lamb` or `muon`."""
    lr: float = Field(default=1e-2, gt=0, le=1e3)
    """Peak learning rate."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay of matrices and kernels; norms and biases have none."""


class InContextPreset(Config):
    """Sizes and recipe of an in-context network that keeps tokens of a mask."""

    kind: Literal["incontext"] = "incontext"
    """Which network this is."""
    channels: tuple[Width, ...] = Field(min_length=2, max_length=8)
    """Width of the maps at strides 1, 2, 4, ...; the first is the thin full-resolution skip."""
    blocks: tuple[Width, ...] = Field(min_length=1, max_length=7)
    """Residual blocks per encoder stage, from half resolution down."""
    dim: Width
    """Width of a task token."""
    tokens: Width
    """Task tokens per mask."""
    fusions: Width
    """Decoder stages, from the deepest, that exchange with the task tokens."""
    heads: Width
    """Attention heads."""
    hidden: Width
    """Hidden width of the per-mask classifier."""
    max_crop_edge: ClassVar[int | None] = None  # any
    max_crop_voxels: int = 48 * 64 * 64  # about 2 s per step of 4 pairs on two cores
    """Largest crop that is chosen by itself."""
    recipe: Recipe = Recipe(steps=3000, optimizer="adamw", lr=1.5e-3)
    """How it is trained."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Raise `ValueError` for sizes that make no network."""
        if len(self.channels) != len(self.blocks) + 1:
            raise ValueError("one width for full resolution and one for each stage are wanted")
        if self.fusions > len(self.blocks):
            raise ValueError("more stages with tokens than there are stages")
        widths = (self.dim, *self.channels[-self.fusions :])
        if any(width % self.heads for width in widths):
            raise ValueError(f"{self.heads} heads do not divide the widths {widths}")
        return self


class CorrespondenceRecipe(Recipe):
    """How a network that matches is trained.

    Muon makes kernels grow, to many times their first size, and finetuning moves large ones slowly:
    so much decay keeps them about as large as they begin.
    """

    weight_decay: float = Field(default=3.0, ge=0)
    """Weight decay of matrices and kernels; norms and biases have none."""


class CorrespondencePreset(Config):
    """Sizes and recipe of a network that matches cells between scans."""

    kind: Literal["correspondence"] = "correspondence"
    """Which network this is."""
    channels: tuple[Width, ...] = Field(min_length=2, max_length=8)
    """Width of the maps at strides 2, 4, 8, ..."""
    deep: Width = 2
    """Residual blocks at the coarsest stride."""
    keys: Width = 32
    """Width of a key."""
    max_keys: int = Field(default=1024, ge=2)
    """Cells that a task keeps of a reference."""
    max_crop_edge: ClassVar[int | None] = None  # any
    max_crop_voxels: int = 48 * 64 * 64
    """Largest crop that is chosen by itself."""
    recipe: CorrespondenceRecipe = CorrespondenceRecipe()
    """How it is trained."""


class ResEncPreset(Config):
    """Sizes and recipe of a network that matches, on the stacks of nnU-Net."""

    kind: Literal["resenc"] = "resenc"
    """Which network this is."""
    plan: ResEncPlan = ResEncPlan()
    """Encoder and decoder."""
    width: Width = 64
    """Channels of a cell of 2³ voxels."""
    keys: Width = 32
    """Width of a key."""
    max_keys: int = Field(default=1024, ge=2)
    """Cells that a task keeps of a reference."""
    max_crop_edge: ClassVar[int | None] = None  # any
    max_crop_voxels: int
    """Largest crop that is chosen by itself."""
    recipe: Recipe = Recipe(steps=50_000, batch_size=2, optimizer="adamw", lr=1e-3)
    """How it is trained."""


class IrisRecipe(Recipe):
    """How the released network was trained."""

    steps: int = Field(default=100_000, ge=1, le=10**9)
    """Optimiser steps of the whole run; the learning-rate schedule spans them."""
    optimizer: OptimizerName = "lamb"
    """Optimiser: `adamw`, `lamb` or `muon`."""
    lr: float = Field(default=2e-3, gt=0, le=1e3)
    """Peak learning rate."""
    weight_decay: float = Field(default=1e-5, ge=0)
    """Weight decay of matrices and kernels; norms and biases have none."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average (EMA) of the weights; a run delivers the EMA
    weights."""


class IrisPreset(Config):
    """Sizes and recipe of the network that MASS released."""

    kind: Literal["iris"] = "iris"
    """Which network this is."""
    channels: tuple[Width, Width, Width, Width, Width]
    """Width of the maps at strides 1, 2, 4, 8 and 16."""
    queries: Width = 10
    """Learned tokens per mask and stage; the foreground gives one more."""
    position_edge: int = Field(default=128, ge=16, le=512)
    """Edge of the learned maps of positions: the largest reference, in voxels."""
    max_crop_voxels: int = 128**3
    """Largest crop that is chosen by itself."""
    recipe: IrisRecipe = IrisRecipe()
    """How it is trained."""

    @property
    def max_crop_edge(self) -> int:
        """Largest edge of a crop, as a reference may not be larger."""
        return self.position_edge

    @field_validator("channels")
    @classmethod
    def _of_whole_heads(cls, channels: tuple[int, ...]) -> tuple[int, ...]:
        if any(width % 32 for width in channels[-3:]):
            raise ValueError("multiples of 32 for the three deepest")
        return channels


Preset: TypeAlias = Annotated[
    InContextPreset | CorrespondencePreset | IrisPreset | ResEncPreset,
    Field(discriminator="kind"),
]
PresetName = Literal["tiny", "small", "tokens", "base", "resenc-m", "resenc-l"]

TOKENS: Final = InContextPreset(
    channels=(8, 24, 48, 96, 128),
    blocks=(1, 2, 2, 2),
    dim=96,
    tokens=2,
    fusions=3,
    heads=4,
    hidden=12,
)

PRESETS: Final[dict[PresetName, Preset]] = {
    # laptop and CI size: about 3 M parameters
    "tiny": CorrespondencePreset(channels=(32, 64, 160)),
    # four times the work of `tiny`, 21.5 M parameters
    "small": CorrespondencePreset(
        channels=(64, 128, 256, 320), recipe=CorrespondenceRecipe(steps=4000)
    ),
    # task tokens alone, without correspondence: for comparison
    "tokens": TOKENS,
    # the network of MASS as it was released, 120 M parameters
    "base": IrisPreset(channels=(32, 64, 128, 256, 512)),
    # the stacks of nnU-Net's plans ResEnc M and L, about 100 M parameters; they differ in the crop:
    # two pairs of it are the voxels of a batch that the planner fits into 8 and into 24 GB
    "resenc-m": ResEncPreset(max_crop_voxels=96**3),
    "resenc-l": ResEncPreset(max_crop_voxels=128 * 160 * 160),
}


class ResEncConfig(Config):
    """What of the presets resenc-m and resenc-l is another than usual."""

    plan: ResEncPlan | None = None
    """Encoder and decoder, with the names of nnU-Net's plans."""
    plans: Path | None = Field(default=None, examples=["nnUNetResEncUNetLPlans.json"])
    """Plans file of nnU-Net: its encoder and decoder are built, so that nnU-Net can load the
    weights."""
    configuration: str = "3d_fullres"
    """Configuration of the plans file."""
    init: Path | None = Field(default=None, examples=["checkpoint_final.pth"])
    """Checkpoint of nnU-Net or nnssl to start from: its encoder and, if it has one, its decoder."""


def chosen_preset(name: PresetName, channels: Sequence[int] | None, resenc: ResEncConfig) -> Preset:
    """A preset with other widths or stacks. Raises `ConfigError` for what is no network."""
    preset = PRESETS[name]
    if isinstance(preset, ResEncPreset):
        if channels is not None or (resenc.plan and resenc.plans):
            raise _not_of("channels" if channels else "resenc.plan", name)
        plan = read_plan(resenc.plans, resenc.configuration) if resenc.plans else resenc.plan
        return preset.model_copy(update={"plan": plan}) if plan else preset
    if resenc != ResEncConfig():
        raise _not_of("resenc", name)
    return build(type(preset), preset.plain() | {"channels": channels}) if channels else preset


def _not_of(setting: str, name: str) -> ConfigError:
    expected = {
        "channels": "the widths in resenc.plan.features_per_stage",
        "resenc.plan": "either resenc.plan or resenc.plans",
        "resenc": "the preset resenc-m or resenc-l with settings of resenc",
    }
    return ConfigError(
        f"setting {setting!r}",
        found=f"{setting} with the preset {name}",
        expected=expected[setting],
        fix="Leave one of them out.",
        setting=setting,
    )
