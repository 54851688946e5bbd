"""What came of probing: scores with intervals, calibration, and every prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.files import csv_text
from mass3d.metrics.prediction import (
    MetricName,
    calibration,
    class_scores,
    interval,
    number_scores,
    patient_weights,
    scored,
)
from mass3d.metrics.statistics import DIGITS, Interval, rounded
from mass3d.transfer.frozen.probing.labels import Target
from mass3d.transfer.frozen.probing.probe import Probed, Said
from mass3d.transfer.frozen.scan import PRETRAINED

FILE: Final = "metrics.json"
TABLE: Final = "predictions.csv"
HEADER: Final = (
    *("target", "case", "patient", "fold", "features", "head"),
    *("truth", "prediction", "class", "probability", "balanced"),
)

Scores = Mapping[MetricName, Interval]


@dataclass(frozen=True)
class HeadResult:
    """How good a head on some features is."""

    source: str
    head: str
    scores: Scores
    differences: Mapping[str, Scores]  # source -> pretrained less this one, by the same head
    calibration: tuple[tuple[float, float, int], ...]  # of classes: said, happened, scans
    chosen: tuple[float, ...]


@dataclass(frozen=True)
class TargetResult:
    """How well a target can be predicted."""

    target: Target
    patients: int
    counts: Mapping[str, int]  # class -> cases
    heads: tuple[HeadResult, ...]


def measured(probed: Probed, *, seed: int) -> TargetResult:
    """Score every head, with intervals over patients; differences go by the same draws."""
    weights = patient_weights(probed.patients.tolist(), seed=seed)
    draws = {(one.source, one.head): _draws(one, probed.target, weights) for one in probed.said}
    heads = (_head(one, probed, draws) for one in probed.said)
    target = probed.target
    counts = {name: int((target.truth == n).sum()) for n, name in enumerate(target.classes)}
    return TargetResult(target, len(np.unique(probed.patients)), counts, tuple(heads))


def _draws(
    said: Said, target: Target, weights: NDArray[np.float64]
) -> dict[MetricName, NDArray[np.float64]]:
    if target.classes:
        truth = target.truth.astype(np.int64)
        # not `answers`: a fold with more of a class learns that it is rarer, which would rank its
        # cases below those of other folds, and features that say nothing below chance
        return scored(partial(class_scores, said.balanced, said.predicted, truth), weights)
    return scored(partial(number_scores, said.answers[:, 0], target.truth), weights)


def _head(said: Said, probed: Probed, draws: Mapping[tuple[str, str], Any]) -> HeadResult:
    own = draws[said.source, said.head]
    others = {
        source: found
        for (source, head), found in draws.items()
        if head == said.head and source != PRETRAINED and said.source == PRETRAINED
    }
    return HeadResult(
        said.source,
        said.head,
        {name: interval(values) for name, values in own.items()},
        {
            source: {name: interval(own[name] - values) for name, values in found.items()}
            for source, found in others.items()
        },
        tuple(_calibration(said, probed.target)) if probed.target.classes else (),
        said.chosen,
    )


def _calibration(said: Said, target: Target) -> list[tuple[float, float, int]]:
    """Of two classes of the second; of more of the likeliest, whichever it is."""
    if len(target.classes) == 2:
        return calibration(said.answers[:, 1], target.truth == 1)
    likeliest = said.answers.argmax(axis=1)
    return calibration(said.answers.max(axis=1), likeliest == target.truth)


def as_json(result: TargetResult) -> dict[str, Any]:
    """A target as metrics.json has it."""
    features: dict[str, dict[str, Any]] = {}
    for one in result.heads:
        features.setdefault(one.source, {})[one.head] = {
            "scores": _plain(one.scores),
            "differences": {source: _plain(scores) for source, scores in one.differences.items()},
            "calibration": [
                {"probability": rounded(said), "share": rounded(share), "cases": cases}
                for said, share, cases in one.calibration
            ],
            "chosen": list(one.chosen),
        }
    target = result.target
    return {
        "kind": target.kind,
        "classes": dict(result.counts),
        "cases": len(target.cases),
        "patients": result.patients,
        "missing": list(target.missing),
        "features": features,
    }


def _plain(scores: Scores) -> dict[str, Any]:
    return {name: one.plain("value") for name, one in scores.items()}


def as_csv(probed: Sequence[Probed]) -> str:
    """Every prediction: of a number one row, of classes one for each class."""
    rows = (row for one in probed for said in one.said for row in _rows(one, said))
    return csv_text(HEADER, rows)


def _rows(probed: Probed, said: Said) -> Iterator[tuple[object, ...]]:
    target, predicted = probed.target, said.predicted
    for row, case in enumerate(target.cases):
        begin = (target.name, case, probed.patients[row], probed.fold[row], said.source, said.head)
        both = (said.answers[row], said.balanced[row])
        answers, balanced = (one.round(DIGITS).tolist() for one in both)
        if not target.classes:
            yield *begin, f"{target.truth[row]:.9g}", answers[0], "", "", ""
        for name, answer, equal in zip(target.classes, answers, balanced, strict=False):
            truth = target.classes[int(target.truth[row])]
            yield *begin, truth, target.classes[predicted[row]], name, answer, equal
