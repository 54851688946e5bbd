"""What intensities mean: which modality a scan is, and one scale for the network."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.volume.volume import Modality, Volume

NAME_TOKENS: Final[dict[Modality, frozenset[str]]] = {
    "ct": frozenset({"ct", "cbct", "ldct"}),
    "mr": frozenset({"mr", "mri", "t1", "t1w", "t1c", "t1ce", "t2", "t2w", "flair", "dwi", "adc"}),
    "pet": frozenset({"pet", "suv"}),
}
AIR_HU = -800.0


@dataclass(frozen=True)
class Intensity:
    """How raw intensities became the network's: clip to [low, high], then (x - mean) / std."""

    low: float
    high: float
    mean: float
    std: float

    @property
    def outside(self) -> float:
        """The normalised value of the darkest voxels, used where a view leaves the scan."""
        return (self.low - self.mean) / self.std

    def apply(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Raw image -> normalised float32."""
        out = image.astype(np.float32)
        np.clip(out, self.low, self.high, out=out)
        out -= np.float32(self.mean)
        out /= np.float32(self.std)
        return out

    def undo(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalised image -> raw intensities, as far as clipping has left them."""
        return image * np.float32(self.std) + np.float32(self.mean)

    def plain(self) -> dict[str, float]:
        """JSON-able form."""
        return asdict(self)


def modality_of(volume: Volume) -> tuple[Modality, str]:
    """The modality and what decided it: "tags" of the file, else as `guess_modality`."""
    if volume.modality is not None:
        return volume.modality, "tags"
    return guess_modality(volume.voxels, volume.path)


def modality_by_name(path: Path | None) -> Modality | None:
    """What a whole word of the name of a file, or of its two folders, says; None for nothing."""
    if path is None:
        return None
    place = path.absolute() if path.exists() else path  # it may have been named from within
    parts = [place.name, *(parent.name for parent in list(place.parents)[:2])]
    return next((found for found in map(modality_in, parts) if found), None)


def modality_in(text: str) -> Modality | None:
    """The one modality that whole words of a text name; None for none, or several."""
    words = set(re.split(r"[^a-z0-9]+", text.lower()))
    found = [modality for modality, tokens in NAME_TOKENS.items() if words & tokens]
    return found[0] if len(found) == 1 else None


def of_channel(volume: Volume, name: str) -> Volume:
    """A scan as the channel of this name, which tells its modality where its file does not."""
    told = volume.modality or modality_in(name)
    return volume if told == volume.modality else replace(volume, modality=told)


def guess_modality(image: NDArray[Any], path: Path | None) -> tuple[Modality, str]:
    """The modality and what decided it: "name" or "histogram".

    Names count when a whole word of the file or of its two folders is a modality's (ct, t1w,
    pet, ...). Otherwise a scan whose darkest percentile is air in HU is CT, and everything else
    is MR, the only kind with arbitrary units and no sign.
    """
    named = modality_by_name(path)
    if named is not None:
        return named, "name"
    darkest = float(np.percentile(image[::2, ::2, ::2] if image.size > 8**3 else image, 1))
    return ("ct" if darkest <= AIR_HU else "mr"), "histogram"
