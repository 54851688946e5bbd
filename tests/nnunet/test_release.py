"""The released nnU-Net takes our weights, and we take its own: really run, on a CPU, in minutes.

`make nnunet` prepares it in an environment of its own and runs this file, on phantoms, and on the
hippocampus where there are real scans.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from helpers import small_resenc
from mass3d.apps import export, prepare, pretrain, segment, task
from mass3d.files import read_json, write_json
from mass3d.io.write import write_file_order
from mass3d.model.build import build_network
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.nnunet import HEADS, read_stacks, shapes_of, their_names
from mass3d.model.plan import read_plan
from mass3d.model.presets import ResEncPreset
from mass3d.phantom import STRUCTURES, draw_phantom
from mass3d.training import checkpoint
from mass3d.transfer.handover import CHECKPOINT
from mass3d.transfer.trained import TrainedModel, load_trained

pytestmark = pytest.mark.slow
HERE = Path(__file__).resolve().parent
PLANS = "nnUNetResEncUNetMPlans"


class Given(NamedTuple):
    """A dataset, and how it is prepared and shown."""

    number: int
    name: str
    structures: dict[str, int]  # some of them, for pseudo-labels
    scans: int
    spacing_mm: float
    crop_vox: tuple[int, int, int]

    @property
    def folder(self) -> str:
        """As nnU-Net wants it to be called."""
        return f"Dataset{self.number}_{self.name}"


PHANTOMS = Given(901, "Phantom", {"kidneys": 2, "gallbladder": 4}, 6, 5.8, (24, 24, 24))
HIPPOCAMPUS = Given(902, "Hippocampus", {"posterior": 2}, 10, 1.0, (32, 32, 32))


@dataclass(frozen=True)
class Nnunet:
    """nnU-Net with its three folders."""

    bin: Path
    folder: Path
    given: Given

    def __call__(self, program: str, *words: object) -> str:
        """What a program of its environment prints."""
        folders = {f"nnUNet_{name}": str(self.folder / name) for name in FOLDERS}
        quiet = {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1", "nnUNet_compile": "f"}
        done = subprocess.run(
            [self.bin / program, *map(str, words)],
            env=os.environ | folders | quiet | {"PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    @property
    def plans(self) -> Path:
        """What was planned for the dataset."""
        return self.folder / "preprocessed" / self.given.folder / f"{PLANS}.json"

    @property
    def trained(self) -> Path:
        """What was trained last."""
        results = self.folder / "results" / self.given.folder
        return next(results.glob("*/fold_0/checkpoint_final.pth"))

    @property
    def raw(self) -> Path:
        """The dataset as it was given."""
        return self.folder / "raw" / self.given.folder

    def plan(self, number: int, *words: object) -> str:
        """Plan and preprocess a dataset."""
        how = ("-c", "3d_fullres", "-pl", "nnUNetPlannerResEncM", "-npfp", 1, "-np", 1)
        return self("nnUNetv2_plan_and_preprocess", "-d", number, *how, *words)


FOLDERS = ("raw", "preprocessed", "results")


@pytest.fixture(
    scope="module",
    params=[PHANTOMS, pytest.param(HIPPOCAMPUS, marks=pytest.mark.data)],
    ids=lambda given: given.name,
)
def nnunet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Nnunet:
    named = os.environ.get("MASS3D_NNUNET")
    if not named:
        pytest.skip("MASS3D_NNUNET names no environment of nnU-Net; `make nnunet` makes one")
    found = Path(named) / "bin"
    python = found / "python"
    tried = [str(python), "-c", "import nnunetv2"]
    if not python.exists() or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip(f"nnunetv2 cannot be imported in {named}; `make nnunet` prepares it")
    folder = tmp_path_factory.mktemp("nnunet")
    for name in FOLDERS:
        (folder / name).mkdir()
    return Nnunet(found, folder, request.param)


@pytest.fixture(scope="module")
def planned(nnunet: Nnunet, request: pytest.FixtureRequest) -> Nnunet:
    """Some small scans, planned and preprocessed by nnU-Net."""
    if nnunet.given is PHANTOMS:
        draw_phantoms(nnunet.raw)
    else:
        link_scans(request.getfixturevalue("data_dir") / "hippocampus", nnunet.raw)
    nnunet.plan(nnunet.given.number, "-gpu_memory_target", 1)
    return nnunet


def draw_phantoms(raw: Path) -> None:
    for index in range(PHANTOMS.scans):
        scan = draw_phantom(seed=0, index=2 * index)  # CT
        coarse = scan.affine @ np.diag([2, 2, 2, 1])
        name = raw / "imagesTr" / f"{scan.case_id}_0000.nii.gz"
        write_file_order(name, scan.image[::2, ::2, ::2].astype(np.float32), coarse)
        name = raw / "labelsTr" / f"{scan.case_id}.nii.gz"
        write_file_order(name, scan.label[::2, ::2, ::2].astype(np.float32), coarse)
    told = {"channel_names": {"0": "CT"}, "numTraining": PHANTOMS.scans, "file_ending": ".nii.gz"}
    write_json(raw / "dataset.json", {**told, "labels": {"background": 0, **STRUCTURES}})


def link_scans(dataset: Path, raw: Path) -> None:
    for label in sorted((dataset / "labelsTr").iterdir())[: HIPPOCAMPUS.scans]:
        scan = label.name.replace(".nii.gz", "_0000.nii.gz")
        for path in (label, dataset / "imagesTr" / scan):
            (raw / path.parent.name).mkdir(parents=True, exist_ok=True)
            (raw / path.parent.name / path.name).symlink_to(path.resolve())
    told = read_json(dataset / "dataset.json")
    write_json(raw / "dataset.json", {**told, "numTraining": HIPPOCAMPUS.scans})


@pytest.fixture(scope="module")
def handed(planned: Nnunet) -> Path:
    """A run that was built after its plans, exported and compared with them."""
    folder, given = planned.folder, planned.given
    settings = {"inputs": [planned.raw / "imagesTr"], "output": folder / "store", "workers": 1}
    settings["spacing_mm"] = given.spacing_mm
    assert prepare.run(prepare.PrepareConfig.model_validate(settings)).ok
    settings = {
        "store": folder / "store",
        "output": folder / "run",
        "preset": "resenc-m",
        "resenc": {"plans": planned.plans},
        "views": {"crop_vox": given.crop_vox, "alignments": 4},
        "fit": {"steps": 2},
        "workers": 1,
    }
    assert pretrain.run(pretrain.PretrainConfig.model_validate(settings)).ok
    settings = {"model": folder / "run", "output": folder / "over", "to": "nnunet"}
    assert export.run(export.ExportConfig.model_validate({**settings, "plans": planned.plans})).ok
    return folder / "over" / CHECKPOINT


def test_it_takes_results_as_a_dataset(planned: Nnunet, handed: Path) -> None:
    """Two labelled scans become pseudo-labels of all, with links, and some of the values."""
    del handed
    folder, raw, given = planned.folder, planned.raw, planned.given
    names = sorted(path.name for path in (raw / "labelsTr").iterdir())[:2]
    run, tasks = planned.folder / "run", planned.folder / "two.task"
    settings = {
        "images": [raw / "imagesTr" / name.replace(".nii.gz", "_0000.nii.gz") for name in names],
        "labels": [raw / "labelsTr" / name for name in names],
        "structures": given.structures,
        "model": run,
        "output": tasks,
        "tune": False,
    }
    assert task.run(task.TaskConfig.model_validate(settings)).ok
    settings = {"inputs": [raw / "imagesTr"], "task": tasks, "output": folder / "found"}
    assert segment.run(segment.SegmentConfig.model_validate(settings)).ok
    output = folder / "raw" / "Dataset501_Pseudo"
    settings = {"model": folder / "found", "output": output, "to": "nnunet-raw"}
    report = export.run(export.ExportConfig.model_validate(settings))
    assert report.ok
    assert report.raw is not None
    assert report.raw.labels == {"true": 2, "found": given.scans - 2}
    assert report.raw.images == {"link": given.scans}
    told = planned.plan(501, "--verify_dataset_integrity")
    assert "verify_dataset_integrity Done" in told
    assert "Warning" not in told
    done = (folder / "preprocessed" / output.name).glob("nnUNetPlans*/*_seg.b2nd")
    assert len(list(done)) == given.scans


def losses(output: str) -> list[float]:
    """Of all epochs, in training and in validation."""
    return [float(one) for one in re.findall(r"(?:train|val)_loss (\S+)", output)]


def test_its_network_computes_what_ours_does(nnunet: Nnunet, tmp_path: Path) -> None:
    preset = small_resenc()
    facts = {
        "preset": preset.plain(),
        "crop_vox": [8, 8, 8],
        "preparation": {"spacing_mm": 1.0},
        "step": 0,
    }
    net = build_network(preset, seed=3)
    checkpoint.save(tmp_path / "x.safetensors", net.state_dict(), kind="weights", facts=facts)
    settings = {"model": tmp_path / "x.safetensors", "output": tmp_path / "over", "to": "nnunet"}
    export.run(export.ExportConfig.model_validate(settings))
    image = np.random.default_rng(0).standard_normal((2, 1, 8, 16, 12)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    words = (tmp_path / "over" / CHECKPOINT, tmp_path / "image.npy", tmp_path / "theirs.npy")
    nnunet("python", HERE / "compute.py", *words)
    trained: TrainedModel = load_trained(tmp_path / "x.safetensors", device="cpu")
    ours = trained.net
    assert isinstance(ours, CorrespondenceNet)
    with torch.no_grad():
        found = ours.trunk.decoder(ours.trunk.descend(torch.from_numpy(image)))  # type: ignore[operator]
    theirs = torch.from_numpy(np.load(tmp_path / "theirs.npy"))
    torch.testing.assert_close(found.contiguous(), theirs, rtol=1e-4, atol=1e-4)


def test_it_loads_every_tensor_but_the_heads_and_trains(planned: Nnunet, handed: Path) -> None:
    call = ("python", HERE / "train.py", planned.given.number, "3d_fullres", 0, "-p", PLANS)
    device = ("-device", "cpu")
    began = planned(*call, "-pretrained_weights", handed, *device)
    shapes = shapes_of(read_plan(planned.plans, "3d_fullres"))
    told = dict(re.findall(r"^(\S+) shape torch\.Size\((.+)\)$", began, re.MULTILINE))
    assert f"Loading pretrained weights from file  {handed}" in began
    assert told == {
        other: str(list(shape)) for name, shape in shapes.items() for other in their_names(name)
    }
    scratch = planned(*call, *device)
    assert "Loading pretrained weights" not in scratch
    for name, output in (("pretrained", began), ("from scratch", scratch)):
        found = losses(output)
        assert len(found) == 4
        assert np.isfinite(found).all()
        print(f"{name}: losses of training and validation, epoch by epoch: {found}")  # noqa: T201
    own = torch.load(planned.trained, weights_only=False)["network_weights"]
    assert {name for name in own if f".{HEADS}" not in f".{name}"} == set(told)


def test_a_run_begins_with_what_it_has_trained(planned: Nnunet, handed: Path) -> None:
    del handed
    plan = read_plan(planned.plans, "3d_fullres")
    stacks = read_stacks(planned.trained, plan)
    assert stacks.has_decoder
    assert len(stacks.tensors) == len(shapes_of(plan))
    settings = {
        "store": planned.folder / "store",
        "output": planned.folder / "on",
        "preset": "resenc-m",
        "resenc": {"plans": planned.plans, "init": planned.trained},
        "views": {"crop_vox": planned.given.crop_vox, "alignments": 4},
        "fit": {"steps": 1},
        "workers": 1,
    }
    assert pretrain.run(pretrain.PretrainConfig.model_validate(settings)).ok
    assert ResEncPreset.model_validate(load_trained(planned.folder / "on").facts["preset"])
