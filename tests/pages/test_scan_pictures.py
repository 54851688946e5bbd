from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mass3d.inspection.case import InspectionJob, measure_case
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.layouts import LabelFiles
from mass3d.io.write import write_image, write_label
from mass3d.pages.scan_pictures import scan_picture
from mass3d.volume.volume import Volume

EDGES = (2.0, 1.0, 0.5)


def test_a_picture_is_three_views_with_the_label_in_colour(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(-1010, -990, (12, 16, 20)).astype(np.float32)
    image[:6, :8] += 1040
    source = Volume.from_array(image, spacing_mm=EDGES).source
    write_image(tmp_path / "a.nii.gz", image, source)
    inside = np.zeros((12, 16, 20), np.uint8)
    inside[2:5, 2:6, 3:12] = 1
    write_label(tmp_path / "l.nii.gz", inside, source)
    case = CaseFile("a", tmp_path / "a.nii.gz")
    job = InspectionJob(case=case, file="a.nii.gz", modality="auto", spacing_mm=1.0, names=None)
    for label, coloured in ((None, False), (LabelFiles((tmp_path / "l.nii.gz",)), True)):
        picture = scan_picture(measure_case(replace(job, case=replace(case, label=label))))
        assert picture.shape == (160, 480, 3)
        for view in np.split(picture.astype(int), 3, axis=1):
            assert (np.ptp(view, axis=2).max() > 10) == coloured
