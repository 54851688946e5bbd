"""Small DICOM series that tests write, sound or not. Places and vectors are DICOM's: LPS+ mm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, generate_uid

STORAGE = "1.2.840.10008.5.1.4.1.1."
CLASSES = {"CT": "2", "MR": "4", "PT": "128", "OT": "7", "SEG": "66.4"}
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SIZE = (6, 8)  # rows, columns
SECRET = "Doe^Jane"  # of every patient: must never be seen again
Change = Callable[[Dataset, int], object]


def stored(number: int, *, seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.int16]:
    """The pixels of a slice, as they are in the file."""
    return np.random.default_rng((seed, number)).integers(0, 2000, size).astype(np.int16)


def series(
    folder: Path,
    places_mm: Sequence[float] = (0, 2, 4, 6, 8),
    *,
    modality: str = "CT",
    axes: Sequence[float] = AXIAL,
    stack: Sequence[float] | None = None,
    seed: int = 0,
    compressed: bool = False,
    syntax: UID = ExplicitVRLittleEndian,
    change: Change | None = None,
) -> list[Path]:
    """One file per place along `stack` (the normal by default), named against the order.

    `change` gets every dataset and its number before it is written, with pixels encoded as
    `syntax` says.
    """
    direction = np.cross(axes[:3], axes[3:]) if stack is None else np.array(stack)
    uid, paths = generate_uid(entropy_srcs=[str(folder), modality, str(seed)]), []
    for number, place in enumerate(places_mm):
        ds = image(stored(number, seed=seed), modality=modality, series_uid=uid)
        ds.InstanceNumber = len(places_mm) - number
        ds.ImageOrientationPatient = [round(float(x), 8) for x in axes]
        ds.ImagePositionPatient = [round(float(x), 6) for x in [-5, 7, 11] + place * direction]
        if change is not None:
            change(ds, number)
        path = folder / f"{len(places_mm) - number:03}"
        paths.append(save(ds, path, compressed=compressed, syntax=syntax))
    return paths


def image(pixels: NDArray[Any], *, modality: str, series_uid: str) -> Dataset:
    """A slice without a place."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = STORAGE + CLASSES[modality], generate_uid()
    ds.SeriesInstanceUID, ds.StudyInstanceUID = series_uid, "1.2.3"
    ds.PatientName, ds.PatientID, ds.Modality = SECRET, SECRET, modality
    ds.SeriesNumber, ds.SeriesDescription = 3, "Head & neck"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.PixelSpacing = [0.5, 0.75]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    if modality == "CT":
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = pixels.tobytes()
    return ds


def pet(ds: Dataset, number: int) -> None:
    """The tags of a PET in Bq/ml, scanned one half-life after injection, a scale per slice."""
    tracer = Dataset()
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = 2e8, 3600.0
    tracer.RadiopharmaceuticalStartTime = "233000.00"
    ds.RadiopharmaceuticalInformationSequence = Items([tracer])
    ds.Units, ds.DecayCorrection, ds.PatientWeight = "BQML", "START", 80
    ds.SeriesDate, ds.SeriesTime = "20200102", "003000"
    ds.AcquisitionTime = f"0030{number:02}"
    ds.RescaleSlope, ds.RescaleIntercept = number + 1, 0


def multi_frame(
    path: Path, places_mm: Sequence[float], *, echoes: Sequence[float] = (5.0,)
) -> Path:
    """An enhanced MR of all places and echoes, the last place first."""
    frames = [(place, echo) for echo in echoes for place in reversed(places_mm)]
    pixels = np.stack([stored(number) for number in range(len(frames))])
    ds = image(pixels, modality="MR", series_uid=generate_uid())
    ds.SOPClassUID, ds.NumberOfFrames = STORAGE + "4.1", len(frames)
    del ds.PixelSpacing
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = [0.5, 0.75], list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = (
        Items([measures]),
        Items([plane]),
    )
    ds.SharedFunctionalGroupsSequence = Items([shared])
    ds.PerFrameFunctionalGroupsSequence = Items([_frame(*frame) for frame in frames])
    return save(ds, path)


def _frame(place: float, echo: float) -> Dataset:
    frame, position, timing, scale = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient, timing.EffectiveEchoTime = [0, 0, place], echo
    scale.RescaleSlope, scale.RescaleIntercept = 2, place
    frame.PlanePositionSequence, frame.MREchoSequence = Items([position]), Items([timing])
    frame.PixelValueTransformationSequence = Items([scale])
    return frame


def save(
    ds: Dataset, path: Path, *, compressed: bool = False, syntax: UID = ExplicitVRLittleEndian
) -> Path:
    """Write a whole file, as RLE if `compressed`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    if compressed:
        ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    return path
