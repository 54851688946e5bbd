"""What one scan and its label are, measured in one pass: every file is read once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import Mass3dError
from mass3d.inspection.label import CountedLabel, LabelFacts, Names, count_label
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.read import read_volume
from mass3d.volume.body import body_mask
from mass3d.volume.box import Box
from mass3d.volume.doubts import tissue_share
from mass3d.volume.geometry import Shape, SourceGrid
from mass3d.volume.intensity import modality_of
from mass3d.volume.preparation import PreparationConfig, preparation_fault
from mass3d.volume.sample import sample, sample_steps
from mass3d.volume.volume import Modality, Volume

LETTERS = ("SI", "AP", "RL")  # of the canonical axes (D, H, W), each way
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
BINS = 32
OUTERMOST = 0.003  # share of the body, at each end of each axis, that its box may cut off
HU_RANGE = (-1024.0, 1976.0)  # of the histogram of a CT; others go from percentile 1 to 99
SPLITS: Final = {  # what folders are called that hold one part of a dataset
    "training": {"imagestr", "train", "training"},
    "validation": {"imagesva", "imagesval", "val", "validation"},
    "test": {"imagests", "test", "testing"},
}


@dataclass(frozen=True)
class Intensities:
    """The values of a scan; all but the first two go by a sample of its voxels."""

    lowest: float
    highest: float
    percentiles: dict[str, float]  # "1", "5", ... "99"
    air_share: float  # of the voxels: outside of what `prepare` takes for the body
    levels: int  # different values
    whole: bool  # whether all are whole numbers
    tissue_share: float  # of what is above air, in the range of soft tissue of a shifted CT


@dataclass(frozen=True)
class CaseFacts:
    """What one scan is."""

    file: str  # below the folder that was given
    split: str | None  # "training", "validation" or "test" where a folder says it
    shape: tuple[int, int, int]  # voxels along (D, H, W)
    spacing_mm: tuple[float, float, float]  # along (D, H, W)
    extent_mm: tuple[float, float, float]  # along (D, H, W)
    orientation: str  # towards which side each axis of the file grows, such as RAS
    modality: Modality
    modality_from: str  # "setting", "tags", "name" or "histogram"
    intensity: Intensities
    repairs: tuple[str, ...]  # made on reading, one sentence each
    sha256: str  # of the canonical voxels and their shape, whatever the file is
    label_files: int  # one label map, or the masks of a folder; 0 where none lies beside it
    label: LabelFacts | None  # None also where it cannot be used


@dataclass(frozen=True)
class Histogram:
    """How many sampled voxels lie in each of equal bins; the end bins hold what is beyond."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """Evenly spread voxels of a scan (D', H', W'): enough for its statistics, and quick to sort."""

    voxels: NDArray[np.float32]
    body: NDArray[np.bool_]  # what is not air
    steps: tuple[int, int, int]  # between them, in voxels of the scan

    def body_box(self, shape: Shape) -> tuple[Box, Shape]:
        """A box around the body in a scan of `shape`, and the slices through its middle.

        The outermost parts do not count: specks in the air, or a table.
        """
        box, middle = [], []
        for axis, (step, length) in enumerate(zip(self.steps, shape, strict=True)):
            others = tuple(other for other in range(3) if other != axis)
            before = self.body.sum(axis=others).cumsum()
            ends = np.array((OUTERMOST, 0.5, 1 - OUTERMOST)) * before[-1]
            first, half, last = (int(place) * step for place in np.searchsorted(before, ends))
            box.append(slice(max(0, first - step), min(length, last + 2 * step)))
            middle.append(half)
        return (box[0], box[1], box[2]), (middle[0], middle[1], middle[2])


@dataclass(frozen=True)
class Inspection:
    """What is kept of a case: its facts, the histogram of its values, and faults of its label."""

    facts: CaseFacts
    histogram: Histogram
    faults: tuple[str, ...] = ()  # and of a scan that can be read, but not prepared


@dataclass(frozen=True)
class InspectionJob:
    """One case to measure."""

    case: CaseFile
    file: str  # below the folder that was given
    modality: Modality | Literal["auto"]
    spacing_mm: float  # that `prepare` would choose
    names: Names | None  # what the values of the label are called; None where nothing names them


@dataclass(frozen=True)
class Measured:
    """A case that was read and measured, with its voxels for whoever draws them."""

    inspection: Inspection
    scan: Volume
    label: CountedLabel | None
    sample: Sample


def measure_case(job: InspectionJob) -> Measured:
    """Read a scan and its label and measure both.

    Raises `DataError` for a scan that cannot be read; one that `prepare` would refuse has a fault.
    """
    scan = read_volume(job.case.scan)
    modality, source = modality_of(scan) if job.modality == "auto" else (job.modality, "setting")
    sample = sampled(scan.voxels, modality)
    label, faults = _label_of(job, scan)
    facts = CaseFacts(
        file=job.file,
        split=split_of(job.case.path),
        shape=scan.grid.shape,
        spacing_mm=_rounded(scan.spacing_mm),
        extent_mm=_rounded(np.multiply(scan.grid.shape, scan.spacing_mm)),
        orientation=orientation(scan.source),
        modality=modality,
        modality_from=source,
        intensity=intensities(scan.voxels, sample),
        repairs=scan.repairs,
        sha256=voxel_hash(scan.voxels),
        label_files=len(job.case.label.paths) if job.case.label else 0,
        label=label.facts if label else None,
    )
    values = histogram(sample.voxels, modality, facts.intensity)
    settings = PreparationConfig(spacing_mm=job.spacing_mm)
    refused = preparation_fault(scan, settings, modality, sample.voxels)
    faults = (*faults, refused) if refused else faults
    return Measured(Inspection(facts, values, faults), scan, label, sample)


def _label_of(job: InspectionJob, scan: Volume) -> tuple[CountedLabel | None, tuple[str, ...]]:
    """The label, where there is one that can be read, and its faults."""
    if job.case.label is None:
        return None, ()
    try:
        label = count_label(job.case.label, job.names, scan)
    except (Mass3dError, OSError) as error:
        return None, (str(error),)
    return label, label.faults


# --- the scan -------------------------------------------------------------------------------


def sampled(image: NDArray[np.float32], modality: Modality) -> Sample:
    """At most 2^18 evenly spread voxels."""
    voxels = np.ascontiguousarray(sample(image))
    return Sample(voxels, body_mask(voxels, modality), sample_steps(image.shape))


def intensities(image: NDArray[np.float32], sample: Sample) -> Intensities:
    """Figures about the values of a scan."""
    ordered = np.sort(sample.voxels, axis=None)
    last = len(ordered) - 1
    return Intensities(
        lowest=_number(image.min()),
        highest=_number(image.max()),
        percentiles={str(q): _number(ordered[round(q / 100 * last)]) for q in PERCENTILES},
        air_share=round(1 - float(sample.body.mean()), 4),
        levels=1 + int(np.count_nonzero(np.diff(ordered))),
        whole=bool((ordered == np.rint(ordered)).all()),
        tissue_share=round(tissue_share(ordered), 4),
    )


def histogram(voxels: NDArray[np.float32], modality: Modality, intensity: Intensities) -> Histogram:
    """CT on a scale of HU, so that scans can be compared; others on a scale of their own."""
    low, high = HU_RANGE
    if modality != "ct":
        low, high = intensity.percentiles["1"], intensity.percentiles["99"]
        high = max(high, float(np.nextafter(np.float32(low), np.float32(np.inf))))
    places = (np.clip(voxels, low, high) - low) * np.float32(BINS / (high - low))
    counts = np.bincount(np.minimum(places.ravel().astype(int), BINS - 1), minlength=BINS)
    return Histogram(low, high, tuple(int(count) for count in counts))


def voxel_hash(voxels: NDArray[Any]) -> str:
    """SHA-256 of the shape and the voxels: equal for one scan in two formats or under two names."""
    content = hashlib.sha256(str(voxels.shape).encode())
    content.update(np.ascontiguousarray(voxels).data)
    return content.hexdigest()


def orientation(source: SourceGrid) -> str:
    """Towards which side each axis of the file grows: RAS, LPS, ..."""
    letters = [""] * 3
    for axis, (file_axis, flipped) in enumerate(zip(source.permutation, source.flips, strict=True)):
        letters[file_axis] = LETTERS[axis][flipped]
    return "".join(letters)


def split_of(path: Path) -> str | None:
    """The part of a dataset that a file belongs to, by the innermost folder that names one."""
    for folder in path.absolute().parents:
        for split, names in SPLITS.items():
            if folder.name.lower() in names:
                return split
    return None


def _number(value: np.float32) -> float:
    """The shortest decimal number that is this float32: 0.4, not 0.4000000059604645."""
    return float(str(np.float32(value)))


def _rounded(lengths_mm: Any) -> tuple[float, float, float]:
    """Lengths in nanometres are rounding errors."""
    d, h, w = (round(float(length), 5) for length in lengths_mm)
    return d, h, w
