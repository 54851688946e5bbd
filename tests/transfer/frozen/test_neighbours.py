import numpy as np
import pytest

from mass3d.transfer.frozen import neighbours
from mass3d.transfer.frozen.neighbours import nearest


def test_the_nearest_are_those_of_a_plain_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "AT_ONCE", 3)
    features = np.random.default_rng(0).normal(size=(8, 5))
    cases = [f"c{i}" for i in range(8)]
    found = nearest(cases, features, count=3)
    standard = (features - features.mean(0)) / features.std(0)
    for i, case in enumerate(cases):
        cosine = {
            cases[j]: standard[i]
            @ standard[j]
            / np.linalg.norm(standard[i])
            / np.linalg.norm(standard[j])
            for j in range(8)
            if j != i
        }
        expected = sorted(cosine, key=lambda name: -cosine[name])[:3]
        assert [one.case for one in found[case]] == expected
        np.testing.assert_allclose(found[case][0].similarity, cosine[expected[0]])


def test_what_is_the_same_in_all_scans_and_the_unit_of_a_feature_say_nothing() -> None:
    features = np.random.default_rng(1).normal(size=(6, 4))
    cases = list("abcdef")
    others = np.column_stack([features * [1, 1000, 0.001, 5], np.full(6, 7.0)])
    first, second = nearest(cases, features), nearest(cases, others)
    for case in cases:
        assert [one.case for one in first[case]] == [one.case for one in second[case]]


def test_one_scan_has_no_neighbour_and_equal_scans_are_no_error() -> None:
    assert nearest(["a"], np.ones((1, 3))) == {"a": []}
    assert [one.similarity for one in nearest(["a", "b"], np.ones((2, 3)))["a"]] == [0.0]
