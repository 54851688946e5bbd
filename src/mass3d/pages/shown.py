"""What a file or folder of ours is: facts for JSON, and the same in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mass3d.errors import ModelError
from mass3d.io.datasets.regions import Targets
from mass3d.model.released import is_released
from mass3d.pages.pictures import css
from mass3d.store.reader import Store
from mass3d.store.schema import INDEX
from mass3d.training import checkpoint
from mass3d.transfer.finetuned.segmenter import FinetunedRecord
from mass3d.transfer.oneshot.part import OneShotPart
from mass3d.transfer.task_file import Task, find_run, load_task
from mass3d.transfer.trained import STRUCTURES, RunRecord, read_published, weights_file

Facts = dict[str, Any]
DIGITS = 4  # of Dice


def facts_of(path: Path) -> Facts:
    """What a task file, a run folder, a weights file or a store is, as JSON-able values.

    Tasks are verified byte by byte; of models the header is read, of stores the table of cases.
    Raises `ModelError` or `StoreError` for anything else.
    """
    if (path / INDEX).exists():
        return _store(path)
    file = weights_file(path)
    if is_released(file):
        return _published(file)
    header = checkpoint.read_header(file)
    if header.kind == "task":
        return _task(file, header)
    if header.kind == "weights":
        return _model(file, header)
    raise ModelError(
        file,
        found=f"a {header.kind} file",
        expected="a task file, a run folder, a weights file or a store",
        fix="Give the run folder that it lies in.",
    )


def _store(path: Path) -> Facts:
    store = Store.open(path)
    settings = store.index.settings
    return {
        "kind": "store",
        "fingerprint": store.fingerprint,
        "cases": len(store.case_ids),
        "spacing_mm": store.spacing_mm,
        "preparation": settings.preparation.plain(),
        "engines": list(settings.masks.engines),
        "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
    }


def _model(file: Path, header: checkpoint.Header) -> Facts:
    made: RunRecord | FinetunedRecord
    if STRUCTURES in header.facts:
        made = checkpoint.validated(FinetunedRecord, header.facts, file)
        own: Facts = {
            "kind": "finetuned model",
            "structures": _structures(made.targets),
            **({"channels": [one.called for one in made.channels]} if made.channels else {}),
            "start": made.start,
            "model": made.model,
        }
    else:
        made = checkpoint.validated(RunRecord, header.facts, file)
        own = {"kind": "pretrained model", "objective": made.objective, "store": made.store}
    return {
        **own,
        "fingerprint": header.digest,
        "mass3d": header.mass3d,
        "steps": made.step,
        "seed": made.seed,
        "precision": made.precision,
        "crop_vox": list(made.crop_vox),
        "preparation": made.preparation.plain(),
        "network": made.preset.plain(),
        "bytes": file.stat().st_size,
    }


def _published(file: Path) -> Facts:
    """The weights that MASS has published, as the run that they are taken for, and every key."""
    published, record, digest = read_published(file)
    header = checkpoint.Header(
        format=checkpoint.FORMAT, kind="weights", mass3d="", digest=digest, facts=record.plain()
    )
    return _model(file, header) | {
        "kind": "published weights of MASS",
        "mass3d": None,
        "parameters": sum(tensor.numel() for tensor in published.tensors.values()),
        "part": published.part or None,
        "keys": [
            {"key": row.released, "became": row.fate, "name_or_reason": row.ours or row.why}
            for row in published.rows
        ],
    }


def _task(file: Path, header: checkpoint.Header) -> Facts:
    task = load_task(file)
    part = task.oneshot
    return {
        "kind": "task",
        "fingerprint": task.fingerprint,
        "mass3d": header.mass3d,
        "structures": list(_known_structures(task)),
        "references": list(_references(task)),
        "files": list(_files(task)),
        "modalities": list(task.ranges.modalities) if task.ranges else None,
        "scans": None if task.ranges is None else _scans(task),
        "made": _made(part, merged=bool(task.merged)),
        "merged": list(task.merged),
        "adapted": None if part is None or part.cohort is None else _adapted(task, part),
        "license": task.license or None,
        "model": {"fingerprint": task.model, **_model_of(file, task)},
        "bytes": file.stat().st_size,
    }


def _structures(targets: Targets) -> list[Facts]:
    colours = targets.colours
    return [
        {"name": name, "value": value, "colour": css(colours[value])}
        for name, value in targets.values.items()
    ]


def _known_structures(task: Task) -> Iterator[Facts]:
    """Each structure, in how many references it is, and how well these know it."""
    evidence = task.oneshot.evidence if task.oneshot else None
    volumes = task.ranges.volumes_ml if task.ranges else {}
    for number, one in enumerate(_structures(task.targets)):
        yield {
            **one,
            "references": int(task.present[:, number].sum()),
            "dice_redrawn": _at(evidence.itself if evidence else (), number),
            "dice_by_others": _at(evidence.others if evidence else (), number),
            "dice_affine": _at(evidence.affine if evidence else (), number),
            "volumes_ml": list(volumes[one["name"]]) if one["name"] in volumes else None,
        }


def _at(dice: Sequence[float | None], number: int) -> float | None:
    found = dice[number] if number < len(dice) else None
    return None if found is None else round(found, DIGITS)


def _references(task: Task) -> Iterator[Facts]:
    scans = task.oneshot.scans if task.oneshot else (None,) * len(task.references)
    names = list(task.structures)
    for reference, scan in zip(task.references, scans, strict=True):
        shown = [name for name, one in zip(names, reference.present.tolist(), strict=True) if one]
        yield {
            "name": reference.name,
            "structures": shown,
            "modality": scan.modality if scan else None,
            "tuned": scan is not None and scan.head is not None,
        }


def _files(task: Task) -> Iterator[Facts]:
    """The files of the references, a row for each, where the task tells them."""
    for one in task.references:
        if one.made_of is not None:
            of = one.made_of
            for part, file, digest in (
                ("scan", of.scan, of.scan_sha256),
                ("label", of.label, of.label_sha256),
            ):
                yield {"reference": one.name, "part": part, "file": file, "sha256": digest}


def _scans(task: Task) -> Facts:
    """What the labelled scans are like."""
    assert task.ranges is not None, "asked of tasks that know it"
    told = task.ranges.plain()
    return {key: told[key] for key in ("edge_mm", "extent_mm", "level")}


def _made(part: OneShotPart | None, *, merged: bool) -> str:
    if part is None:
        return "without alignments, by an older version"
    if merged:
        return "merged"
    return "adapted to unlabelled scans" if part.cohort is not None else "of labelled scans"


def _adapted(task: Task, part: OneShotPart) -> Facts:
    """The structures for which unlabelled scans are used, and how many there were."""
    assert part.cohort is not None, "asked of tasks that were adapted"
    used = zip(task.structures, part.cohort.used.tolist(), strict=True)
    facts = part.cohort.facts
    return {
        "structures": [name for name, one in used if one],
        "trusted": len(facts.trusted),
        "left_out": len(facts.left_out),
    }


def _model_of(file: Path, task: Task) -> Facts:
    """What is known of the model of a task, if it lies where it was and is still the same."""
    try:
        weights = weights_file(find_run(file, task))
        header = checkpoint.read_header(weights)
        record = checkpoint.validated(RunRecord, header.facts, weights)
    except ModelError:
        return {"run": task.run, "found": False}
    if header.digest != task.model:
        return {"run": task.run, "found": False}
    spacing = record.preparation.spacing_mm
    return {"run": task.run, "found": True, "spacing_mm": spacing, "steps": record.step}


def in_words(path: str, facts: Mapping[str, Any]) -> str:
    """The facts as text: a line each, and tables of lists."""
    lines = [f"{path}: {facts['kind']}"]
    width = max(map(len, facts))
    for key, value in facts.items():
        if key == "kind" or value is None or value == []:
            continue
        if isinstance(value, list) and isinstance(value[0], Mapping):
            lines += [f"  {key}", *_table(value)]
        else:
            lines.append(f"  {key:<{width}}  {_word(value)}")
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    cells = [list(rows[0]), *([_word(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"    {'  '.join(padded)}".rstrip()


def _word(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_word(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, list):
        return ", ".join(map(_word, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
