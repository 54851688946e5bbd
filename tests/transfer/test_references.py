import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import helpers
import mass3d
from mass3d.errors import ConfigError, DataError
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.references import require_references, require_shown, volumes_ml
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.volume import Volume

LIVER = {"liver": 1}


def volume(voxels: NDArray[Any], spacing: float = 3.0) -> Volume:
    return Volume.from_array(voxels, spacing_mm=(spacing, spacing, spacing))


@pytest.fixture
def image() -> Volume:
    noise = np.random.default_rng(0).normal(size=(16, 18, 20)).astype(np.float32)
    noise[4:12, 4:12, 4:12] += 5
    return volume(noise)


@pytest.fixture
def label(image: Volume) -> Volume:
    values = np.zeros(image.voxels.shape, np.uint16)
    values[4:12, 4:12, 4:12] = 1
    return volume(values)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    run = tmp_path_factory.mktemp("run")
    facts = {
        "preset": PRESETS["tiny"].plain(),
        "crop_vox": [16, 16, 16],
        "step": 0,
        "preparation": PreparationConfig(spacing_mm=3.0, modality="mr").plain(),
    }
    net = build_network(PRESETS["tiny"], seed=0)
    checkpoint.save(run / WEIGHTS, net.state_dict(), kind="weights", facts=facts)
    return mass3d.load(run, device="cpu")


def test_a_task_in_python_shows_every_structure(
    model: Segmenter, image: Volume, label: Volume
) -> None:
    assert model.task([image], [label], LIVER, tuning=None).present.all()


def test_a_structure_in_no_reference_is_refused_in_python(
    model: Segmenter, image: Volume, label: Volume
) -> None:
    with pytest.raises(DataError, match="no voxel of spleen, kidney on") as caught:
        model.task([image], [label], {**LIVER, "spleen": 77, "kidney": 5}, tuning=None)
    assert caught.value.setting == "structures"


def test_a_structure_may_be_absent_from_some_references(
    model: Segmenter, image: Volume, label: Volume
) -> None:
    other = replace(label, voxels=label.voxels * 2)
    task = model.task([image, image], [label, other], {"liver": 1, "spleen": 2}, tuning=None)
    assert task.present.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("change", ["shape", "spacing"])
def test_a_label_on_another_grid_is_refused_by_name_in_python(
    model: Segmenter, image: Volume, label: Volume, change: str
) -> None:
    wrong = volume(label.voxels[1:]) if change == "shape" else volume(label.voxels, 2.5)
    with pytest.raises(DataError, match=r"^label 1: found a grid of"):
        model.task([image, image], [label, wrong], LIVER, tuning=None)


def test_a_scan_given_as_a_label_is_refused(image: Volume) -> None:
    named = replace(image, path=Path("scan.nii.gz"))
    with pytest.raises(DataError, match=r"^scan.nii.gz: found values that are not whole"):
        require_references([image], [named], LIVER)


@pytest.mark.parametrize(
    "structures",
    [{}, {"rest": 0, "liver": 1}, {"a": 3, "b": 3}, {"a": -1}, {"a": 65536}, {"a": 1.0}],
)
def test_wrong_structures_are_refused(
    image: Volume, label: Volume, structures: dict[str, int]
) -> None:
    with pytest.raises(ConfigError, match="none twice"):
        require_references([image], [label], structures)


def test_more_structures_than_a_task_can_hold_are_refused_before_any_work(
    image: Volume, label: Volume
) -> None:
    many = {f"s{value}": value for value in range(1, 256)}
    require_references([image], [label], many)
    with pytest.raises(ConfigError, match=r"256 structures; expected at most 255 .* Name those"):
        require_references([Path("unread.nii.gz")], [label], {**many, "one more": 256})


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (1, 0), (1, 2)])
def test_every_image_has_a_label(image: Volume, label: Volume, images: int, labels: int) -> None:
    with pytest.raises(ConfigError, match=f"{images} images and {labels} labels"):
        require_references([image] * images, [label] * labels, LIVER)


def test_names_are_one_for_each_reference_and_checked_before_anything_is_read(
    model: Segmenter, image: Volume, label: Volume
) -> None:
    """Found: a ValueError of zip, after all scans had been prepared."""
    missing = Path("unread.nii.gz")
    with pytest.raises(ConfigError, match="1 name of 2 references"):
        model.task([missing, missing], [missing, missing], LIVER, references=["a"])
    named = model.task([image, image], [label, label], LIVER, references=["a", "b"], tuning=None)
    assert named.reference_names == ("a", "b")


def test_volumes_take_no_more_memory_than_a_slice() -> None:
    """Found: eight bytes for each voxel at once, 1.26 GB for a CT."""
    voxels = np.zeros((200, 100, 100), np.uint8)
    voxels[:50] = 3
    tracemalloc.start()
    found = volumes_ml(voxels, {"a": 3, "b": [2, 3], "none": 900}, 0.001)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {"a": 500.0, "b": 500.0, "none": 0.0}
    assert peak < voxels.size


def test_a_prior_of_other_values_than_the_task_is_refused_with_both(
    model: Segmenter, image: Volume, label: Volume
) -> None:
    """Found: nothing was found, and nothing said why."""
    task = model.task([image], [label], LIVER, tuning=None)
    prior = replace(label, voxels=label.voxels * 6, path=Path("p.nii.gz"))
    told = r"p.nii.gz: found a prior with the values 6; expected values of the task: 1 \(liver\)"
    with pytest.raises(DataError, match=told) as caught:
        model.answer(image, task, prior=prior)
    assert caught.value.setting == "prior"
    empty = model.answer(image, task, prior=replace(label, voxels=label.voxels * 0))
    assert not empty.labels.any()  # it says that there is nothing


def test_a_prior_that_no_head_corrects_comes_back_with_a_word(
    model: Segmenter, image: Volume, label: Volume
) -> None:
    quick = TuningConfig.model_validate(helpers.TUNING)
    task = model.task([image], [label], LIVER, tuning=quick)
    assert model.answer(image, task, prior=label).odd == ()
    assert task.oneshot is not None
    (scan,) = task.oneshot.scans
    part = replace(task.oneshot, scans=(replace(scan, modality="ct"),))
    found = model.answer(image, replace(task, oneshot=part), prior=label)
    assert found.odd == (
        "the task has tuned heads for ct alone, and the scan is mr: the prior came back as it was "
        "given, but for the voxels of the model",
    )
    np.testing.assert_array_equal(found.labels, label.voxels)


def test_presence_in_any_reference_is_enough() -> None:
    present = torch.tensor([[True, False, False], [False, True, False]])
    structures = {"a": 1, "b": 2, "c": 3}
    with pytest.raises(DataError, match="no voxel of c on"):
        require_shown(present, structures, ["one", "two"])
    require_shown(present[:, :2], {"a": 1, "b": 2}, ["one", "two"])
