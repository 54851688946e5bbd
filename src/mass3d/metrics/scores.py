"""What is scored of a structure in a case: the metrics, by the names that files call them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from mass3d.metrics.lesions import NO_LESIONS, Lesions
from mass3d.metrics.overlap import Overlap
from mass3d.metrics.surface import UNSCORED, SurfaceScores


@dataclass(frozen=True)
class Score:
    """One structure in the prediction and in the label of one case."""

    overlap: Overlap
    voxel_ml: float
    surface: SurfaceScores = UNSCORED
    lesions: Lesions = NO_LESIONS

    @property
    def volume_error_ml(self) -> float:
        """How far the volumes are apart, whichever is larger."""
        return abs(self.volume_bias_ml)

    @property
    def volume_bias_ml(self) -> float:
        """How much larger the predicted volume is than the true one; negative where smaller."""
        return (self.overlap.predicted - self.overlap.truth) * self.voxel_ml


@dataclass(frozen=True)
class Metric:
    """How a score is told, and found."""

    label: str
    of: Callable[[Score], float]
    digits: int = 3  # behind the point, in tables
    surface: bool = False  # whether it needs surfaces, which take time
    lesions: bool = False  # whether it needs lesions, likewise
    of_nothing: bool = False  # whether it is scored where neither label nor prediction has any


METRICS: Final[dict[str, Metric]] = {
    "dice": Metric("Dice", lambda one: one.overlap.dice),
    "iou": Metric("IoU", lambda one: one.overlap.iou),
    "volume_error_ml": Metric("volume error, ml", lambda one: one.volume_error_ml, 2),
    "volume_bias_ml": Metric("volume bias, ml", lambda one: one.volume_bias_ml, 2),
    "nsd": Metric("NSD", lambda one: one.surface.nsd, surface=True),
    "hd95_mm": Metric("HD95, mm", lambda one: one.surface.hd95_mm, 2, surface=True),
    "asd_mm": Metric("ASD, mm", lambda one: one.surface.asd_mm, 2, surface=True),
    "lesion_sensitivity": Metric(
        "Lesion sensitivity", lambda one: one.lesions.sensitivity, lesions=True
    ),
    "false_lesions": Metric(
        "False lesions", lambda one: float(one.lesions.false), 2, lesions=True, of_nothing=True
    ),
}


def metrics_of(*, surface: bool, lesions: bool) -> dict[str, Metric]:
    """The metrics that are scored, with those of surfaces and of lesions or without."""
    return {
        name: one
        for name, one in METRICS.items()
        if (surface or not one.surface) and (lesions or not one.lesions)
    }


@dataclass(frozen=True)
class Seen:
    """In how many cases a label value was where."""

    n_labelled: int  # in the label
    n_predicted: int  # in the prediction
    n_missed: int  # in the label, not in the prediction
    n_extra: int  # in the prediction, not in the label

    @classmethod
    def of(cls, overlaps: Iterable[Overlap]) -> Seen:
        """Counts over the cases of one value."""
        cases = [(overlap.truth > 0, overlap.predicted > 0) for overlap in overlaps]
        return cls(
            n_labelled=sum(truth for truth, _ in cases),
            n_predicted=sum(predicted for _, predicted in cases),
            n_missed=cases.count((True, False)),
            n_extra=cases.count((False, True)),
        )
