"""The page of `mass3d masks`: outliers first, then the cohort, a sample, and every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mass3d.execution.faults import Fault
from mass3d.inspection.masks import COMPARABLE, TOGETHER, BestDice, CaseMasks, Deviation
from mass3d.inspection.outliers import FAR
from mass3d.io.colours import PALETTE, Colour
from mass3d.masks.quality import Quality
from mass3d.pages.html import write_page
from mass3d.pages.mask_pictures import millilitres
from mass3d.pages.pictures import Picture
from mass3d.volume.volume import Modality

PAGE = "masks.html"
SHOWN_OUTLIERS, SAMPLE = 12, 6  # cases with pictures; all cases are in the table
CASES = 500  # rows of the table; quality.json has all


@dataclass(frozen=True)
class PageContent:
    """Everything the page says."""

    summary: str
    spacing_mm: float
    cases: Mapping[str, CaseMasks]
    outliers: Mapping[str, tuple[Deviation, ...]]
    best_dice: BestDice
    pictures: Mapping[str, tuple[Picture, ...]]
    volumes: Mapping[str, str]  # case -> address of what lies beside the page
    faults: Sequence[Fault]


@dataclass(frozen=True)
class EngineRow:
    """One engine over all cases, in words."""

    name: str
    colour: Colour
    masks: str
    layers: str
    coverage: str
    depth: str
    sizes: str
    agreement: tuple[tuple[str, float], ...]  # other engine, mean best IoU


@dataclass(frozen=True)
class Bars:
    """Masks per case of one engine, for every doubling of the size from the left."""

    name: str
    colour: Colour
    heights: tuple[float, ...]  # shares of the highest bar
    most: float  # masks per case of the highest bar


@dataclass(frozen=True)
class Strip:
    """One figure of all cases of a modality on a line from the lowest to the highest."""

    title: str
    modality: Modality
    dots: tuple[tuple[float, bool, str], ...]  # share of the line, whether it stands out, case
    low: str
    high: str


@dataclass(frozen=True)
class Row:
    """One case in the table."""

    name: str
    case: CaseMasks
    reasons: tuple[str, ...]
    sizes: str
    dice: float


def write_masks_page(path: Path, content: PageContent) -> Path:
    """Write the page; it needs no network, and beside it only what can be looked through."""
    cases = content.cases
    engines = list(dict.fromkeys(name for case in cases.values() for name in case.engines))
    colours = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(engines)}
    voxel_ml = content.spacing_mm**3 / 1000
    pictured = pictured_cases(cases, content.outliers)
    shown = [(name, content.pictures.get(name, ())) for name in pictured]
    reasons = {
        name: tuple(in_words(deviation, voxel_ml) for deviation in deviations)
        for name, deviations in content.outliers.items()
    }
    return write_page(
        path,
        PAGE,
        content=content,
        viewer=len(content.volumes),
        engines=[_engine_row(name, colours[name], cases, voxel_ml) for name in engines],
        bars=_bars(cases, colours),
        ends=_size_ends(cases, voxel_ml),
        strips=_strips(cases, content.outliers, voxel_ml),
        odd=[one for one in shown if one[0] in reasons],
        sample=[one for one in shown if one[0] not in reasons],
        reasons=reasons,
        rows=_rows(cases, reasons, voxel_ml),
        median_masks=_median([case.quality.num_masks for case in cases.values()]),
        median_coverage=_median([case.quality.coverage for case in cases.values()]),
        mean_dice=_mean_dice(content.best_dice),
        together=TOGETHER,
        far=FAR,
        comparable=COMPARABLE,
    )


def pictured_cases(
    cases: Mapping[str, CaseMasks], outliers: Mapping[str, tuple[Deviation, ...]]
) -> list[str]:
    """The farthest outliers, then a sample of the others spread evenly over their names."""
    odd = list(outliers)[:SHOWN_OUTLIERS]
    others = [name for name in cases if name not in outliers]
    picked = np.unique(np.linspace(0, len(others) - 1, SAMPLE).round().astype(int))
    return odd + [others[index] for index in picked if others]


def in_words(deviation: Deviation, voxel_ml: float) -> str:
    """Why a case stands out."""
    value, usual = deviation.value, deviation.usual
    if deviation.figure == "num_masks":
        return f"{value:.0f} masks, where {usual:.0f} are usual"
    if deviation.figure == "coverage":
        return f"{value:.0%} of the body in masks, where {usual:.0%} is usual"
    size, other = millilitres(value * voxel_ml), millilitres(usual * voxel_ml)
    return f"a {deviation.figure} mask of {size}, where {other} is usual"


def _engine_row(
    name: str, colour: Colour, cases: Mapping[str, CaseMasks], voxel_ml: float
) -> EngineRow:
    found = [case.engines[name] for case in cases.values() if name in case.engines]
    others: dict[str, list[float]] = {}
    for case in cases.values():
        for other, value in case.agreement.get(name, {}).items():
            others.setdefault(other, []).append(value)
    return EngineRow(
        name,
        colour,
        masks=_spread([one.num_masks for one in found]),
        layers=_spread([one.num_layers for one in found]),
        coverage=f"{_median([one.coverage for one in found]):.0%}",
        depth=_spread([one.depth for one in found]),
        sizes=" · ".join(
            millilitres(_median([one.voxels[place] for one in found]) * voxel_ml)
            for place in range(3)
        ),
        agreement=tuple((other, float(np.mean(values))) for other, values in others.items()),
    )


def _spread(values: Sequence[float]) -> str:
    """Median, and the range where there is one."""
    low, high = min(values), max(values)
    middle = f"{_median(values):.0f}"
    return middle if low == high else f"{middle} ({low:.0f} to {high:.0f})"


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def _mean_dice(dice: BestDice) -> float:
    values = [row[TOGETHER] for row in dice.values()]
    return float(np.mean(values)) if values else float("nan")


def _octaves(cases: Mapping[str, CaseMasks]) -> tuple[int, int]:
    """First octave of voxels that has a mask of any case, and the one after the last."""
    sizes = [np.flatnonzero(case.quality.sizes) for case in cases.values()]
    found = np.concatenate([np.zeros(0, int), *sizes])
    return (int(found.min()), int(found.max()) + 1) if len(found) else (0, 1)


def _size_ends(cases: Mapping[str, CaseMasks], voxel_ml: float) -> tuple[str, str]:
    first, last = _octaves(cases)
    return millilitres(2**first * voxel_ml), millilitres(2**last * voxel_ml)


def _bars(cases: Mapping[str, CaseMasks], colours: Mapping[str, Colour]) -> list[Bars]:
    first, last = _octaves(cases)
    counts = {
        name: np.array(
            [
                sum(_count(case.engines.get(name), octave) for case in cases.values())
                for octave in range(first, last)
            ]
        )
        / max(1, len(cases))
        for name in colours
    }
    return [
        Bars(name, colours[name], tuple((count / count.max()).tolist()), float(count.max()))
        for name, count in counts.items()
    ]


def _count(quality: Quality | None, octave: int) -> int:
    return quality.sizes[octave] if quality and octave < len(quality.sizes) else 0


def _strips(
    cases: Mapping[str, CaseMasks],
    outliers: Mapping[str, tuple[Deviation, ...]],
    voxel_ml: float,
) -> list[Strip]:
    """Masks, coverage and median size of every case, modality by modality."""
    strips = []
    for modality in sorted({case.modality for case in cases.values()}):
        ours = {name: case.quality for name, case in cases.items() if case.modality == modality}
        counts = {name: one.num_masks for name, one in ours.items()}
        shares = {name: one.coverage for name, one in ours.items()}
        sizes = {name: one.voxels[1] * voxel_ml for name, one in ours.items()}
        for title, values, logarithm in (
            ("Masks", counts, True),
            ("Share of the body in masks", shares, False),
            ("Median mask", sizes, True),
        ):
            scaled = {n: np.log(max(v, 1e-9)) if logarithm else v for n, v in values.items()}
            low, high = min(scaled.values()), max(scaled.values())
            dots = tuple(
                ((place - low) / (high - low) if high > low else 0.5, name in outliers, name)
                for name, place in scaled.items()
            )
            ends = [_end(title, end) for end in (min(values.values()), max(values.values()))]
            strips.append(Strip(title, modality, dots, *ends))
    return strips


def _end(title: str, value: float) -> str:
    if title == "Masks":
        return f"{value:.0f}"
    return f"{value:.0%}" if title.startswith("Share") else millilitres(value)


def _rows(
    cases: Mapping[str, CaseMasks], reasons: Mapping[str, tuple[str, ...]], voxel_ml: float
) -> list[Row]:
    """Outliers first, the farthest before the others; then cases with notes; then by name."""
    noted = [name for name in cases if name not in reasons and cases[name].notes]
    plain = [name for name in cases if name not in reasons and not cases[name].notes]
    rows = []
    for name in [*reasons, *noted, *plain][:CASES]:
        case = cases[name]
        dice = [values[TOGETHER] for values in (case.best_dice or {}).values()]
        rows.append(
            Row(
                name,
                case,
                (*reasons.get(name, ()), *case.notes),
                " · ".join(millilitres(v * voxel_ml) for v in case.quality.voxels),
                float(np.mean(dice)) if dice else float("nan"),
            )
        )
    return rows
