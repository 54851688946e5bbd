from __future__ import annotations

import pytest

from made_facts import facts, label, values
from mass3d.inspection.case import BINS, Histogram
from mass3d.inspection.cohort import datasets, modality_facts, pooled, structure_facts


def test_a_modality_is_told_by_the_lowest_median_and_highest_of_its_scans() -> None:
    cases = {
        "a": facts(spacing_mm=(1.0, 2.0, 2.0), orientation="LPS"),
        "b": facts(spacing_mm=(5.0, 2.0, 1.0), intensity=values(-1024, 3000)),
        "c": facts(spacing_mm=(3.0, 2.0, 2.0), modality_from="tags"),
        "d": facts("mr"),
    }
    found = modality_facts(cases)
    assert list(found) == ["ct", "mr"]
    ct = found["ct"]
    assert (ct.scans, found["mr"].scans) == (3, 1)
    assert (ct.spacing_mm.lowest, ct.spacing_mm.median, ct.spacing_mm.highest) == (
        (1.0, 2.0, 1.0),
        (3.0, 2.0, 2.0),
        (5.0, 2.0, 2.0),
    )
    assert (ct.lowest, ct.highest) == (-1024, 3000)
    assert ct.percentiles["50"] == 250
    assert list(ct.orientation.items()) == [("RAS", 2), ("LPS", 1)]
    assert ct.modality_from == {"name": 2, "tags": 1}


def test_a_structure_is_told_by_the_cases_that_hold_it_of_all_that_have_a_label() -> None:
    cases = {
        "a": facts(label=label(liver=1500.0, cyst=0.0)),
        "b": facts(label=label(liver=1000.0, cyst=2.0)),
        "c": facts(label=label(liver=1100.0)),
        "d": facts(),
    }
    liver, cyst = structure_facts(cases)
    assert (liver.name, cyst.name) == ("liver", "cyst")
    assert (liver.cases, liver.labels) == (3, 3)
    assert (liver.lowest_ml, liver.median_ml, liver.highest_ml) == (1000.0, 1100.0, 1500.0)
    assert (cyst.cases, cyst.labels, cyst.lowest_ml) == (1, 3, 2.0)


def test_a_structure_that_no_label_holds_has_no_volume() -> None:
    (cyst,) = structure_facts({"a": facts(label=label(cyst=0.0))})
    assert (cyst.cases, cyst.labels, cyst.median_ml) == (0, 1, 0.0)


def test_structures_of_two_datasets_are_told_apart() -> None:
    files = ("x/imagesTr/a.nii", "x/imagesTs/b.nii", "y/c.nii", "y/d.nii")
    cases = {file: facts(file=file, label=label(tumour=1.0)) for file in files}
    assert [(s.dataset, s.labels) for s in structure_facts(cases)] == [("x", 2), ("y", 2)]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("a.nii", "b.nii"), ["", ""]),
        (("imagesTr/a.nii", "imagesTr/b.nii"), ["", ""]),
        (("s1/ct.nii", "s2/ct.nii"), ["", ""]),  # a folder for each case
        (("x/a.nii", "x/deep/b.nii", "y/c.nii"), ["x", "x", ""]),
    ],
)
def test_a_dataset_is_a_folder_of_several_cases_below_the_one_given(
    files: tuple[str, ...], expected: list[str]
) -> None:
    assert list(datasets({file: facts(file=file) for file in files}).values()) == expected


def test_every_scan_counts_the_same_in_the_histogram_of_its_modality() -> None:
    rest = (0,) * (BINS - 2)
    shares = pooled([Histogram(0, 1, (10, 0, *rest)), Histogram(0, 1, (0, 1000, *rest))])
    assert shares == pytest.approx((0.5, 0.5, *rest))
