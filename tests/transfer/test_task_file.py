"""Task files: what is written is read, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mass3d
from mass3d.errors import ModelError
from mass3d.io.colours import value_colours
from mass3d.io.datasets.regions import Targets
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.training import checkpoint
from mass3d.transfer.made_by import MadeBy
from mass3d.transfer.made_of import MadeOf
from mass3d.transfer.task_file import (
    KIND,
    Reference,
    Task,
    find_run,
    load_task,
    require_model,
    save_task,
)
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.preparation import PreparationConfig

MODEL = "ab" * 32


def task() -> Task:
    """Two references and three structures; every structure is in one of them at least."""
    present = torch.tensor([[True, False, True], [True, True, False]])
    references = tuple(
        Reference(name, {"keys": torch.full((1, 3, 4), number, dtype=torch.float16)}, shown)
        for number, (name, shown) in enumerate(zip(("a", "ünü/b"), present, strict=True))
    )
    return Task(references, {"liver": 7, "left kidney": 2, "aorta": 65535}, MODEL)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Task]:
    (tmp_path / "run").mkdir()
    path = tmp_path / "tasks" / "x.task"
    path.parent.mkdir()
    return path, save_task(task(), path, run=tmp_path / "run")


def test_what_is_written_is_read(saved: tuple[Path, Task]) -> None:
    path, told = saved
    found, wanted = load_task(path), task()
    assert dict(found.structures) == dict(wanted.structures)
    assert list(found.structures) == list(wanted.structures)  # their order is that of the tensors
    assert found.reference_names == wanted.reference_names
    assert torch.equal(found.present, wanted.present)
    for one, other in zip(found.references, wanted.references, strict=True):
        assert torch.equal(one.tensors["keys"], other.tensors["keys"])
    assert (found.model, found.fingerprint, found.run) == (MODEL, told.fingerprint, "../run")
    assert find_run(path, found) == path.parents[1].resolve() / "run"


def test_a_task_is_saved_and_loaded_by_public_names_and_paths_of_text(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.task"
    told = mass3d.save_task(task(), str(path))
    found = mass3d.load_task(str(path))
    assert (found.fingerprint, found.run) == (told.fingerprint, "")
    assert dict(found.structures) == dict(task().structures)
    with pytest.raises(ModelError, match="does not say where its model is"):
        find_run(path, found)
    (tmp_path / "run").mkdir()
    mass3d.save_task(found, path, run=str(tmp_path / "run"))
    assert find_run(path, mass3d.load_task(path)) == (tmp_path / "run").resolve()


def test_the_same_task_is_the_same_file(saved: tuple[Path, Task], tmp_path: Path) -> None:
    path, told = saved
    again = path.with_name("y.task")
    assert save_task(task(), again, run=tmp_path / "run").fingerprint == told.fingerprint
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"2.keys": torch.zeros(1)}, "a tensor '2.keys'"),
        ({"x": torch.zeros(1)}, "a tensor 'x'"),
        ({"0.keys": torch.zeros(1, dtype=torch.int64)}, "a tensor '0.keys' of torch.int64"),
        ({"0.more": torch.zeros(1)}, "references that do not show all structures"),
        ({"present": torch.zeros(2, 3, dtype=torch.bool)}, "references that do not show all"),
        ({"present": torch.ones(2, 3)}, "another table of"),
        ({"present": torch.ones(3, 2, dtype=torch.bool)}, "another table of"),
    ],
)
def test_a_file_with_other_tensors_is_refused(
    saved: tuple[Path, Task], change: dict[str, torch.Tensor], told: str
) -> None:
    path, _ = saved
    tensors, facts, _ = checkpoint.load(path, kind=KIND)
    checkpoint.save(path, {**tensors, **change}, kind=KIND, facts=facts)
    with pytest.raises(ModelError, match=told):
        load_task(path)


@pytest.mark.parametrize(
    "structures", [[], [["a", 1], ["a", 2]], [["a", 1], ["b", 1]], [["a", 0]], [["", 1]]]
)
def test_structures_are_named_once_and_not_0(
    saved: tuple[Path, Task], structures: list[list[object]]
) -> None:
    path, _ = saved
    tensors, facts, _ = checkpoint.load(path, kind=KIND)
    checkpoint.save(path, tensors, kind=KIND, facts={**facts, "structures": structures})
    with pytest.raises(ModelError, match=r"x\.task"):
        load_task(path)


def test_chosen_colours_are_kept_and_those_of_no_structure_refused(tmp_path: Path) -> None:
    path, plain = tmp_path / "x.task", tmp_path / "plain.task"
    chosen = replace(task(), colours={"liver": (221, 130, 101)})
    save_task(chosen, path)
    save_task(task(), plain)
    assert load_task(path).targets == Targets(dict(task().structures), chosen=chosen.colours)
    assert load_task(plain).targets.colours == value_colours([7, 2, 65535])
    tensors, facts, _ = checkpoint.load(path, kind=KIND)
    assert "colours" not in checkpoint.load(plain, kind=KIND)[1]
    for wrong in ({"lung": [1, 2, 3]}, {"liver": [1, 2, 256]}, {"liver": [1, 2]}):
        checkpoint.save(path, tensors, kind=KIND, facts={**facts, "colours": wrong})
        with pytest.raises(ModelError, match=r"x\.task"):
            load_task(path)


def facts_of(spacing_mm: float) -> dict[str, Any]:
    preparation = PreparationConfig(spacing_mm=spacing_mm).plain()
    network = PRESETS["tiny"].plain()
    return {"preset": network, "crop_vox": [16] * 3, "preparation": preparation, "step": 4}


def other_model() -> TrainedModel:
    return TrainedModel(
        build_network(PRESETS["tiny"], seed=0),
        (16, 16, 16),
        PreparationConfig(spacing_mm=2.0),
        "cd" * 32,
        torch.device("cpu"),
        facts=facts_of(2.0),
    )


def test_a_task_of_another_model_is_refused_with_what_differs(
    saved: tuple[Path, Task], tmp_path: Path
) -> None:
    path, _ = saved
    save_task(replace(task(), made_by=MadeBy.of(facts_of(3.0))), path, run=tmp_path / "run")
    told = r"mine: found a task made by the model abab\w+… \(spacing 3\.0 mm, not 2\.0 mm\); "
    with pytest.raises(ModelError, match=told):
        require_model("mine", load_task(path), other_model())


def test_a_task_that_does_not_tell_what_made_it_is_told_by_fingerprints(
    saved: tuple[Path, Task],
) -> None:
    path, _ = saved
    assert "made_by" not in checkpoint.read_facts(path, kind=KIND)  # as older versions wrote it
    told = r"mine: found a task made by the model abab\w+…; expected one made by .* cdcd\w+…"
    with pytest.raises(ModelError, match=told):
        require_model("mine", load_task(path), other_model())


FILES = MadeOf(scan="a.nii.gz", scan_sha256="12" * 32, label="b.nii.gz", label_sha256="34" * 32)


def test_the_files_of_references_are_kept_where_they_are_known(saved: tuple[Path, Task]) -> None:
    path, _ = saved
    assert "made_of" not in checkpoint.read_facts(path, kind=KIND)  # as older versions wrote it
    assert [one.made_of for one in load_task(path).references] == [None, None]
    save_task(task().with_files([None, FILES]), path)
    assert [one.made_of for one in load_task(path).references] == [None, FILES]
    told = checkpoint.read_facts(path, kind=KIND)["made_of"]
    assert told == [None, FILES.plain()]


@pytest.mark.parametrize(
    ("made_of", "told"),
    [
        ([FILES.plain()], "files of 1 references instead of 2"),
        ([None, {**FILES.plain(), "scan_sha256": "no"}], "scan_sha256"),
        ([None, {**FILES.plain(), "scan": ""}], "scan"),
    ],
)
def test_files_that_mass3d_does_not_write_are_refused(
    saved: tuple[Path, Task], made_of: list[Any], told: str
) -> None:
    path, _ = saved
    tensors, facts, _ = checkpoint.load(path, kind=KIND)
    checkpoint.save(path, tensors, kind=KIND, facts={**facts, "made_of": made_of})
    with pytest.raises(ModelError, match=told):
        load_task(path)
