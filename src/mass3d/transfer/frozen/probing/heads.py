"""Two heads for rows of features: linear, and the nearest neighbours.

Everything that is fitted (scale, regularisation, number of neighbours) is fitted to what is learned
from alone. Probabilities are those of equally frequent classes: what was learned from differs from
fold to fold in how frequent they are, and that is no knowledge of a case. `by_frequency` adds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from mass3d.transfer.frozen.probing.folds import Learning

STRENGTHS: Final = tuple(10.0**power for power in range(-5, 3))  # C of the logistic regression,
PENALTIES: Final = tuple(10.0**power for power in range(-1, 6))  # alpha of the ridge
NEIGHBOURS: Final = (1, 3, 5, 9, 15, 25)
MAX_ITERATIONS: Final = 5000
LEAST: Final = 1e-6  # probability, where its logarithm is taken
SAME: Final = 1e-9  # of a distance: those that are nearer to each other are equal

Rows = NDArray[np.float64]  # (n, F)
Answers = NDArray[np.float64]  # (n, classes) with the rows summing to one, or (n, 1) numbers


@dataclass(frozen=True)
class Told:
    """What a head says of the cases that it has not learned from."""

    answers: Answers  # as if all classes were equally frequent, or numbers
    chosen: float  # what the inner folds have chosen


def linear(train: Rows, learned: Learning, test: Rows) -> Told:
    """Logistic regression with balanced classes, or ridge regression."""
    return _chosen(_linear, STRENGTHS if learned.classes else PENALTIES, train, learned, test)


def neighbours(train: Rows, learned: Learning, test: Rows) -> Told:
    """Votes of the nearest scans, each by the share of its class; or their mean."""
    return _chosen(_neighbours, NEIGHBOURS, train, learned, test)


ROW_HEADS: Final[Mapping[str, Any]] = {"linear": linear, "knn": neighbours}


def by_frequency(answers: Answers, learned: Learning) -> Answers:
    """Probabilities of equally frequent classes made those of classes as frequent as learned."""
    if not learned.classes:
        return answers
    shares = np.bincount(learned.truth.astype(int), minlength=learned.classes) / len(learned.truth)
    weighed = answers * shares
    return np.asarray(weighed / weighed.sum(axis=1, keepdims=True))


def loss(answers: Answers, truth: NDArray[np.float64], classes: int) -> float:
    """What inner folds choose by: balanced log loss, or the mean square."""
    if not classes:
        return float(np.mean((answers[:, 0] - truth) ** 2))
    numbers = truth.astype(int)
    logs = -np.log(np.clip(answers[np.arange(len(numbers)), numbers], LEAST, 1))
    return float(np.mean([logs[numbers == one].mean() for one in np.unique(numbers)]))


def _chosen(
    head: Any, options: Sequence[float], train: Rows, learned: Learning, test: Rows
) -> Told:
    """The head with the option of least loss over the inner folds; of equal ones the first."""
    losses = np.zeros(len(options))
    for fold in learned.inner:
        scaled = _scaled(train[fold.train], train[fold.test])
        for number, option in enumerate(options):
            answers = head(option, scaled[0], learned.truth[fold.train], scaled[1], learned.classes)
            losses[number] += loss(answers, learned.truth[fold.test], learned.classes)
    middle = len(options) // 2
    best = options[int(np.argmin(losses))] if learned.inner else options[middle]
    rows, asked = _scaled(train, test)
    return Told(head(best, rows, learned.truth, asked, learned.classes), float(best))


def _scaled(train: Rows, test: Rows) -> tuple[Rows, Rows]:
    """Both on the scale of what is learned from."""
    scaler = StandardScaler().fit(train)
    return np.asarray(scaler.transform(train)), np.asarray(scaler.transform(test))


def _linear(
    option: float, train: Rows, truth: NDArray[np.float64], test: Rows, classes: int
) -> Answers:
    if not classes:
        found = Ridge(alpha=option).fit(train, truth).predict(test)
        return np.asarray(found, np.float64).reshape(-1, 1)
    model = LogisticRegression(C=option, class_weight="balanced", max_iter=MAX_ITERATIONS)
    return np.asarray(model.fit(train, truth.astype(int)).predict_proba(test), np.float64)


def _neighbours(
    option: float, train: Rows, truth: NDArray[np.float64], test: Rows, classes: int
) -> Answers:
    count = min(int(option), len(train))
    shared = _places(train, test, count)
    if not classes:
        return np.asarray(np.einsum("tn,n->t", shared, truth) / count).reshape(-1, 1)
    numbers = truth.astype(int)
    shares = np.bincount(numbers, minlength=classes) / len(numbers)
    # one vote of each class beforehand, by its share: no answer is ever quite certain
    votes = np.einsum("tn,nc->tc", shared, np.eye(classes)[numbers])
    weighed = (votes + shares) / shares
    return np.asarray(weighed / weighed.sum(axis=1, keepdims=True))


def _places(train: Rows, test: Rows, count: int) -> Answers:
    """How much each row learned from (n,) is among the `count` nearest of those asked of: (t, n).

    Rows that are equally far share the places that are left: which of them came first in the table
    would decide else, and features that say nothing would say something.
    """
    search = NearestNeighbors(n_neighbors=len(train)).fit(train)
    distances, order = search.kneighbors(test)
    last = distances[:, [count - 1]]
    nearer = distances < last * (1 - SAME)
    tied = ~nearer & (distances <= last * (1 + SAME))
    left = (count - nearer.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
    shared = np.zeros(distances.shape)
    np.put_along_axis(shared, order, nearer + tied * left, axis=1)
    return shared
