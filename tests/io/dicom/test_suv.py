"""PET over midnight: every time goes with its own date."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

import dicoms
from mass3d.io.read import read_volume

HALF_LIFE, DOSE, KG = 6600.0, 2.5e8, 60.0


def suv(folder: Path, *, waited_s: float) -> float:
    """What was read, in units of what is right for a dose injected so long before."""
    per_bqml = 1000 * KG / (DOSE * 2 ** (-waited_s / HALF_LIFE))
    return float(read_volume(folder).voxels.max() / (1000 * per_bqml))


@pytest.mark.parametrize(
    ("series", "second", "injected", "waited_s"),
    [
        # date and time of the series, of the second bed, and of the injection
        (("20230630", "234500"), ("20230701", "001500"), ("", "223000"), 4500),
        (("20230630", "234500"), ("20230701", "001500"), ("20230630", "223000"), 4500),
        (("20230630", "234500"), ("", "001500"), ("", "223000"), 4500),
        (("20230701", "001000"), ("20230701", "004000"), ("", "230000"), 4200),
        (("20230701", "001000"), ("20230701", "004000"), ("20230630", "230000"), 4200),
        (("", "234500"), ("20230701", "001500"), ("", "223000"), 4500),
        # the series was made later than the scan: the first acquisition counts
        (("20230701", "002000"), ("20230701", "001500"), ("20230630", "223000"), 4500),
    ],
)
def test_times_over_midnight_go_with_their_own_dates(
    tmp_path: Path,
    series: tuple[str, str],
    second: tuple[str, str],
    injected: tuple[str, str],
    waited_s: float,
) -> None:
    def change(ds: Dataset, number: int) -> None:
        dicoms.pet(ds, number)
        tracer = ds.RadiopharmaceuticalInformationSequence[0]
        tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = DOSE, HALF_LIFE
        if injected[0]:
            tracer.RadiopharmaceuticalStartDateTime = "".join(injected)
        else:
            tracer.RadiopharmaceuticalStartTime = injected[1]
        ds.PatientWeight = KG
        ds.SeriesDate, ds.SeriesTime = series
        first = ("20230630", "234500")
        ds.AcquisitionDate, ds.AcquisitionTime = first if number < 2 else second
        ds.RescaleSlope = 1
        ds.PixelData = np.full(dicoms.SIZE, 1000 - number, np.int16).tobytes()

    if series[1] == "001000":

        def later(ds: Dataset, number: int) -> None:
            change(ds, number)
            if number < 2:
                ds.AcquisitionDate, ds.AcquisitionTime = "20230701", "001000"

        dicoms.series(tmp_path, modality="PT", change=later)
    else:
        dicoms.series(tmp_path, modality="PT", change=change)
    assert suv(tmp_path, waited_s=waited_s) == pytest.approx(1, abs=1e-4)
