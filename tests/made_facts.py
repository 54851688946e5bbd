"""Facts of scans that were never written, for tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mass3d.inspection.case import BINS, PERCENTILES, CaseFacts, Histogram, Inspection, Intensities
from mass3d.inspection.label import LabelFacts

USUAL = {"ct": (-1000.0, 1500.0), "mr": (0.0, 900.0), "pet": (0.0, 12.5)}


def values(lowest: float, highest: float, **changes: Any) -> Intensities:
    """Values that spread evenly between two ends."""
    step = (highest - lowest) / 100
    even = Intensities(
        lowest=lowest,
        highest=highest,
        percentiles={str(q): lowest + q * step for q in PERCENTILES},
        air_share=0.5,
        tissue_share=0.1,
        levels=1000,
        whole=True,
    )
    return replace(even, **changes)


def facts(modality: Any = "ct", **changes: Any) -> CaseFacts:
    """A scan that nothing is odd about."""
    usual = CaseFacts(
        file="scans/a.nii.gz",
        split=None,
        shape=(40, 50, 60),
        spacing_mm=(3.0, 2.0, 2.0),
        extent_mm=(120.0, 100.0, 120.0),
        orientation="RAS",
        modality=modality,
        modality_from="name",
        intensity=values(*USUAL[modality], whole=modality != "pet"),
        repairs=(),
        sha256=f"{modality}{sorted(changes.items())}",
        label_files=int(changes.get("label") is not None),
        label=None,
    )
    return replace(usual, **changes)


def label(**ml: float) -> LabelFacts:
    """A label with so many millilitres of each structure, in voxels of 1 mm^3."""
    voxels = {name: round(1000 * volume) for name, volume in ml.items()}
    return LabelFacts(voxels=voxels, ml=ml, overlap_vox=0, ignored_vox=0, repairs=())


def inspection(case: CaseFacts, *, faults: tuple[str, ...] = ()) -> Inspection:
    """A case with a flat histogram."""
    return Inspection(case, Histogram(0.0, 1.0, (3,) * BINS), faults)
