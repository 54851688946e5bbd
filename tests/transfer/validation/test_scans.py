"""The labelled scans of a validation, and the Dice of a network and of a registration on them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from mass3d.errors import DataError
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.labelled import map_at
from mass3d.transfer.incontext import encode_reference, predict
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import load_trained
from mass3d.transfer.validation.scans import (
    OVERLAP,
    Scans,
    mean_of,
    one_of_each,
    read_scans,
    score_affine,
    score_network,
)
from mass3d.views.labelled import UNKNOWN
from mass3d.volume.preparation import PreparationConfig

PREPARATION = PreparationConfig(spacing_mm=7.0)


@pytest.fixture(scope="module")
def scans(cohort: Path) -> Scans:
    return read_scans(cohort, 2, PREPARATION)


def test_scans_are_spread_and_the_example_shows_most(scans: Scans, cohort: Path) -> None:
    names = sorted(path.name.removesuffix(".nii.gz") for path in (cohort / "labelsTr").iterdir())
    used = [scans.example.case_id, *(query.case_id for query in scans.queries)]
    assert sorted(used) == [names[0], names[2], names[3]]
    assert all(len(query.shown) <= len(scans.example.shown) for query in scans.queries)
    assert set(scans.structures.values()) == scans.example.shown
    assert scans.example.label.shape == scans.example.scan.image.shape
    assert len(read_scans(cohort, 99, PREPARATION).queries) == 3


@pytest.mark.parametrize("named", [None, ["T1", "T2"]])
def test_the_example_and_what_it_is_carried_to_are_of_different_patients(
    cohort: Path, tmp_path: Path, named: list[str] | None
) -> None:
    """Every channel counted as a case: an example may have been asked for its own label."""
    data = Path(shutil.copytree(cohort, tmp_path / "data"))
    for scan in sorted((data / "imagesTr").iterdir()):
        shutil.copy(scan, scan.with_name(scan.name.replace("_0000.", "_0001.")))
    table = json.loads((data / "dataset.json").read_text())
    table["channel_names"] = dict(enumerate(named or []))
    (data / "dataset.json").write_text(json.dumps(table))
    found = read_scans(data, 99, PREPARATION)
    names = sorted(scan.case_id for scan in (found.example, *found.queries))
    end = "_T1" if named else ""
    labelled = sorted(path.name.removesuffix(".nii.gz") for path in (data / "labelsTr").iterdir())
    assert names == [f"{name}{end}" for name in labelled]
    for path in (data / "imagesTr").glob("*"):
        if not path.name.startswith(labelled[0]):
            path.unlink()
    with pytest.raises(DataError, match="2 labelled scans of one label"):
        read_scans(data, 1, PREPARATION)


def test_of_several_scans_of_a_patient_one_that_most_have_is_taken(tmp_path: Path) -> None:
    def scan(name: str, label: str) -> CaseFile:
        return CaseFile(name, tmp_path / f"{name}.nii.gz", label=map_at(tmp_path / label))

    numbered = [scan(f"{patient}_{n:04}", patient) for patient in "abc" for n in range(3)]
    some = [one for one in numbered if one.case_id != "b_0000"]
    subjects = [scan(f"sub-1_ses-{n}_{end}", f"{n}{end}") for n in "12" for end in ("T1w", "T2w")]
    others = [scan(f"amos_{n}", f"{n}") for n in range(2)]
    found = one_of_each([*some, *subjects, *others])
    assert [case.case_id for case in found] == [
        *("a_0001", "b_0001", "c_0001"),
        *("sub-1_ses-1_T1w", "amos_0", "amos_1"),
    ]


def test_a_registration_carries_a_label_to_its_own_scan(scans: Scans) -> None:
    own = replace(scans, queries=(scans.example,))
    found = score_affine(own)
    assert found.mean is not None
    assert found.mean > 0.9
    assert found.dice.keys() == scans.structures.keys()


def test_a_network_is_scored_as_by_hand(scans: Scans, trained: Path) -> None:
    model = load_trained(trained, device="cpu")
    found = score_network(model, scans)
    example, values = scans.example, list(scans.structures.values())
    shown = encode_reference(model, example.scan, example.label, values, name="example")
    task = Task((shown,), scans.structures, model="")
    for place, (name, value) in enumerate(scans.structures.items()):
        dice = []
        for query, answer in zip(scans.queries, found.found, strict=True):
            slabs = predict(model, query.scan, task, overlap=OVERLAP)
            votes = torch.cat([slab for _, slab in slabs], 1)
            best = votes.argmax(0).eq(place) & (votes.amax(0) > 0.5)
            assert torch.equal(best, torch.from_numpy(answer == value))
            truth = torch.from_numpy(query.label == value)
            if truth.any():
                dice.append(2 * float((best & truth).sum()) / float(best.sum() + truth.sum()))
        assert found.dice[name] == pytest.approx(np.mean(dice) if dice else None)
    assert found.mean == pytest.approx(np.mean([d for d in found.dice.values() if d is not None]))


def test_what_no_query_shows_or_nobody_knows_is_not_scored(scans: Scans) -> None:
    name, number = next(iter(scans.structures.items()))
    empty = replace(scans.example, label=np.zeros_like(scans.example.label))
    assert set(score_affine(replace(scans, queries=(empty,))).dice.values()) == {None}
    assert mean_of({"a": None}) is None
    label = scans.example.label.copy()
    label[label != number] = UNKNOWN
    only = score_affine(replace(scans, queries=(replace(scans.example, label=label),)))
    assert {key for key, dice in only.dice.items() if dice is not None} == {name}


def test_labels_that_cannot_validate_are_refused(cohort: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(cohort, tmp_path / "data"))
    labels = sorted((data / "labelsTr").iterdir())
    for path in labels:
        image = nibabel.load(path)
        nothing = np.zeros(image.shape, np.uint8)
        nibabel.save(nibabel.Nifti1Image(nothing, image.affine), path)
    with pytest.raises(DataError, match="no labelled voxel in"):
        read_scans(data, 1, PREPARATION)
    for path in labels[1:]:
        path.unlink()
    with pytest.raises(DataError, match="1 labelled scan of one label; expected at least two"):
        read_scans(data, 1, PREPARATION)
