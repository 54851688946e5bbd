"""Mutants of what mass3d itself writes: records in JSON, task and model files.

`fuzz.py` throws them at the readers beside those of scan files. Task and model files get a digest
that fits, as one who means harm would see to.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of

import scans
from mass3d.apps import prepare
from mass3d.errors import Mass3dError
from mass3d.files import file_hash
from mass3d.io.datasets.dataset_json import read_channels, read_ignored, read_structures
from mass3d.io.read import read_label, read_volume
from mass3d.model.build import build_network
from mass3d.model.presets import CorrespondencePreset, InContextPreset
from mass3d.store.reader import Store
from mass3d.store.schema import INDEX, RECORD, IndexRecord, case_folder, content_fingerprint
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.results import CASES, read_results
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import load_task, require_model, save_task
from mass3d.transfer.trained import load_trained
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.volume import Volume
from stores import check_store

Files = dict[str, bytes]
TOKENS: Final = InContextPreset(
    channels=(2, 4), blocks=(1,), dim=4, tokens=1, fusions=1, heads=2, hidden=4
)
PRESET: Final = CorrespondencePreset(channels=(4, 4), deep=1, keys=4, max_keys=16)
CROP: Final = (16, 16, 16)
TUNING: Final = TuningConfig(views=1, held_out=1, steps=2, voxels_per_view=100, hidden=2)
ODD_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2, 4096, 65536, 2**31, 2**63, 10**30, 1.5, 1e-300, 1e308),
    *(-1e308, math.nan, math.inf, "", "x", "1", "a" * 300, "a/../../b", "/etc", "\0", "\ud800"),
    *([], [0], [1, 2, 3], [4096] * 8, ["a", "a"], {}, {"a": 1}, {"": None}, [[]], [[1, 2], [3]]),
)


# --- sound files --------------------------------------------------------------------------------


def sound(folder: Path) -> list[tuple[str, Files, str]]:
    """Kind, files and the one to mutate: of a store, its dataset, a model and a task."""
    folder.mkdir(parents=True)
    path, scan, label = _made(folder)
    prepare.run(
        prepare.PrepareConfig(
            inputs=(path,), output=folder / "store", spacing_mm=1.0, modality="mr", workers=1
        )
    )
    store = _files(folder / "store")
    names = [name for name in store if name.endswith((".json", ".npz"))]
    return [
        *(("store", store, name) for name in names),
        ("dataset", {"dataset.json": _DATASET.encode()}, "dataset.json"),
        ("results", {CASES: _RESULTS.encode()}, CASES),
        *_weights_and_task(folder, scan, label),
    ]


_DATASET: Final = json.dumps(
    {
        "channel_names": {"0": "MRI", "1": "CT"},
        "labels": {"background": 0, "liver": 1, "left kidney": 2, "ignore": 3},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
)
_RESULTS: Final = json.dumps(
    {
        "task": "ab" * 32,
        "overlap": 0.5,
        "alignment": True,
        "cases": {
            "a": {
                "source": "cd" * 32,
                "result": "ef" * 32,
                "volumes_ml": {"liver": 1.5},
                "method": "alignment",
                "similarity": [0.5, 0.25],
                "agreement": {"liver": 0.75},
                "doubts": ["small"],
            }
        },
    }
)


def _made(folder: Path) -> tuple[Path, Volume, Volume]:
    """A ball in noise as a file, and both it and its label as they are read."""
    places = np.indices((20, 22, 24)) - np.reshape((9, 11, 12), (3, 1, 1, 1))
    ball = (places**2).sum(0) < 36
    image = np.random.default_rng(0).normal(100, 10, ball.shape) + 80 * ball
    scan, label = folder / "a_0000.nii", folder / "label.nii"
    scan.write_bytes(scans.nifti_bytes(image.astype(np.float32), np.eye(4)))
    label.write_bytes(scans.nifti_bytes(ball.astype(np.uint8), np.eye(4)))
    return scan, read_volume(scan), read_label(label)


def _weights_and_task(
    folder: Path, scan: Volume, label: Volume
) -> Iterator[tuple[str, Files, str]]:
    """First weights of tiny networks, and a task made with one of them."""
    for preset in (TOKENS, PRESET):
        run = folder / preset.kind
        run.mkdir()
        facts = {
            "preset": preset.plain(),
            "crop_vox": list(CROP),
            "preparation": PreparationConfig(spacing_mm=1.0, modality="mr").plain(),
            "step": 0,
        }
        net = build_network(preset, seed=0)
        checkpoint.save(run / WEIGHTS, net.state_dict(), kind="weights", facts=facts)
        yield "model", {WEIGHTS: (run / WEIGHTS).read_bytes()}, WEIGHTS
    made = Segmenter.load(run, device="cpu").task([scan], [label], {"ball": 1}, tuning=TUNING)
    save_task(made, folder / "a.task", run=run)
    weights = (run / WEIGHTS).read_bytes()
    yield "task", {WEIGHTS: weights, "a.task": (folder / "a.task").read_bytes()}, "a.task"


def _files(store: Path) -> Files:
    """What a store is read from; the record of how it was made names another place each time."""
    made_by = {".lock", "config.toml", "record.json"}
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name not in made_by
    }


# --- mutations ----------------------------------------------------------------------------------


def mutate_json(rng: random.Random, content: bytes) -> bytes:
    """Another value, key or depth somewhere in a JSON text."""
    try:
        return json.dumps(_mutated(rng, json.loads(content))).encode()
    except (ValueError, RecursionError):
        return content


def _mutated(rng: random.Random, root: Any) -> Any:
    """A copy with one node changed, taken out, doubled under another name, or nested."""
    root = copy.deepcopy(root)
    nodes = list(_nodes(root))
    if not nodes:
        return rng.choice(ODD_VALUES)
    inside, key = rng.choice(nodes)
    choice = rng.random()
    if choice < 0.6:
        inside[key] = rng.choice(ODD_VALUES)
    elif choice < 0.75:
        del inside[key]
    elif choice < 0.85:
        other, name = rng.choice(nodes)
        inside[key] = copy.deepcopy(other[name])
    elif choice < 0.95:
        if isinstance(inside, dict):
            inside[rng.choice(("more", "", "a/b", "0"))] = inside[key]
        else:
            inside.append(inside[key])
    else:
        inside[key] = [[[inside[key]]]]
    return root


def _nodes(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value: what it is in, and its key or number there."""
    keys = list(node) if isinstance(node, dict) else range(len(node) if type(node) is list else 0)
    for key in keys:
        yield node, key
        yield from _nodes(node[key])


def mutate_tensors(rng: random.Random, content: bytes) -> bytes:
    """Other facts under a digest that fits, or another header of a safetensors file."""
    try:
        length = int.from_bytes(content[:8], "little")
        header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
        if rng.random() < 0.25:
            return _tensor_file(_mutated(rng, header), body)
        inner = json.loads(header["__metadata__"]["mass3d"])
        if rng.random() < 0.8:
            inner["facts"] = _mutated(rng, inner["facts"])
            inner["digest"] = checkpoint.digest(tensors_of(content), inner["facts"])
        else:
            inner = _mutated(rng, inner)
        header["__metadata__"]["mass3d"] = json.dumps(inner)
        return _tensor_file(header, body)
    except (ValueError, KeyError, TypeError, SafetensorError):  # it was spoilt before
        return content


def _tensor_file(header: Any, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


MUTATIONS: Final[Mapping[str, Callable[[random.Random, bytes], bytes]]] = {
    "store": mutate_json,
    "dataset": mutate_json,
    "results": mutate_json,
    "model": mutate_tensors,
    "task": mutate_tensors,
}


# --- what must hold -----------------------------------------------------------------------------


def read_record(kind: str, path: Path, name: str) -> str:
    """Read a mutant, `name` in its folder, as the verbs do; what came of it.

    Raises what is no error of ours.
    """
    folder = path.parents[len(Path(name).parts) - 1]
    try:
        READERS[kind](folder)
    except Mass3dError as error:
        return f"refused: {error.found[:40]}"
    return "read"


def _read_store(folder: Path) -> None:
    _renew_digests(folder)
    store = Store.open(folder)
    for case_id in store.case_ids:
        case = store.case(case_id)
        case.read_image()
        case.read_masks(range(min(3, len(case.table))))
    for fault in check_store(folder):
        raise fault


def _renew_digests(folder: Path) -> None:
    """Let the index fit its cases again, so that more than the digests is tried."""
    path = folder / INDEX
    try:
        index = json.loads(path.read_bytes())
        for name, entry in index["cases"].items():
            entry["record_sha256"] = file_hash(case_folder(folder, name) / RECORD)
        record = IndexRecord.model_validate(index)
        index["fingerprint"] = content_fingerprint(record.settings, record.cases)
        path.write_text(json.dumps(index))
    except Exception:  # whatever it is: then the index is as it was
        return


def _read_dataset(folder: Path) -> None:
    read_structures(folder)
    read_ignored(folder)
    read_channels(folder / "dataset.json")


def _read_results(folder: Path) -> None:
    read_results(folder)


def _read_model(folder: Path) -> None:
    load_trained(folder, device="cpu")


def _read_task(folder: Path) -> None:
    task = load_task(folder / "a.task")
    require_model("the task", task, load_trained(folder, device="cpu"))


READERS: Final[Mapping[str, Callable[[Path], None]]] = {
    "store": _read_store,
    "dataset": _read_dataset,
    "results": _read_results,
    "model": _read_model,
    "task": _read_task,
}
