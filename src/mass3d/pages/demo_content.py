"""What the page of a demo shows: scores, slices and sentences, gathered from the results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mass3d.inspection.case import CaseFacts
from mass3d.io.colours import Colour, value_colours
from mass3d.io.read import read_label, read_volume
from mass3d.metrics.statistics import bootstrap_mean
from mass3d.pages.demo import Sample, ShownCase, StructureScore
from mass3d.pages.mask_pictures import proposal_pictures
from mass3d.pages.pictures import (
    Overlay,
    Picture,
    Plane,
    Rgb,
    covering_planes,
    draw,
    grey_range,
    label_overlays,
)
from mass3d.pages.viewed import write_labels
from mass3d.store.reader import Store, StoredCase
from mass3d.transfer.cohort import LabelledFiles
from mass3d.volume.intensity import guess_modality
from mass3d.volume.volume import Volume

CaseDice = Mapping[str, Mapping[str, float]]  # case -> structure -> Dice; absent ones left out


# --- scores ---------------------------------------------------------------------------------


def structure_scores(
    found: Sequence[CaseDice], colours: Mapping[str, Colour], *, seed: int
) -> tuple[StructureScore, tuple[StructureScore, ...]]:
    """The mean over structures of every case, and every structure by itself, of each method."""

    def score(name: str, colour: Colour) -> StructureScore:
        values = ([d[name] for d in dice.values() if name in d] for dice in found)
        return StructureScore(name, colour, tuple(_sample(one, seed=seed) for one in values))

    means = (list(case_means(dice).values()) for dice in found)
    overall = StructureScore(
        "mean", (128, 128, 128), tuple(_sample(one, seed=seed) for one in means)
    )
    return overall, tuple(score(name, colour) for name, colour in colours.items())


def _sample(values: Sequence[float], *, seed: int) -> Sample:
    return Sample(tuple(values), bootstrap_mean(np.array(values), seed=seed))


def case_means(dice: CaseDice) -> dict[str, float]:
    """Case -> mean Dice over the structures scored in it; cases without any are left out."""
    return {case: float(np.mean(list(d.values()))) for case, d in dice.items() if d}


def median_worst_best(means: Mapping[str, float]) -> list[tuple[str, str]]:
    """(role, case) for at most three different cases."""
    order = sorted(means, key=lambda case: (-means[case], case))
    roles = {"median": len(order) // 2, "worst": len(order) - 1, "best": 0}
    chosen: dict[str, str] = {}
    for role, position in roles.items():
        if order and order[position] not in chosen.values():
            chosen[role] = order[position]
    return list(chosen.items())


def modality_note(
    reference: LabelledFiles, test: Sequence[LabelledFiles], dice: CaseDice
) -> str | None:
    """How scans of each kind fared, where there is more than one kind."""
    means = case_means(dice)
    values: dict[str, list[float]] = {}
    for case in test:
        if case.case_id in means:
            values.setdefault(_modality(case), []).append(means[case.case_id])
    if len(values) < 2:
        return None
    told = ", ".join(f"{np.mean(v):.2f} on {len(v)} {name}" for name, v in sorted(values.items()))
    return (
        f"The example is a {_modality(reference)} scan. Mean Dice by kind of test scan: {told}. "
        "An example of each kind helps."
    )


def _modality(case: LabelledFiles) -> str:
    modality, _ = guess_modality(read_volume(case.image).voxels, case.image)
    return modality.upper()


# --- pictures -------------------------------------------------------------------------------


def shown_case(
    case: LabelledFiles,
    *,
    role: str,
    predictions: Sequence[tuple[str, Path, CaseDice]],
    structures: Mapping[str, int],
    beside: Path,
) -> ShownCase:
    """Scan, truth and each prediction (title, folder, scores) on slices that show all.

    They are also written into the folder `beside` the page, to be looked through.
    """
    scan = read_volume(case.image)
    truth = read_label(case.label, like=scan)
    view = Viewer.of(scan, truth, structures)
    dice = [case_means(scores).get(case.case_id, math.nan) for _, _, scores in predictions]
    pictures = [Picture(view.draw(), "Scan"), Picture(view.draw(truth), "Truth")]
    labels = {"Truth": truth}
    for (title, folder, _), value in zip(predictions, dice, strict=True):
        labels[title] = read_label(folder / f"{case.case_id}.nii.gz", like=scan)
        pictures.append(Picture(view.draw(labels[title]), title, f"Dice {value:.2f}"))
    volume = write_labels(beside, case.case_id, scan, labels, structures)
    return ShownCase(case.case_id, role, tuple(dice), tuple(pictures), volume)


def reference_volume(case: LabelledFiles, structures: Mapping[str, int], beside: Path) -> str:
    """Write the example into the folder `beside` the page, to be looked through; its address."""
    scan = read_volume(case.image)
    label = read_label(case.label, like=scan)
    return write_labels(beside, case.case_id, scan, {"The one example": label}, structures)


def reference_pictures(
    case: LabelledFiles, structures: Mapping[str, int]
) -> tuple[Picture, Picture]:
    """The example with and without its label."""
    scan = read_volume(case.image)
    label = read_label(case.label, like=scan)
    view = Viewer.of(scan, label, structures)
    return (
        Picture(view.draw(), "The scan", case.case_id),
        Picture(view.draw(label), "The one example", ", ".join(structures)),
    )


@dataclass(frozen=True)
class Viewer:
    """One scan seen on the same slices with one grey scale and one set of colours."""

    scan: Volume
    planes: tuple[Plane, ...]
    grey: tuple[float, float]
    colours: dict[int, Colour]

    @classmethod
    def of(cls, scan: Volume, label: Volume, structures: Mapping[str, int]) -> Viewer:
        """The slices that show all of the wanted structures."""
        wanted = np.where(np.isin(label.voxels, list(structures.values())), label.voxels, 0)
        return cls(
            scan,
            covering_planes(wanted, scan.spacing_mm),
            grey_range(scan.voxels),
            value_colours(structures.values()),
        )

    def draw(self, label: Volume | None = None) -> Rgb:
        """The slices beneath each other, with a label map over them."""
        return np.concatenate([self._slice(plane, label) for plane in self.planes])

    def _slice(self, plane: Plane, label: Volume | None) -> Rgb:
        overlays: list[Overlay] = []
        if label is not None:
            overlays = label_overlays(plane.cut(label.voxels), self.colours)
        return draw(
            plane.cut(self.scan.voxels),
            pixel_mm=plane.pixel_mm(self.scan.spacing_mm),
            grey=self.grey,
            overlays=overlays,
        )


# --- what was learned from ------------------------------------------------------------------


def proposal_rows(store: Store) -> tuple[tuple[Picture, ...], ...]:
    """One scan of every modality in the store: bare, and with its masks by size."""
    first: dict[str, StoredCase] = {}
    for case_id in store.case_ids:
        case = store.case(case_id)
        first.setdefault(case.modality, case)
    return tuple(proposal_pictures(case, axes=(0,), height=None) for case in first.values())


def cohort_table(
    inspected: Mapping[str, CaseFacts], store: Store, *, unreadable: int
) -> tuple[tuple[str, str], ...]:
    """The training scans in figures: name, value; `unreadable` of them could not be read."""
    facts = list(inspected.values())
    cases = [store.case(case_id) for case_id in store.case_ids]
    masks = np.array([len(case.table) for case in cases])
    given = len(facts) + unreadable
    oblique = sum(_is_oblique(case.source.affine) for case in cases)
    orientations = Counter(fact.orientation for fact in facts)
    return (
        ("Training scans", f"{len(facts)} readable of {given}, {len(cases)} prepared"),
        ("Modality", _counts(Counter(fact.modality.upper() for fact in facts))),
        ("Voxels (z × y × x)", _range(np.array([fact.shape for fact in facts]), "")),
        ("Voxel edges (z × y × x)", _range(np.array([f.spacing_mm for f in facts]), " mm")),
        ("Axes of the files", f"{_counts(orientations)}; {oblique} oblique"),
        ("Repaired on reading", str(sum(bool(fact.repairs) for fact in facts))),
        ("Prepared at", f"{store.spacing_mm:.3g} mm"),
        ("Masks per scan", f"{masks.min()} to {masks.max()}, median {np.median(masks):.0f}"),
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counter.most_common())


def _range(rows: NDArray[np.number[Any]], unit: str) -> str:
    """From the least to the most along each axis of (N, 3)."""
    return f"{_triple(rows.min(0))} to {_triple(rows.max(0))}{unit}"


def _triple(values: NDArray[np.number[Any]]) -> str:
    return " × ".join(f"{value:.3g}" for value in values)


def _is_oblique(affine: Sequence[Sequence[float]]) -> bool:
    directions = np.array(affine)[:3, :3]
    directions = np.abs(directions) / np.linalg.norm(directions, axis=0)
    return bool(((directions > 1e-3) & (directions < 1 - 1e-6)).any())
