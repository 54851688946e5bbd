"""True labels: of the scans that a task or a finetuned model was made of, and those given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mass3d.errors import ConfigError, DataError, Mass3dError
from mass3d.execution.ownership import earlier_record, record_of
from mass3d.execution.summary import first_of
from mass3d.io.datasets.cohort import CaseFile, find_cohort, find_label
from mass3d.io.datasets.labelled import find_labelled, map_at
from mass3d.io.datasets.layouts import LabelFiles
from mass3d.io.names import is_image_name
from mass3d.training import checkpoint
from mass3d.transfer.finetuned.segmenter import is_finetuned
from mass3d.transfer.knowledge import of_both
from mass3d.transfer.task_file import load_task
from mass3d.transfer.trained import record_beside, weights_file


@dataclass(frozen=True)
class Behind:
    """Labelled scans that are where they were, and sentences about those that are not."""

    cases: tuple[CaseFile, ...]
    notes: tuple[str, ...] = ()
    chosen: bool = False  # some of the structures in them, so that other values are background


def labelled_behind(results: Path, made_by: str) -> Behind:
    """The scans with true labels of the task or finetuned model, or both, that made results.

    made_by: the fingerprint in these results of `segment`. Whatever has been moved or made anew is
    told and left out; a merged task has none, as its labels show only some of the structures.
    """
    asked = earlier_record(results).get("config", {})
    task, model = (Path(asked[key]) if asked.get(key) else None for key in ("task", "model"))
    made: dict[Path, str] = {}  # what answered -> its fingerprint
    try:
        if model is not None and (task is None or is_finetuned(model)):
            made[model] = checkpoint.load(weights_file(model), kind="weights")[2]
        if task is not None:
            made[task] = load_task(task).fingerprint
    except (Mass3dError, OSError) as error:
        return Behind((), (f"no true label is known, as what made it cannot be read ({error})",))
    alone = len(made) == 1
    if made_by != (next(iter(made.values())) if alone else of_both(*made.values())):
        told = f"{' and '.join(map(str, made))} {'is another one' if alone else 'are others'}"
        return Behind((), (f"no true label is known: {told} than made these results",))
    found = [
        _behind(one, _record_of(one, mark) if one == task else record_beside(one))
        for one, mark in made.items()
    ]
    return Behind(
        tuple(case for one in found for case in one.cases),
        tuple(note for one in found for note in one.notes),
        any(one.chosen for one in found),
    )


def _record_of(task: Path, fingerprint: str | None) -> Mapping[str, Any]:
    """The record of the task, or of the one that was adapted to make it.

    Empty where what lies beside the file is of another task, as after one file took the place of
    another: its scans show other structures. fingerprint: of the task; records of earlier versions
    name none.
    """
    record = earlier_record(record_of(task))
    if fingerprint is not None and record.get("fingerprint", fingerprint) != fingerprint:
        return {}
    if record.get("verb") == "adapt":
        return _record_of(Path(record["config"]["task"]), record.get("task_fingerprint"))
    return record


def _behind(maker: Path, record: Mapping[str, Any]) -> Behind:
    asked, verb = record.get("config", {}), record.get("verb")
    chosen = bool(asked.get("structures"))
    if verb == "task":
        pairs = zip(asked["images"], asked["labels"], strict=True)
        readers = [partial(_pair, Path(image), Path(label)) for image, label in pairs]
        return replace(_gathered(readers), chosen=chosen)
    if verb == "finetune":
        seen = {*record.get("training", ()), *record.get("validation", ())}
        images, labels = ([Path(one) for one in asked[name]] for name in ("images", "label_maps"))
        return replace(_gathered([partial(_of_dataset, images, labels, seen)]), chosen=chosen)
    merged = "the labels of a merged task show only some of its structures"
    why = merged if verb == "merge" else "there is no record of how it was made"
    return Behind((), (f"no true label of {maker} is taken: {why}",))


def _gathered(readers: Iterable[Callable[[], list[CaseFile]]]) -> Behind:
    """The cases that can be found, and what is wrong with the others."""
    cases: list[CaseFile] = []
    notes: list[str] = []
    for reader in readers:
        try:
            cases += reader()
        except (DataError, OSError) as error:
            notes.append(f"a true label is not taken ({error})")
    return Behind(tuple(cases), tuple(notes))


def _pair(image: Path, label: Path) -> list[CaseFile]:
    """A reference of a task."""
    return [replace(case, label=map_at(label)) for case in find_cohort([image]).cases]


def _of_dataset(images: list[Path], labels: list[Path], seen: Set[str]) -> list[CaseFile]:
    """The scans that a finetuned model has learned from, or was scored on."""
    return [case for case in find_labelled(images, labels) if case.case_id in seen]


@dataclass(frozen=True)
class GivenMaps:
    """Label maps of a folder, by case, and a sentence about those that belong to none."""

    labels: Mapping[str, LabelFiles]
    notes: tuple[str, ...] = ()


def given_maps(folder: Path | None, cases: Collection[str]) -> GivenMaps:
    """The label maps in a folder that are called as cases.

    Raises `ConfigError` for what is no folder, and where no map in it is called as a case: whoever
    corrected them would have a dataset without the corrections. `DataError` for two of one case.
    """
    if folder is None:
        return GivenMaps({})
    if not folder.is_dir():
        raise _no_truth(folder, "no folder of this name", "Check the path.")
    found = {name: path for name in cases if (path := find_label(folder, name))}
    maps = (one for one in folder.iterdir() if is_image_name(one) and not one.name.startswith("."))
    others = sorted({one.name for one in maps} - {path.name for path in found.values()})
    if not found:
        told = f"none that is called as a case ({first_of(others)})" if others else "no label map"
        raise _no_truth(folder, told, f"Call them as the cases, such as {_example(cases)}.")
    note = f"label maps in {folder} are not taken, as no case is called so: {', '.join(others)}"
    labels = {name: map_at(path) for name, path in found.items()}
    return GivenMaps(labels, (note,) if others else ())


def _example(cases: Collection[str]) -> str:
    return f"{min(cases, default='case')}.nii.gz"


def _no_truth(folder: Path, found: str, fix: str) -> ConfigError:
    return ConfigError(
        folder,
        found=found,
        expected="a folder of true label maps, named like the cases",
        fix=fix,
        setting="raw.true_labels",
    )
