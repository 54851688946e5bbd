"""Folds: no patient in two, every class in each, and clear words where that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from mass3d.errors import DataError
from mass3d.transfer.frozen.probing.folds import folds_of, learning, strata
from mass3d.transfer.frozen.probing.labels import Kind, Target


def target(truth: list[float], classes: tuple[str, ...] = ("no", "yes")) -> Target:
    cases = tuple(f"c{i}" for i in range(len(truth)))
    kind: Kind = "classes" if classes else "number"
    return Target("ill", kind, classes, cases, np.array(truth, float), ())


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_in_two_folds_and_every_case_is_asked_of_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patients = rng.integers(30, size=90).astype(str)
    ill = target((rng.random(90) < 0.4).astype(float).tolist())
    folds = folds_of(ill, patients, folds=5, seed=seed, where="x")
    asked = np.concatenate([fold.test for fold in folds])
    assert sorted(asked.tolist()) == list(range(90))
    for fold in folds:
        assert not {*patients[fold.train]} & {*patients[fold.test]}
        assert len(fold.train) + len(fold.test) == 90
        learned = learning(ill, patients, fold.train, seed=seed)
        owners = patients[fold.train]
        assert len(learned.inner) == 4
        for inner in learned.inner:
            assert not {*owners[inner.train]} & {*owners[inner.test]}
            assert {*learned.truth[inner.train]} == {0, 1}


def test_many_equal_numbers_are_no_warning() -> None:
    dose = target([0.0] * 30 + [1.0, 2.0, 3.0], ())
    patients = np.array(["twin", "twin", *dose.cases[2:]])
    folds = folds_of(dose, patients, folds=3, seed=0, where="x")
    assert sum(len(fold.test) for fold in folds) == 33


def test_folds_go_by_the_seed_alone_and_keep_classes_even() -> None:
    ill = target([0.0] * 40 + [1.0] * 10)
    patients = np.array(ill.cases)
    first, again, other = (
        folds_of(ill, patients, folds=5, seed=seed, where="x") for seed in (1, 1, 2)
    )
    tests = [[fold.test.tolist() for fold in one] for one in (first, again, other)]
    assert tests[0] == tests[1] != tests[2]
    assert all(ill.truth[fold.test].sum() == 2 for fold in first)


def test_low_and_high_numbers_are_in_every_fold() -> None:
    age = target(np.linspace(20, 80, 50).tolist(), ())
    assert np.bincount(strata(age.truth, (), folds=5)).tolist() == [10] * 5
    assert np.bincount(strata(age.truth[:5], (), folds=2)).tolist() == [2, 3]
    for fold in folds_of(age, np.array(age.cases), folds=5, seed=0, where="x"):
        assert abs(age.truth[fold.test].mean() - 50) < 8
        assert learning(age, np.array(age.cases), fold.train, seed=0).classes == 0


def test_a_class_of_fewer_patients_than_folds_is_told() -> None:
    ill = target([0.0] * 12 + [1.0] * 6)
    owners = np.array([*"abcdefghijkl", *"mmmnnn"])
    with pytest.raises(DataError, match="2 patients with a scan and ill = 'yes'") as caught:
        folds_of(ill, owners, folds=3, seed=0, where="labels.csv")
    assert (caught.value.where, caught.value.setting) == ("labels.csv", "folds")
    with pytest.raises(DataError, match="18 patients with a scan and ill in all"):
        folds_of(ill, np.array(ill.cases), folds=20, seed=0, where="x")


def test_few_numbers_that_are_taken_for_classes_are_told_as_such() -> None:
    age = target([0.0, 1.0, 2.0], ("61", "62", "63.5"))
    with pytest.raises(DataError, match=r"ill = '61', a column that was read as classes") as caught:
        folds_of(age, np.array(age.cases), folds=2, seed=0, where="x")
    assert "say in kinds that it is a number" in str(caught.value)
    named = target([0.0, 1.0, 2.0], ("61", "62", "old"))
    with pytest.raises(DataError) as caught:
        folds_of(named, np.array(named.cases), folds=2, seed=0, where="x")
    assert "kinds" not in str(caught.value)
    assert "join classes, or leave" in str(caught.value)


def test_a_class_within_patients_of_one_fold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ill = target([0.0, 0.0, 1.0, 1.0])

    class Bad:
        def __init__(self, **_: object) -> None: ...

        def split(self, *_: object) -> list[tuple[list[int], list[int]]]:
            return [([0, 1], [2, 3]), ([2, 3], [0, 1])]

    monkeypatch.setattr("mass3d.transfer.frozen.probing.folds.StratifiedGroupKFold", Bad)
    with pytest.raises(DataError, match="whose patients all come into one fold"):
        folds_of(ill, np.array(ill.cases), folds=2, seed=0, where="x")


def test_too_few_patients_leave_no_inner_folds() -> None:
    ill = target([0.0, 0.0, 0.0, 1.0])
    assert learning(ill, np.array(ill.cases), np.arange(4), seed=0).inner == ()
