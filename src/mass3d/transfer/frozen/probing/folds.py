"""Folds by patient: what is learned from, and what it is then asked of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from mass3d.errors import DataError
from mass3d.execution.progress import tell
from mass3d.transfer.frozen.probing.labels import Target, all_numbers, each_that_can

INNER: Final = 4  # folds within what is learned from, at most
ATTEMPTS: Final = 20  # at folds that have every class in every part that is learned from
STRATA: Final = 5  # of a number: equally full, so that all folds have low and high ones

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Rows of the cases of a target."""

    train: Rows
    test: Rows


@dataclass(frozen=True)
class Learning:
    """What heads learn from: a part of the cases of a target, and folds within it."""

    truth: NDArray[np.float64]  # (n,)
    classes: int  # 0 of a number
    inner: tuple[Fold, ...]  # of these n
    seed: int


def folds_of(
    target: Target, patients: NDArray[np.str_], *, folds: int, seed: int, where: str
) -> list[Fold]:
    """Folds that keep a patient together and classes even; patients (N,) of the target's cases.

    where: the table of labels. Raises `DataError` where there are fewer patients, or fewer of a
    class, than folds, or no such folds can be made.
    """
    require_enough(target, patients, folds=folds, where=where)
    groups = strata(target.truth, target.classes, folds=folds)
    for attempt in range(ATTEMPTS):  # few patients of several classes may first fall badly
        found = list(_split(groups, patients, folds, seed + 1000 * attempt))
        if all(_has_all(target.truth[fold.train], target.classes) for fold in found):
            return found
    raise DataError(
        where,
        found=f"a class of {target.name} whose patients all come into one fold",
        expected="every class in every part that is learned from",
        fix="Ask for other folds, or take more patients.",
        setting="folds",
    )


def require_some(
    targets: Sequence[Target], patients: Mapping[str, str], *, folds: int, where: str
) -> None:
    """Tell which targets have too few patients, before minutes of work; patients: of each case.

    Raises `DataError` where all have.
    """
    makers = {
        one.name: partial(
            require_enough,
            one,
            np.array([patients[case] for case in one.cases]),
            folds=folds,
            where=where,
        )
        for one in targets
    }
    for name, error in each_that_can(makers).refused.items():
        tell(f"{name}: {error}")


def _has_all(truth: NDArray[np.float64], classes: tuple[str, ...]) -> bool:
    """Whether every class is there; always of a number."""
    return not classes or len(np.unique(truth)) == len(classes)


def learning(target: Target, patients: NDArray[np.str_], train: Rows, *, seed: int) -> Learning:
    """The rows to learn from, with as many inner folds as their classes allow."""
    truth, owners = target.truth[train], patients[train]
    count = INNER
    for one in range(max(1, len(target.classes))):
        those = owners[truth == one] if target.classes else owners
        count = min(count, len(np.unique(those)))
    groups = strata(truth, target.classes, folds=count)
    inner = _split(groups, owners, count, seed) if count > 1 else ()
    kept = (fold for fold in inner if _has_all(truth[fold.train], target.classes))
    return Learning(truth, len(target.classes), tuple(kept), seed)


def strata(truth: NDArray[np.float64], classes: tuple[str, ...], *, folds: int) -> Rows:
    """What is spread evenly over folds: (N,) classes, or fifths of a number; fewer of few cases."""
    if classes:
        return truth.astype(np.int64)
    count = int(np.clip(len(truth) // folds, 1, STRATA))
    edges = np.quantile(truth, np.linspace(0, 1, count + 1)[1:-1])
    return np.asarray(np.searchsorted(edges, truth, side="right"), np.int64)


def _split(groups: Rows, patients: NDArray[np.str_], folds: int, seed: int) -> Iterator[Fold]:
    """Folds in which there is something to be asked of."""
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # of a number whose strata differ in size, because of equal values
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for train, test in splitter.split(np.zeros(len(groups)), groups, patients):
            if len(test):
                yield Fold(np.asarray(train), np.asarray(test))


def require_enough(target: Target, patients: NDArray[np.str_], *, folds: int, where: str) -> Target:
    """The target, if in all and of every class it has as many patients (N,) as folds.

    Raises `DataError`.
    """
    counts = {f"{target.name} in all": len(np.unique(patients))}
    for number, name in enumerate(target.classes):
        counts[f"{target.name} = {name!r}"] = len(np.unique(patients[target.truth == number]))
    read, or_number = "", ""
    if all_numbers(target.classes):
        read = ", a column that was read as classes"
        or_number = "say in kinds that it is a number, "
    for what, count in counts.items():
        if count < folds:
            raise DataError(
                where,
                found=f"{count} patient{'' if count == 1 else 's'} with a scan and {what}{read}",
                expected=f"at least {folds}, one for each fold",
                fix=f"Ask for fewer folds, join classes, {or_number}or leave the target out.",
                setting="folds",
            )
    return target
