"""PET intensities -> standardised uptake values by body weight (SUVbw), or a refusal.

The scale is that of the QIBA profile: SUV = (Bq/ml) * weight / (dose, decayed to the scan).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from mass3d.errors import DataError

DAY = timedelta(days=1)
NO_DAY = "19000101"  # where no date is given, only differences of times count
PHILIPS_SUV, PHILIPS_BQML = (0x7053, 0x1000), (0x7053, 0x1009)
MAX_HALF_LIVES = 20.0  # between injection and scan; more is a wrong date


def suv_scale(
    header: Dataset, *, started: Sequence[tuple[str, str]], where: Path
) -> tuple[float, tuple[str, ...]]:
    """By what to multiply rescaled intensities, and what to tell.

    `started`: date and time of the acquisition of every slice. Raises `DataError`
    naming the tag that is missing.
    """
    units = str(_needed(header, "Units", where))
    if units == "GML":
        kind = str(header.get("SUVType") or "BW")
        if kind != "BW":
            raise _unknown(where, f"SUVs of the type {kind}", "SUV by body weight (BW)")
        return 1.0, ()
    if units == "CNTS":
        return _philips(header, started, where)
    if units == "BQML":
        return _noted(_by_weight(header, started, where), "Bq/ml")
    raise _unknown(where, f"a PET in units of {units}", "BQML, GML or CNTS (of Philips)")


def _philips(
    header: Dataset, started: Sequence[tuple[str, str]], where: Path
) -> tuple[float, tuple[str, ...]]:
    """Counts: Philips says in private tags how to scale them."""
    suv = float(header[PHILIPS_SUV].value) if PHILIPS_SUV in header else 0.0
    if suv > 0:
        return _noted(suv, "counts")
    activity = float(header[PHILIPS_BQML].value) if PHILIPS_BQML in header else 0.0
    if activity > 0:
        return _noted(activity * _by_weight(header, started, where), "counts")
    raise _missing(where, "a scale of its counts, (7053,1000) or (7053,1009)")


def _noted(scale: float, unit: str) -> tuple[float, tuple[str, ...]]:
    return scale, (f"{unit} turned into SUV by body weight (times {scale:.4g})",)


def _by_weight(header: Dataset, started: Sequence[tuple[str, str]], where: Path) -> float:
    """SUV per Bq/ml."""
    weight_g = 1000 * _positive(header, "PatientWeight", where)
    tracer = _needed(header, "RadiopharmaceuticalInformationSequence", where)[0]
    dose = _positive(tracer, "RadionuclideTotalDose", where)
    correction = str(_needed(header, "DecayCorrection", where))
    if correction == "ADMIN":
        return weight_g / dose
    if correction != "START":
        raise _unknown(where, f"DecayCorrection {correction}", "START or ADMIN")
    half_life_s = _positive(tracer, "RadionuclideHalfLife", where)
    scan = _scan_start(header, started, where)
    waited_s = (scan - _injection(tracer, scan, where)).total_seconds()
    if not 0 <= waited_s <= MAX_HALF_LIVES * half_life_s:
        raise _unknown(
            where, f"an injection {waited_s:.0f} s before the scan", "one within its half-lives"
        )
    return float(weight_g / (dose * 2 ** (-waited_s / half_life_s)))


def _scan_start(header: Dataset, started: Sequence[tuple[str, str]], where: Path) -> datetime:
    """The time that decay was corrected to.

    That is the series time; where that comes after the first acquisition, the series was made
    later from the scan, and the first acquisition counts. Every time goes with its own date; one
    without a date is that nearest to the series time, so that scans may go on over midnight.
    """
    day = str(header.get("SeriesDate") or min((d for d, _ in started if d), default=NO_DAY))
    series = _moment(day, _needed(header, "SeriesTime", where), "SeriesTime", where)
    acquired = [
        _moment(date, time, "AcquisitionTime", where)
        if date
        else _nearest(_moment(day, time, "AcquisitionTime", where), series)
        for date, time in dict.fromkeys(started)
        if time
    ]
    return min([series, *acquired])


def _nearest(moment: datetime, to: datetime) -> datetime:
    """The moment on the day on which it is nearest to another."""
    return min((moment - DAY, moment, moment + DAY), key=lambda other: abs(other - to))


def _injection(tracer: Dataset, scan: datetime, where: Path) -> datetime:
    """When the dose was measured; a time without a date is the last one before the scan."""
    stamp = str(tracer.get("RadiopharmaceuticalStartDateTime") or "")
    if len(stamp) >= 14:
        return _moment(stamp[:8], stamp[8:], "RadiopharmaceuticalStartDateTime", where)
    time = _needed(tracer, "RadiopharmaceuticalStartTime", where)
    injected = _moment(f"{scan:%Y%m%d}", time, "RadiopharmaceuticalStartTime", where)
    return injected if injected <= scan else injected - DAY


def _moment(day: str, time: Any, tag: str, where: Path) -> datetime:
    """A DICOM date and time; fractions of a second and what follows them do not matter."""
    digits = str(time).split(".")[0][:6].ljust(6, "0")
    try:
        return datetime.strptime(day[:8] + digits, "%Y%m%d%H%M%S")
    except ValueError as error:
        raise _unknown(where, f"{tag} {time}", "a time") from error


def _positive(header: Dataset, tag: str, where: Path) -> float:
    value = float(_needed(header, tag, where))
    if not value > 0:
        raise _unknown(where, f"{tag} {value:g}", "a positive number")
    return value


def _needed(header: Dataset, tag: str, where: Path) -> Any:
    value = header.get(tag)
    if value is None or (hasattr(value, "__len__") and not len(value)):
        raise _missing(where, tag)
    return value


def _missing(where: Path, what: str) -> DataError:
    return DataError(
        where,
        found=f"a PET without {what}",
        expected="what turns its intensities into SUV by body weight",
        fix="Export the series with that tag (tools that anonymise often remove it), or convert "
        "it to SUV with another tool.",
    )


def _unknown(where: Path, found: str, expected: str) -> DataError:
    return DataError(
        where,
        found=found,
        expected=expected,
        fix="Correct the tag, or convert the series to SUV with another tool.",
    )
