"""What the labelled scans behind a task or a model are like, and what lies far outside of that.

Rules of thumb with wide margins: what they tell of is worth a look, and may still be right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import Field, FiniteFloat

from mass3d.config import Config
from mass3d.volume.body import CT_AIR_HU
from mass3d.volume.sample import sample
from mass3d.volume.volume import Modality, Volume

Span = tuple[FiniteFloat, FiniteFloat]  # lowest and highest

FAR: Final = 3.0  # times, of a length or a volume
FAR_HU: Final = 200.0  # of the median of all that is denser than air
FAR_SUV: Final = 20.0  # times, of the brightest voxels
PET_PERCENT: Final = 99.9
AXES: Final = ("from foot to head", "from front to back", "from left to right")


@dataclass(frozen=True)
class Measures:
    """What of a scan is compared."""

    modality: Modality
    edge_mm: float  # the longest of a voxel
    extent_mm: tuple[float, float, float]  # along (D, H, W)
    level: float | None  # CT: median of the body in HU; PET: SUV of its brightest; MR: none

    @classmethod
    def of(cls, volume: Volume, modality: Modality) -> Measures:
        """Measure a scan as it was read."""
        d, h, w = np.multiply(volume.grid.shape, volume.spacing_mm).tolist()
        return cls(modality, max(volume.spacing_mm), (d, h, w), _level(volume, modality))


def _level(volume: Volume, modality: Modality) -> float | None:
    voxels = sample(volume.voxels)
    if modality == "pet":
        return float(np.percentile(voxels, PET_PERCENT))
    body = voxels[voxels > CT_AIR_HU] if modality == "ct" else voxels[:0]
    return float(np.median(body)) if body.size else None


class Ranges(Config):
    """Lowest and highest of each measure of the labelled scans."""

    modalities: tuple[Modality, ...]
    edge_mm: Span
    extent_mm: tuple[Span, Span, Span]
    level: Span | None = None
    volumes_ml: dict[str, Span] = Field(default_factory=dict)
    """Structure -> its volumes where it is labelled."""

    @classmethod
    def of(
        cls, scans: Sequence[Measures], volumes_ml: Sequence[Mapping[str, float]] = ()
    ) -> Ranges:
        """Of labelled scans, at least one, and the volumes of their structures; 0 is absent."""
        levels = [scan.level for scan in scans if scan.level is not None]
        shown: dict[str, list[float]] = {}
        for volumes in volumes_ml:
            for name, ml in volumes.items():
                shown.setdefault(name, []).extend([ml] if ml > 0 else [])
        d, h, w = (_span(lengths) for lengths in zip(*(s.extent_mm for s in scans), strict=True))
        return cls(
            modalities=tuple(sorted({scan.modality for scan in scans})),
            edge_mm=_span([scan.edge_mm for scan in scans]),
            extent_mm=(d, h, w),
            level=_span(levels) if len(levels) == len(scans) else None,
            volumes_ml={name: _span(found) for name, found in shown.items() if found},
        )

    def joined(self, other: Ranges) -> Ranges:
        """Of the labelled scans of both."""
        d, h, w = map(_hull, self.extent_mm, other.extent_mm)
        volumes = dict(other.volumes_ml)
        for name, span in self.volumes_ml.items():
            volumes[name] = _hull(span, volumes.get(name, span))
        return Ranges(
            modalities=tuple(sorted({*self.modalities, *other.modalities})),
            edge_mm=_hull(self.edge_mm, other.edge_mm),
            extent_mm=(d, h, w),
            level=_hull(self.level, other.level) if self.level and other.level else None,
            volumes_ml=dict(sorted(volumes.items())),
        )

    def doubts(self, scan: Measures, *, made: str = "task") -> list[str]:
        """What of a scan is far outside, one sentence each. made: what the labelled scans made."""
        if scan.modality not in self.modalities:
            kinds = " and ".join(kind.upper() for kind in self.modalities)
            return [f"it looks like {scan.modality.upper()}, and the {made} was made on {kinds}"]
        return list(self._doubts(scan, f"the {made} was made on"))

    def _doubts(self, scan: Measures, others: str) -> Iterator[str]:
        if scan.edge_mm > FAR * self.edge_mm[1]:
            yield (
                f"its voxels are up to {scan.edge_mm:.3g} mm long, and {others} voxels of at "
                f"most {self.edge_mm[1]:.3g} mm"
            )
        for axis, length, usual in zip(AXES, scan.extent_mm, self.extent_mm, strict=True):
            if _is_far(length, usual):
                yield f"it is {length:.0f} mm {axis}, and {others} {in_words(usual)} mm"
        if scan.level is None or self.level is None or len(self.modalities) > 1:
            return
        low, high = self.level
        if scan.modality == "ct" and not low - FAR_HU <= scan.level <= high + FAR_HU:
            span = in_words(self.level)
            yield f"half of its body is above {scan.level:.0f} HU, and {others} {span} HU"
        if scan.modality == "pet" and not low / FAR_SUV <= scan.level <= high * FAR_SUV:
            span = in_words(self.level)
            yield f"its brightest voxels are {scan.level:.3g}, and {others} {span}"

    def odd_volumes(self, volumes_ml: Mapping[str, float]) -> tuple[str, ...]:
        """The structures of a scan whose volumes are far from all those that are labelled."""
        spans = self.volumes_ml
        return tuple(n for n, ml in volumes_ml.items() if n in spans and _is_far(ml, spans[n]))


def _span(values: Sequence[float]) -> Span:
    return round(min(values), 4), round(max(values), 4)


def _hull(one: Span, other: Span) -> Span:
    return min(one[0], other[0]), max(one[1], other[1])


def _is_far(value: float, span: Span) -> bool:
    return not span[0] / FAR <= value <= span[1] * FAR


def in_words(span: Span) -> str:
    """One number, or from one to another."""
    low, high = (f"{edge:.3g}" if abs(edge) < 1000 else f"{edge:.0f}" for edge in span)
    return low if low == high else f"{low} to {high}"
