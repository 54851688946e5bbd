"""What a task file keeps of the model that made it, and in what another model differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import Field, PositiveInt, ValidationError

from mass3d.config import Config, differences
from mass3d.model.presets import PRESETS, Preset
from mass3d.pretext.task import ObjectiveName
from mass3d.volume.preparation import PreparationConfig

KEPT: Final = ("preset", "preparation")  # what finetuning keeps of a model
SAME: Final = "the same network and preparation, but other weights"
RECIPE: Final = "preset.recipe."  # how networks of the preset usually learn; `fit` is how this did

WORDS: Final = {  # of a fact, with the value that was found and the wanted one
    "crop_vox": "crops of {0} voxels, not {1}",
    "preparation.spacing_mm": "spacing {0} mm, not {1} mm",
    "preparation.modality": "modality {0}, not {1}",
    "preparation.ct_clip_hu": "CT clipped to {0} HU, not {1} HU",
    "preparation.ct_mean_std_hu": "CT scaled by {0} HU, not {1} HU",
    "preparation.percentiles": "MR and PET clipped to the percentiles {0}, not {1}",
    "preparation.statistics": "intensities measured in the {0}, not the {1}",
    "objective": "objective {0}, not {1}",
    "step": "{0} steps of training, not {1}",
    "seed": "seed {0}, not {1}",
    "store": "trained on another store",
}
USUAL: Final = {"preparation.statistics": "body"}  # of facts that are told only where they differ


class MadeBy(Config):
    """Facts of a model that say what another one would have to be like."""

    preset: Preset
    """The network."""
    crop_vox: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Voxels of a view along (D, H, W)."""
    preparation: PreparationConfig
    """How a scan is brought to what the network has seen."""
    objective: ObjectiveName = "masks"
    """What it learned from."""
    step: int = Field(ge=0)
    """Updates behind the weights."""
    seed: int = Field(default=0, ge=0)
    """Decides the initial weights and every draw."""
    store: str = ""
    """Fingerprint of the stores it learned from."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> MadeBy | None:
        """What the facts of a weights file say; None where they say too little."""
        try:
            return cls.model_validate({k: facts[k] for k in cls.model_fields if k in facts})
        except ValidationError:
            return None


def what_differs(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """In what the facts of a model differ from the wanted ones: `spacing 3.0 mm, not 1.5 mm`.

    Facts that only one of them has are not looked at. Models that differ in none have other
    weights, as their fingerprints tell them apart.
    """
    shared = [name for name in wanted if name in found]
    if not shared:
        return ""
    ours, theirs = ({name: one[name] for name in shared} for one in (wanted, found))
    differing = differences(ours, theirs)
    others = (_phrase(*one) for one in differing if not one[0].startswith("preset."))
    phrases = [*_of_networks(ours, theirs), *others]
    if any(name.startswith(KEPT) for name, _, _ in differing if not name.startswith(RECIPE)):
        return "; ".join(phrases)
    return SAME + (f": {'; '.join(phrases)}" if phrases else "")


def in_brackets(found: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> str:
    """` (what differs)`, to put behind a fingerprint; nothing where too little is known."""
    told = what_differs(found, wanted) if found and wanted else ""
    return f" ({told})" if told else ""


def _phrase(name: str, wanted: object, found: object) -> str:
    usual = USUAL.get(name)
    here, there = (usual if one is None and usual else _value(one) for one in (wanted, found))
    return WORDS.get(name, f"{name} {{0}}, not {{1}}").format(there, here)


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _of_networks(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """A phrase where the networks differ: by their names, else by every size that differs."""
    sizes = [
        one
        for one in differences({"preset": wanted.get("preset")}, {"preset": found.get("preset")})
        if not one[0].startswith(RECIPE)
    ]
    if not sizes:
        return
    here, there = (_network(one["preset"]) for one in (wanted, found))
    if here != there:
        yield f"network {there}, not {here}"
    else:
        yield from (
            f"{name.removeprefix('preset.')} of the network {_value(theirs)}, not {_value(ours)}"
            for name, ours, theirs in sizes
        )


def _network(preset: Mapping[str, Any]) -> str:
    """The name of a preset where the network is as it has it, else its kind."""
    for name, known in PRESETS.items():
        told = known.plain()
        if {**told, "recipe": None} == {**preset, "recipe": None}:
            return name
    return str(preset.get("kind"))
