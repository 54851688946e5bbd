"""What no learning gives: a label carried to another scan by an affine registration alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mass3d.alignment.alignment import align, carry
from mass3d.alignment.features import ScanFeatures, scan_features
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.pool import run_cases
from mass3d.io.read import read_label, read_volume
from mass3d.io.write import write_label
from mass3d.transfer.cohort import Cohort, LabelledFiles
from mass3d.transfer.tuning.tune import labels_of
from mass3d.volume.preparation import PreparationConfig, prepare_label, prepare_volume
from mass3d.volume.resample import resample_label
from mass3d.volume.volume import Volume


def carried_by_affine(image: Tensor, masks: Tensor, query: ScanFeatures) -> Tensor:
    """Masks (S, D, H, W) of a scan (D, H, W) on the grid of a query, in [0, 1]."""
    return carry(align(scan_features(image), query, affine_only=True), masks)


@dataclass(frozen=True)
class AffineFloor:
    """A labelled scan that is registered to others, by an affine map and nothing else."""

    image: Tensor  # (D, H, W), prepared
    masks: Tensor  # (S, D, H, W), bool
    values: NDArray[np.uint16]  # (S + 1,) label values; the first is the background
    preparation: PreparationConfig

    @classmethod
    def of(
        cls, scan: Volume, label: Volume, values: Sequence[int], preparation: PreparationConfig
    ) -> AffineFloor:
        """From a scan and its label map on the same grid. Raises `DataError` for a bad scan."""
        prepared = prepare_volume(scan, preparation)
        shown = prepare_label(label, prepared.grid)
        masks = torch.stack([torch.from_numpy(shown == value) for value in values])
        table = np.array([0, *values], np.uint16)
        return cls(torch.from_numpy(prepared.image), masks, table, preparation)

    def segment(self, scan: Volume) -> NDArray[np.uint16]:
        """The label map (D, H, W) carried to a scan, on its grid. Raises `DataError`."""
        prepared = prepare_volume(scan, self.preparation)
        features = scan_features(torch.from_numpy(prepared.image))
        numbers = labels_of(carried_by_affine(self.image, self.masks, features)).numpy()
        return resample_label(self.values[numbers], prepared.grid, scan.grid)


def segment_by_affine(
    cohort: Cohort, preparation: PreparationConfig, folder: Path
) -> tuple[Fault, ...]:
    """Write what an affine registration of the one example gives of every test scan.

    A scan that cannot be used is a fault, and the others go on.
    """
    shown = read_volume(cohort.reference.image)
    floor = AffineFloor.of(
        shown,
        read_label(cohort.reference.label, like=shown),
        list(cohort.structures.values()),
        preparation,
    )

    def segment(case: LabelledFiles) -> None:
        scan = read_volume(case.image)
        write_label(folder / f"{case.case_id}.nii.gz", floor.segment(scan), scan.source)

    cases = {case.case_id: case for case in cohort.test}
    return faults_of(run_cases(segment, cases, workers=1, title="affine"))
