"""Which references are asked about a scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mass3d.errors import ConfigError, ModelError
from mass3d.io.read import read_volume
from mass3d.training import checkpoint
from mass3d.transfer.merging import merge_tasks
from mass3d.transfer.nearest import nearest_places, nearest_task, with_references
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import EMBEDDINGS, KIND, Task, load_task, save_task

NAMES = ("ct_000", "mr_001", "ct_002")
STRUCTURES = {"liver": 1, "kidneys": 2}


@pytest.fixture(scope="module")
def segmenter(trained: Path) -> Segmenter:
    return Segmenter.load(trained, device="cpu")


def made(segmenter: Segmenter, cohort: Path, *names: str) -> Task:
    return segmenter.task(
        [cohort / "imagesTr" / f"{name}_0000.nii.gz" for name in names],
        [cohort / "labelsTr" / f"{name}.nii.gz" for name in names],
        STRUCTURES,
        references=names,
        tuning=None,
    )


@pytest.fixture(scope="module")
def task(segmenter: Segmenter, cohort: Path) -> Task:
    return made(segmenter, cohort, *NAMES)


def test_the_nearest_are_those_with_the_most_alike_features() -> None:
    rng = np.random.default_rng(0)
    kinds = torch.from_numpy(rng.normal(0, 1, (3, 40)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 0.2, (6, 40)).astype(np.float32))
    embeddings = kinds[[0, 1, 2, 0, 1, 2]] + noise
    shown = torch.ones(6, 2, dtype=torch.bool)
    for kind in range(3):
        assert nearest_places(embeddings, kinds[kind], shown, 2) == [kind, kind + 3]
    assert nearest_places(embeddings, kinds[0], shown, 6) == list(range(6))


def test_a_structure_that_the_nearest_lack_has_the_nearest_that_show_it() -> None:
    embeddings = torch.eye(4)[:, :3] + torch.arange(4)[:, None] / 50
    scan = embeddings[0]
    shown = torch.tensor([[True, False], [True, False], [True, True], [False, True]])
    found = nearest_places(embeddings, scan, shown, 1)
    assert found[0] == 0
    assert len(found) == 2
    assert shown[found].any(0).all()


def test_a_reference_is_nearest_to_itself_and_alone_is_asked(
    segmenter: Segmenter, task: Task, cohort: Path
) -> None:
    for place, name in enumerate(NAMES):
        volume = read_volume(cohort / "imagesTr" / f"{name}_0000.nii.gz")
        answer = segmenter.answer(volume, task, references=1)
        assert answer.references == (name,)
        alone = segmenter.answer(volume, with_references(task, [place]))
        np.testing.assert_array_equal(answer.labels, alone.labels)
        assert answer.similarity == alone.similarity


def test_the_nearest_have_the_modality_of_a_new_scan(
    segmenter: Segmenter, task: Task, cohort: Path
) -> None:
    (file,) = (cohort / "imagesTs").glob("ct*")
    found = segmenter.answer(read_volume(file), task, references=2)
    assert set(found.references) == {"ct_000", "ct_002"}


def test_as_many_as_there_are_is_all(segmenter: Segmenter, task: Task, cohort: Path) -> None:
    volume = read_volume(next((cohort / "imagesTs").iterdir()))
    every = segmenter.answer(volume, task)
    for count in (3, 50):
        found = segmenter.answer(volume, task, references=count)
        np.testing.assert_array_equal(found.labels, every.labels)
        assert replace(found, labels=every.labels) == every
    network = segmenter.answer(volume, task, references=1, alignment=False)
    assert (network.method, len(network.references)) == ("network", 1)


def test_a_task_file_holds_what_its_references_are_like(
    segmenter: Segmenter, task: Task, trained: Path, cohort: Path, tmp_path: Path
) -> None:
    saved = save_task(task, tmp_path / "x.task", run=trained)
    found = load_task(tmp_path / "x.task")
    for one, other in zip(found.references, task.references, strict=True):
        assert one.embedding is not None
        assert other.embedding is not None
        assert torch.equal(one.embedding, other.embedding)
    paths = [tmp_path / "a.task", tmp_path / "b.task"]
    for path, name in zip(paths, NAMES, strict=False):
        save_task(made(segmenter, cohort, name), path, run=trained)
    merged = merge_tasks({path: load_task(path) for path in paths}).task
    assert all(one.embedding is not None for one in merged.references)
    tensors, facts, _ = checkpoint.load(tmp_path / "x.task", kind=KIND)
    wrong = [tensors[EMBEDDINGS][:2], tensors[EMBEDDINGS].half(), tensors[EMBEDDINGS] / 0]
    for bad, told in zip(wrong, ("of shape", "of shape", "not finite"), strict=True):
        checkpoint.save(tmp_path / "y.task", tensors | {EMBEDDINGS: bad}, kind=KIND, facts=facts)
        with pytest.raises(ModelError, match=told):
            load_task(tmp_path / "y.task")
    del tensors[EMBEDDINGS]
    checkpoint.save(tmp_path / "old.task", tensors, kind=KIND, facts=facts)
    old = load_task(tmp_path / "old.task")
    volume = read_volume(next((cohort / "imagesTs").iterdir()))
    scan = segmenter._prepare(volume)
    assert nearest_task(old, 3, segmenter.trained, volume, scan) is old
    with pytest.raises(ConfigError, match="a task of an older version"):
        segmenter.answer(volume, old, references=2)
    assert saved.fingerprint != old.fingerprint
