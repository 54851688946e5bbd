"""Nothing leaks: labels without a meaning are not predicted, and twins do not help."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from mass3d.metrics.prediction import auroc
from mass3d.transfer.frozen.probing import attentive
from mass3d.transfer.frozen.probing.labels import Kind, Target
from mass3d.transfer.frozen.probing.probe import Probed, Source, cross_validate
from mass3d.transfer.frozen.probing.results import as_csv, as_json, measured
from mass3d.transfer.frozen.scan import PRETRAINED, SIZE

COUNT = 60


def target(truth: np.ndarray, classes: tuple[str, ...] = ("no", "yes")) -> Target:
    cases = tuple(f"c{i:02}" for i in range(len(truth)))
    kind: Kind = "classes" if classes else "number"
    return Target("ill", kind, classes, cases, truth.astype(float), ("c99",))


def area(probed: Probed, head: str) -> float:
    said = next(one for one in probed.said if one.head == head)
    once = np.ones((1, len(said.answers)))
    return float(auroc(said.balanced[:, 1], probed.target.truth == 1, once)[0])


@pytest.mark.parametrize("head", ["linear", "knn"])
def test_random_labels_are_not_predicted(head: str) -> None:
    areas = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        ill = target(rng.permutation(COUNT) % 2)
        source = Source(PRETRAINED, rng.normal(size=(COUNT, 300)))
        patients = np.array(ill.cases)
        found = cross_validate(ill, [source], patients, folds=5, seed=seed, where="x")
        areas.append(area(found, head))
    # the mean of six such areas has a deviation of 0.03; a leak gives 0.8 and more
    assert 0.38 < np.mean(areas) < 0.6


def test_random_labels_are_not_predicted_from_cells() -> None:
    rng = np.random.default_rng(0)
    ill = target(rng.permutation(COUNT) % 2)
    cells = tuple(rng.normal(size=(40, 60)).astype(np.float16) for _ in range(COUNT))
    source = Source(PRETRAINED, rng.normal(size=(COUNT, 3)), cells)
    found = cross_validate(ill, [source], np.array(ill.cases), folds=5, seed=0, where="x")
    assert 0.25 < area(found, "attentive") < 0.7


def areas(counts: tuple[int, ...], signal: float, *, seed: int = 0) -> dict[str, float]:
    """AUROC of every head on features that are one number, and that of the class with a signal."""
    truth = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    ill = target(truth, ("a", "b", "c")[: len(counts)])
    rows = 0.1 + signal * np.eye(len(counts))[truth]
    cells = tuple(
        np.repeat(row[None], 20 + number, axis=0).astype(np.float16)
        for number, row in enumerate(rows)
    )
    source = Source(PRETRAINED, rows, cells)
    found = cross_validate(ill, [source], np.array(ill.cases), folds=5, seed=seed, where="x")
    return {one.head: one.scores["auroc"].mean for one in measured(found, seed=0).heads}


@pytest.mark.parametrize("counts", [(6, 6), (7, 7), (6, 14), (8, 24), (6, 8, 13)])
def test_features_that_say_nothing_are_no_better_or_worse_than_chance(
    counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold with more of a class learns that it is rarer; that must not rank its cases."""
    monkeypatch.setattr(attentive, "STEPS", 20)
    assert areas(counts, 0) == pytest.approx(
        dict.fromkeys(("linear", "knn", "attentive"), 0.5), abs=0.02
    )


@pytest.mark.parametrize("counts", [(7, 7), (6, 8, 13)])
def test_features_that_tell_all_are_told_to(
    counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attentive, "STEPS", 40)
    assert areas(counts, 1) == dict.fromkeys(("linear", "knn", "attentive"), 1)


def test_several_scans_of_a_patient_do_not_give_its_label_away() -> None:
    """Rows tell patients apart and nothing else: by case that looks like knowledge."""
    rng = np.random.default_rng(1)
    owners = np.arange(COUNT) // 4
    ill = target((rng.permutation(COUNT // 4) % 2)[owners])
    rows = rng.normal(size=(COUNT // 4, 50))[owners] + 0.1 * rng.normal(size=(COUNT, 50))
    source = Source(PRETRAINED, rows)
    by_patient, by_case = (
        cross_validate(ill, [source], names, folds=5, seed=0, where="x")
        for names in (owners.astype(str), np.array(ill.cases))
    )
    assert area(by_case, "knn") > 0.95
    assert area(by_patient, "knn") < 0.75
    for fold in range(1, 6):
        inside = {*owners[by_patient.fold == fold].tolist()}
        assert not inside & {*owners[by_patient.fold != fold].tolist()}


@pytest.fixture(scope="module")
def probed() -> Probed:
    """A target that one source knows and the other does not."""
    rng = np.random.default_rng(2)
    ill = target(rng.permutation(COUNT) % 3 == 0)
    rows = rng.normal(size=(COUNT, 4))
    known = Source(PRETRAINED, rows + 3 * ill.truth[:, None])
    return cross_validate(
        ill, [known, Source(SIZE, rows)], np.array(ill.cases), folds=4, seed=0, where="x"
    )


def test_scores_differences_and_calibration_are_told(probed: Probed) -> None:
    result = measured(probed, seed=0)
    told = as_json(result)
    assert told["classes"] == {"no": 40, "yes": 20}
    assert (told["cases"], told["patients"], told["missing"]) == (60, 60, ["c99"])
    ours, plain = (told["features"][name]["linear"] for name in (PRETRAINED, SIZE))
    assert ours["scores"]["auroc"]["value"] > 0.95
    assert plain["scores"]["auroc"]["value"] < 0.8
    difference = ours["differences"][SIZE]["auroc"]
    expected = ours["scores"]["auroc"]["value"] - plain["scores"]["auroc"]["value"]
    assert difference["value"] == pytest.approx(expected, abs=2e-6)
    assert difference["ci95"][0] > 0
    assert plain["differences"] == {}
    assert len(ours["chosen"]) == 4
    assert sum(one["cases"] for one in ours["calibration"]) == 60
    assert json.dumps(told) == json.dumps(as_json(measured(probed, seed=0)))


def test_the_area_can_be_computed_again_from_the_predictions(probed: Probed) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([probed]))))
    assert len(rows) == COUNT * 2 * 2 * 2  # sources, heads, classes
    kept = [
        row
        for row in rows
        if (row["features"], row["head"], row["class"]) == (PRETRAINED, "linear", "yes")
    ]
    scores = np.array([float(row["balanced"]) for row in kept])
    truth = np.array([row["truth"] == "yes" for row in kept])
    told = as_json(measured(probed, seed=0))["features"][PRETRAINED]["linear"]["scores"]
    once = np.ones((1, COUNT))
    assert auroc(scores, truth, once)[0] == pytest.approx(told["auroc"]["value"], abs=1e-6)
    right = np.array([row["prediction"] == row["truth"] for row in kept])
    balanced = (right[truth].mean() + right[~truth].mean()) / 2
    assert balanced == pytest.approx(told["balanced_accuracy"]["value"], abs=1e-6)
    assert {row["fold"] for row in rows} == {"1", "2", "3", "4"}


def test_numbers_and_several_classes() -> None:
    rng = np.random.default_rng(5)
    age = target(np.arange(COUNT) + 20, ())
    rows = age.truth[:, None] + rng.normal(size=(COUNT, 2))
    found = cross_validate(
        age, [Source(PRETRAINED, rows)], np.array(age.cases), folds=5, seed=0, where="x"
    )
    told = as_json(measured(found, seed=0))["features"][PRETRAINED]["linear"]
    assert told["scores"]["mae"]["value"] < 2
    assert told["scores"]["r2"]["value"] > 0.98
    assert told["calibration"] == []
    first = next(csv.DictReader(io.StringIO(as_csv([found]))))
    assert (first["truth"], first["class"], first["probability"]) == ("20", "", "")
    assert abs(float(first["prediction"]) - 20) < 8
    grade = target(np.arange(COUNT) % 3, ("a", "b", "c"))
    rows = 3 * np.eye(3)[grade.truth.astype(int)] + rng.normal(size=(COUNT, 3))
    found = cross_validate(
        grade, [Source(PRETRAINED, rows)], np.array(grade.cases), folds=5, seed=0, where="x"
    )
    told = as_json(measured(found, seed=0))["features"][PRETRAINED]["linear"]
    assert told["scores"]["auroc"]["value"] > 0.9
    assert len(told["calibration"]) == 6
