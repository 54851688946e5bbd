"""Tasks that one model made, merged into one: structures together, references together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from mass3d.config import MAX_LABEL_VALUE, differences
from mass3d.errors import ConfigError, ModelError
from mass3d.io.colours import Colour
from mass3d.training import checkpoint
from mass3d.transfer.made_by import in_brackets
from mass3d.transfer.oneshot.evidence import Evidence
from mass3d.transfer.oneshot.part import OneShotPart
from mass3d.transfer.oneshot.reference import LabelledScan
from mass3d.transfer.oneshot.settings import MAX_STRUCTURES
from mass3d.transfer.task_file import Reference, Task, find_run
from mass3d.transfer.trained import weights_file
from mass3d.volume.ranges import Ranges

Means = tuple[float | None, ...]


@dataclass(frozen=True)
class Merged:
    """A task of tasks, and the structures whose values had to change."""

    task: Task
    renumbered: dict[str, dict[str, tuple[int, int]]]  # file -> structure -> value before and now
    odd: tuple[str, ...] = ()  # sentences


def merge_tasks(tasks: Mapping[Path, Task]) -> Merged:
    """One task of at least two. What the first says of a structure's value holds.

    A structure of the same name in several has the references of all. Every reference votes for
    what it was asked for, as before; what references say about each other is known within each of
    the tasks only, and stays. What the references of a task have tuned together goes. Raises
    `ModelError` for tasks of other models, for one that was adapted or has no labelled scans, for
    the same one twice, and for a scan that would vote twice for a structure; `ConfigError` for a
    single one.
    """
    if len(tasks) < 2:
        raise ConfigError(
            "tasks",
            found=f"one task, {', '.join(map(str, tasks))}",
            expected="at least two different ones",
            fix="Name another task.",
            setting="tasks",
        )
    for path, task in tasks.items():
        _require_mergeable(path, task)
    _require_one_model(tasks)
    structures = _structures(tasks)
    _require_single_votes(tasks)
    places = [[list(structures).index(name) for name in task.structures] for task in tasks.values()]
    parts = list(zip(tasks.values(), places, strict=True))
    first, *_ = tasks.values()
    task = Task(
        tuple(_references(parts, len(structures))),
        structures,
        first.model,
        made_by=next((one.made_by for one in tasks.values() if one.made_by), None),
        oneshot=_oneshot(parts, len(structures)),
        ranges=_ranges(tasks.values()),
        merged=tuple(one for task in tasks.values() for one in _of(task)),
        colours=_colours(tasks.values()),
        license="" if _without_terms(tasks) else " AND ".join(_terms(tasks)),
    )
    return Merged(task, dict(_renumbered(tasks, structures)), tuple(_lost_terms(tasks)))


def _require_mergeable(path: Path, task: Task) -> None:
    found = ""
    if task.oneshot is None:
        found = "a task without labelled scans, as older versions made them"
    elif task.oneshot.cohort is not None:
        found = "a task that was adapted to unlabelled scans, which holds for its structures only"
    if found:
        raise ModelError(
            path,
            found=found,
            expected="a task as it was made of labelled scans",
            fix="Merge the tasks as they were made, then adapt the result.",
        )


def _require_one_model(tasks: Mapping[Path, Task]) -> None:
    """Raise `ModelError` unless one model and the same settings made all tasks, each once."""
    (first, task), *others = tasks.items()
    seen = {*_of(task)}
    for path, other in others:
        if seen & {*_of(other)}:
            raise ModelError(
                path,
                found="a task that is given twice, by itself or within a merged one",
                expected="tasks that have nothing in common",
                fix="Give each task once: a labelled scan must not count twice.",
            )
        seen |= {*_of(other)}
        if other.model != task.model:
            raise _other_model(first, task, path, other)
        assert task.oneshot is not None, "what was just checked"
        assert other.oneshot is not None, "likewise"
        differing = _differences(task.oneshot.config.plain(), other.oneshot.config.plain())
        if differing:
            raise ModelError(
                path,
                found=f"alignments with other settings than in {first}: {'; '.join(differing)}",
                expected="tasks made with the same settings",
                fix="Make one of them again.",
            )


def _require_single_votes(tasks: Mapping[Path, Task]) -> None:
    """Raise `ModelError` where one scan is a reference of a structure in two of the tasks.

    A scan is known by the content of its files, where the task files tell that.
    """
    seen: dict[tuple[str, str], tuple[Path, str]] = {}  # scan and structure -> task, reference
    for path, task in tasks.items():
        own = {}
        for one in task.references:
            if one.made_of is None:
                continue
            shown = zip(task.structures, one.present, strict=True)
            for name in [name for name, there in shown if there]:
                key = one.made_of.scan_sha256, name
                if key in seen:
                    raise _voting_twice(path, one.name, name, *seen[key])
                own[key] = path, one.name
        seen |= own  # what is twice within one task was told when it was made


def _voting_twice(path: Path, name: str, structure: str, first: Path, other: str) -> ModelError:
    return ModelError(
        path,
        found=f"the scan {name} as a reference of {structure}, which is {other} of {first}",
        expected="tasks that show a structure in different scans",
        fix="Make one of them again without it: a labelled scan must not count twice.",
    )


def _colours(tasks: Iterable[Task]) -> dict[str, Colour]:
    """The chosen colour of each structure, of the first task that has one."""
    known: dict[str, Colour] = {}
    for task in tasks:
        known = {**task.colours, **known}
    return known


def _terms(tasks: Mapping[Path, Task]) -> list[str]:
    """The licences of some tasks, each once."""
    return [*dict.fromkeys(task.license for task in tasks.values() if task.license)]


def _without_terms(tasks: Mapping[Path, Task]) -> list[str]:
    """The files that tell no licence: then nobody can say that one holds for all of them."""
    return [str(path) for path, task in tasks.items() if not task.license]


def _lost_terms(tasks: Mapping[Path, Task]) -> Iterator[str]:
    """A sentence where some tasks have a licence and others do not."""
    terms, without = _terms(tasks), _without_terms(tasks)
    if terms and without:
        yield (
            f"the merged task has no licence, as {' and '.join(without)} "
            f"{'has' if len(without) == 1 else 'have'} none beside {' and '.join(terms)}"
        )


def _of(task: Task) -> tuple[str, ...]:
    """Fingerprints of a task and of those that it was merged of."""
    return (task.fingerprint, *task.merged)


def _other_model(first: Path, task: Task, path: Path, other: Task) -> ModelError:
    """The error that says in what two models differ, as far as is known."""
    told = in_brackets(_facts(path, other), _facts(first, task))
    return ModelError(
        path,
        found=f"a task made by the model {other.model[:12]}…{told}",
        expected=f"one made by that of {first}, {task.model[:12]}…",
        fix="Make one of the tasks again with the model of the other.",
    )


def _facts(path: Path, task: Task) -> Mapping[str, Any] | None:
    """What is known of the model of a task: all where it still is, else what the task tells."""
    try:
        header = checkpoint.read_header(weights_file(find_run(path, task)))
    except ModelError:
        return task.facts
    return header.facts if header.digest == task.model else task.facts


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two sets of facts: `preparation.spacing_mm (3.0, not 2.0)`."""
    return [f"{name} ({there}, not {here})" for name, here, there in differences(one, other)]


def _structures(tasks: Mapping[Path, Task]) -> dict[str, int]:
    """Name -> value of all structures; a value that is taken gives way to the lowest free one."""
    structures: dict[str, int] = {}
    clashing: list[str] = []
    for task in tasks.values():
        for name, value in task.structures.items():
            if name in structures or name in clashing:
                continue
            if value in structures.values():
                clashing.append(name)
            else:
                structures[name] = value
    total = len(structures) + len(clashing)
    if total > MAX_STRUCTURES:
        raise ModelError(
            ", ".join(map(str, tasks)),
            found=f"{total} structures",
            expected=f"at most {MAX_STRUCTURES} in one task",
            fix="Keep some of the tasks apart.",
        )
    taken = set(structures.values())
    free = (value for value in range(1, MAX_LABEL_VALUE + 1) if value not in taken)
    return structures | dict(zip(clashing, free, strict=False))


def _renumbered(
    tasks: Mapping[Path, Task], structures: Mapping[str, int]
) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    for path, task in tasks.items():
        changed = {
            name: (value, structures[name])
            for name, value in task.structures.items()
            if value != structures[name]
        }
        if changed:
            yield str(path), changed


def _references(
    parts: Iterable[tuple[Task, Sequence[int]]], structures: int
) -> Iterator[Reference]:
    for task, places in parts:
        for one in task.references:
            present = torch.zeros(structures, dtype=torch.bool)
            present[list(places)] = one.present
            asked = places if one.asked is None else [places[at] for at in one.asked]
            whole = list(asked) == list(range(structures))
            yield replace(one, present=present, asked=None if whole else tuple(asked))


def _oneshot(parts: Sequence[tuple[Task, Sequence[int]]], structures: int) -> OneShotPart:
    scans: list[LabelledScan] = []
    told: list[tuple[OneShotPart, Sequence[int]]] = []
    for task, places in parts:
        assert task.oneshot is not None, "what was just checked"
        scans += [_scan(one, places, structures) for one in task.oneshot.scans]
        told.append((task.oneshot, places))
    evidence = _evidence(told, structures)
    return replace(told[0][0], scans=tuple(scans), evidence=evidence, together=None)


def _scan(scan: LabelledScan, places: Sequence[int], structures: int) -> LabelledScan:
    """A reference among more structures."""
    numbers = torch.tensor([0, *(place + 1 for place in places)], dtype=torch.uint8)
    head = scan.head
    if head is not None:
        own = places if head.places is None else [places[at] for at in head.places]
        whole = list(own) == list(range(structures))
        head = replace(head, places=None if whole else tuple(own))
    return replace(scan, label=numbers[scan.label.long()], structures=structures, head=head)


def _evidence(told: Sequence[tuple[OneShotPart, Sequence[int]]], structures: int) -> Evidence:
    """Means over the references of all tasks that show a structure."""
    columns: list[Means] = []
    for kind in ("itself", "others", "affine"):
        rows: list[list[tuple[float, int]]] = [[] for _ in range(structures)]
        for part, places in told:
            shown = torch.stack([one.present for one in part.scans]).sum(0)
            means: Means = getattr(part.evidence, kind)
            for place, mean, count in zip(places, means, shown.tolist(), strict=False):
                if mean is not None:
                    rows[place].append((mean, count))
        columns.append(tuple(map(_mean, rows)) if any(rows) else ())
    return Evidence(*columns)


def _mean(pairs: Sequence[tuple[float, int]]) -> float | None:
    total = sum(count for _, count in pairs)
    return sum(mean * count for mean, count in pairs) / total if total else None


def _ranges(tasks: Iterable[Task]) -> Ranges | None:
    known = [task.ranges for task in tasks]
    if any(one is None for one in known):
        return None
    return reduce(Ranges.joined, [one for one in known if one is not None])
