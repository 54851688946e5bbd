from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from made_facts import facts, label, values
from mass3d.inspection.case import CaseFacts
from mass3d.inspection.warnings import ENOUGH, far_from_others, find_leaks, find_warnings


def messages(**cases: CaseFacts) -> dict[str, dict[str, str]]:
    return {warning.message: warning.cases for warning in find_warnings(cases, spacing_mm=0.5)}


@pytest.mark.parametrize("modality", ["ct", "mr", "pet"])
def test_nothing_is_said_about_a_usual_scan(modality: str) -> None:
    assert messages(a=facts(modality)) == {}


@pytest.mark.parametrize(
    ("modality", "intensity", "words"),
    [
        ("ct", values(-150, 250), "without air"),
        ("ct", values(0, 3000), "HU plus 1024"),
        ("ct", values(0, 255), "without air"),
        ("ct", values(-3.2, 1.7, whole=False), "normalised"),
        ("mr", values(-2.1, 6.5, whole=False), "normalised"),
        ("mr", values(0.0, 1.0, whole=False), "normalised"),
        ("mr", values(0, 255), "8 bits"),
        ("mr", values(-1024, 1500), "air in CT"),
        ("pet", values(-1024, 1500), "air in CT"),
        ("pet", values(0, 30000), "Bq/ml"),
        ("pet", values(-3.0, 12.0, whole=False), "below zero"),
        ("mr", values(0, 4, levels=5), "label map"),
    ],
)
def test_values_that_do_not_suit_their_modality_are_told(
    modality: str, intensity: Any, words: str
) -> None:
    (message,) = messages(a=facts(modality, intensity=intensity))
    assert words in message


@pytest.mark.parametrize(
    ("changes", "words", "figures"),
    [
        ({"shape": (5, 50, 60)}, "few slices", "5"),
        ({"extent_mm": (5.0, 100.0, 120.0)}, "odd size", "5 x 100 x 120 mm"),
        ({"extent_mm": (120.0, 100.0, 9000.0)}, "odd size", "120 x 100 x 9e+03 mm"),
        ({"label": label(liver=0.0)}, "empty label", ""),
        ({"label": label(liver=1.0, spleen=0.0, cyst=0.0)}, "lacks structures", "spleen, cyst"),
    ],
)
def test_odd_grids_and_labels_are_told_with_their_figures(
    changes: dict[str, Any], words: str, figures: str
) -> None:
    ((message, cases),) = messages(a=facts(**changes)).items()
    assert words in message
    assert cases == {"a": figures}


def test_cases_that_are_odd_in_one_way_share_a_warning_and_rare_ones_come_first() -> None:
    odd = facts(intensity=values(-150, 250))
    small = facts(shape=(5, 50, 60))
    cases = {"a": odd, "b": small, "c": facts(intensity=values(-100, 99))}
    found = find_warnings(cases, spacing_mm=0.5)
    assert [sorted(warning.cases) for warning in found] == [["b"], ["a", "c"]]
    assert found[1].cases == {"a": "-150 to 250", "c": "-100 to 99"}


# --- copies -------------------------------------------------------------------------------------


def test_copies_are_told_with_the_first_of_them_and_whether_their_labels_differ() -> None:
    same = {"sha256": "x"}
    found = messages(
        a=facts(**same, label=label(liver=1.0)),
        b=facts(**same, label=label(liver=1.0)),
        c=facts(**same, label=label(liver=2.0)),
        d=facts(label=label(liver=3.0)),
    )
    assert found == {"the same voxels as another scan": {"b": "a", "c": "a, with another label"}}


def test_a_copy_in_another_part_of_the_dataset_is_a_fault() -> None:
    cases = {
        "a": facts(sha256="x", split="test", file="imagesTs/a.nii.gz"),
        "b": facts(sha256="x", split="training"),
        "c": facts(sha256="x", split="training"),
        "d": facts(sha256="y", split="test"),
        "e": facts(sha256="y", split="test"),
        "f": facts(sha256="z", split="training"),
        "g": facts(sha256="z", split=None),
    }
    (fault,) = find_leaks(cases)
    assert fault.where == "a"
    assert "imagesTs/a.nii.gz: found a test scan with the voxels of b (training), c (training)" in (
        fault.message
    )


def test_a_structure_that_nearly_all_others_have_is_missed_more_loudly() -> None:
    cases = {
        f"c{i}": facts(sha256=str(i), label=label(cord=20.0, cyst=float(i % 2))) for i in range(20)
    }
    cases |= {f"e{i}": facts(label=label(cord=0.0), sha256=f"e{i}") for i in range(9)}  # empty
    found = messages(**cases, odd=facts(label=label(cord=0.0, cyst=1.0)))
    assert found["lacks a structure that nearly all others have"] == {"odd": "cord"}
    assert set(found["lacks structures"]) == {f"c{i}" for i in range(0, 20, 2)}


# --- labels beside others -----------------------------------------------------------------------


def test_a_scan_without_a_label_is_told_only_where_most_have_one() -> None:
    labelled = {f"l{i}": facts(file=f"tr/{i}.nii.gz", label=label(liver=1.0)) for i in range(3)}
    bare = {"a": facts(file="tr/a.nii.gz"), "b": facts(file="ts/b.nii.gz")}
    bare["c"] = facts(file="tr/c.nii.gz", sha256="c", label_files=1)  # it has one, with a fault
    assert messages(**labelled, **bare) == {
        "no label, though most scans beside it have one": {"a": ""}
    }


# --- far from the others ------------------------------------------------------------------------


def test_a_scan_far_from_the_others_is_told_with_what_is_usual() -> None:
    cases = {f"c{i}": facts(spacing_mm=(3.0 + 0.01 * i, 2.0, 2.0)) for i in range(2 * ENOUGH)}
    odd = facts(spacing_mm=(12.0, 2.0, 2.0))
    found = messages(**cases, odd=odd, mr=facts("mr", spacing_mm=(12.0, 2.0, 2.0)))
    message = "far from the other CT scans beside it"
    assert found == {message: {"odd": "largest voxel edge in mm 12, usually 3.1"}}


def test_what_is_usual_is_asked_of_the_own_dataset_where_that_is_large_enough() -> None:
    thin = {
        f"x{i}": facts(file=f"x/{i}.nii", sha256=f"x{i}", spacing_mm=(1.0, 1.0, 1.0))
        for i in range(40)
    }
    thick = {
        f"y{i}": facts(file=f"y/{i}.nii", sha256=f"y{i}", spacing_mm=(9.0, 1.0, 1.0))
        for i in range(ENOUGH)
    }
    assert messages(**thin, **thick) == {}
    few = dict(list(thick.items())[: ENOUGH - 1])
    one = {"z": facts(file="z.nii", spacing_mm=(1.0, 1.0, 1.0))}
    (found,) = messages(**thin, **few, **one).values()
    assert list(found) == ["z"]  # datasets that are too small are taken together


def test_a_structure_far_from_its_usual_volume_is_told() -> None:
    cases = {
        f"c{i}": facts(sha256=str(i), label=label(cord=20.0 + i, cyst=2.0**i))
        for i in range(2 * ENOUGH)
    }
    found = messages(**cases, odd=facts(label=label(cord=500.0, cyst=4.0)))
    assert found == {"a structure of unusual volume": {"odd": "cord 500 ml, usually 30 ml"}}


def test_too_few_scans_say_nothing_about_what_is_usual() -> None:
    cases = {f"c{i}": facts(sha256=str(i)) for i in range(ENOUGH - 2)}
    assert messages(**cases, odd=facts(spacing_mm=(12.0, 2.0, 2.0))) == {}


def test_far_is_a_factor_beyond_the_usual_deviations_unless_the_cohort_is_mixed() -> None:
    column = np.ones(20)
    column[0] = 3
    assert np.flatnonzero(far_from_others(column[:, None])).tolist() == [0]
    column[0] = 1.9
    assert not far_from_others(column[:, None]).any()
    column[:3] = 3  # more than a tenth
    assert not far_from_others(column[:, None]).any()
    spread = np.exp(np.random.default_rng(0).normal(size=(50, 1)))  # far in factors, but usual
    assert far_from_others(spread).sum() <= 1


def test_what_little_preparing_would_leave_is_told_for_each_dataset() -> None:
    scans = {
        "set/large_1": facts(file="set/1.nii", shape=(90, 90, 90), spacing_mm=(4.0, 4.0, 4.0)),
        "set/large_2": facts(file="set/2.nii", shape=(16, 90, 90), spacing_mm=(4.0, 4.0, 4.0)),
        "crops/a": facts(file="crops/a.nii", shape=(36, 50, 41), spacing_mm=(1.0, 1.0, 1.0)),
        "crops/b": facts(file="crops/b.nii", shape=(64, 64, 64), spacing_mm=(0.9, 1.0, 1.0)),
        "thin/a": facts(file="thin/a.nii", shape=(11, 90, 90), spacing_mm=(4.0, 4.0, 4.0)),
        "thin/b": facts(file="thin/b.nii", shape=(60, 90, 90), spacing_mm=(4.0, 4.0, 4.0)),
    }
    told = {
        warning.message.split(":")[0]: warning.cases
        for warning in find_warnings(scans, spacing_mm=4.0)
    }
    few = "fewer than 16 voxels along an axis once prepared at 4 mm in"
    assert told == {
        f"{few} crops": {"crops/a": "9 x 12 x 10", "crops/b": "14 x 16 x 16"},
        f"{few} thin": {"thin/a": "11 x 90 x 90"},
    }
