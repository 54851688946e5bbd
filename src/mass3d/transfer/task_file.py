"""Task files: what a model needs to know about named structures.

A task holds what the network keeps of every reference, as named tensors that are its own
business, and what aligns the references to other scans: self-similarity of few bits, the labels and
small tuned heads; never intensities. It fits exactly the model that made it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, StringConstraints, ValidationInfo, field_validator
from torch import Tensor

from mass3d.config import MAX_LABEL_VALUE, Config
from mass3d.errors import ModelError
from mass3d.files import real
from mass3d.io.colours import Colour
from mass3d.io.datasets.regions import Targets
from mass3d.model.protocol import TaskTensors
from mass3d.training import checkpoint
from mass3d.transfer.made_by import MadeBy, in_brackets
from mass3d.transfer.made_of import MadeOf
from mass3d.transfer.oneshot.part import PREFIX, OneShotPart, PartFacts, pack_part, unpack_part
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.ranges import Ranges

KIND = "task"
PRESENT = "present"
EMBEDDINGS = "embeddings"
FINGERPRINT = r"^[0-9a-f]{64}$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Value = Annotated[int, Field(ge=1, le=MAX_LABEL_VALUE)]
Byte = Annotated[int, Field(ge=0, le=255)]


class TaskRecord(Config):
    """What a task file says beside its tensors."""

    structures: tuple[tuple[Name, Value], ...] = Field(min_length=1)
    """Name and label value of each structure."""
    references: tuple[Name, ...] = Field(min_length=1)
    """Ids of the scans that it was made of."""
    model: str = Field(pattern=FINGERPRINT)
    """Fingerprint of the model that made it."""
    made_by: MadeBy | None = None
    """What that model was like, to say in what another differs; older files do not tell."""
    made_of: tuple[MadeOf | None, ...] = ()
    """Files of each reference, where they are known; older files do not tell."""
    run: str
    """Where that model was, relative to the file; empty where nobody said."""
    oneshot: dict[str, Any] | None = None
    """What it says of the part for alignments."""
    ranges: Ranges | None = None
    """What the scans that it was made of are like."""
    asked: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...] | None = None
    """Of a merged task: places of the structures that each reference was asked for."""
    merged: tuple[str, ...] = ()
    """Of a merged task: fingerprints of the tasks."""
    license: str = ""
    """Terms under which the file may be used."""
    colours: dict[Name, tuple[Byte, Byte, Byte]] = Field(default_factory=dict)
    """Red, green and blue of structures, where somebody chose them."""

    def plain(self) -> dict[str, Any]:
        """JSON-able values; what few tasks have is told of those only."""
        told = super().plain()
        few = ("asked", "merged", "license", "made_by", "made_of", "colours")
        return {k: v for k, v in told.items() if v or k not in few}

    @field_validator("structures")
    @classmethod
    def _distinct(cls, structures: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
        if any(len(set(column)) < len(structures) for column in zip(*structures, strict=True)):
            raise ValueError("names and values of structures that differ")
        return structures

    @field_validator("colours")
    @classmethod
    def _of_structures(cls, colours: dict[str, Colour], info: ValidationInfo) -> dict[str, Colour]:
        if colours.keys() - dict(info.data.get("structures", ())).keys():
            raise ValueError("colours of structures alone")
        return colours


@dataclass(frozen=True)
class Reference:
    """What the network keeps of one labelled scan."""

    name: str
    tensors: TaskTensors = field(repr=False)  # of all S structures, float16; a batch of one
    present: Tensor  # (S,) bool: the scan shows the structure
    asked: tuple[int, ...] | None = None  # places of the structures of its tensors, if not all
    embedding: Tensor | None = field(default=None, repr=False)  # (F,) of the scan; see `nearest`
    made_of: MadeOf | None = None  # the files that it was read from, where that is known

    def to(self, device: torch.device) -> dict[str, Tensor]:
        """The tensors as the network takes them: float32, on its device."""
        return {name: tensor.to(device, torch.float32) for name, tensor in self.tensors.items()}


@dataclass(frozen=True)
class Task:
    """Named structures as one model knows them. Letters: R references, S structures."""

    references: tuple[Reference, ...]
    structures: Mapping[str, int]  # name -> label value, in the order of S
    model: str  # fingerprint of the model that made it
    run: str = ""  # where that model was, relative to the task file; a hint only
    fingerprint: str = ""  # SHA-256 over all of this, known once the task is on disk
    oneshot: OneShotPart | None = None  # for alignments
    ranges: Ranges | None = None  # what the labelled scans are like
    merged: tuple[str, ...] = ()  # fingerprints of the tasks that it was merged of
    license: str = ""  # terms under which the file may be used
    made_by: MadeBy | None = None  # what that model was like, where the file tells
    colours: Mapping[str, Colour] = field(default_factory=dict)  # where somebody chose them

    @property
    def targets(self) -> Targets:
        """What it looks for, and how that is shown."""
        return Targets(dict(self.structures), chosen=self.colours)

    @property
    def facts(self) -> dict[str, Any] | None:
        """What is known of the model that made it."""
        return self.made_by.plain() if self.made_by is not None else None

    @property
    def reference_names(self) -> tuple[str, ...]:
        """Ids of the scans it was made of."""
        return tuple(reference.name for reference in self.references)

    @property
    def present(self) -> Tensor:
        """(R, S) bool: which reference shows which structure."""
        return torch.stack([reference.present for reference in self.references])

    def with_files(self, files: Sequence[MadeOf | None]) -> Task:
        """The task that tells the files of its references."""
        pairs = zip(self.references, files, strict=True)
        return replace(self, references=tuple(replace(one, made_of=of) for one, of in pairs))


def save_task(task: Task, path: Path | str, *, run: Path | str | None = None) -> Task:
    """Write a task file, whole or not at all; returns the task with its fingerprint.

    run: where the model is that made it, so that verbs find it beside the task; without it they
    have to be told. Raises `OutputError` where the file cannot be written.
    """
    path = Path(path)
    hint = ""
    if run is not None:
        hint = Path(os.path.relpath(Path(run).resolve(), path.parent.resolve())).as_posix()
    packed, said = pack_part(task.oneshot) if task.oneshot is not None else ({}, None)
    record = TaskRecord(
        structures=tuple(task.structures.items()),
        references=task.reference_names,
        model=task.model,
        made_by=task.made_by,
        made_of=_files(task),
        run=hint,
        oneshot=said.plain() if said is not None else None,
        ranges=task.ranges,
        asked=_asked(task),
        merged=task.merged,
        license=task.license,
        colours=dict(task.colours),
    )
    tensors = {
        f"{number}.{name}": tensor
        for number, reference in enumerate(task.references)
        for name, tensor in reference.tensors.items()
    }
    tensors |= {**packed, PRESENT: task.present, **_embeddings(task)}
    fingerprint = checkpoint.save(path, tensors, kind=KIND, facts=record.plain())
    return replace(task, run=hint, fingerprint=fingerprint)


def _files(task: Task) -> tuple[MadeOf | None, ...]:
    """The files of each reference; nothing where none is known."""
    files = tuple(reference.made_of for reference in task.references)
    return files if any(files) else ()


def _asked(task: Task) -> tuple[tuple[int, ...], ...] | None:
    """The structures that each reference was asked for; None where that is all of them."""
    if all(reference.asked is None for reference in task.references):
        return None
    every = tuple(range(len(task.structures)))
    return tuple(every if one.asked is None else one.asked for one in task.references)


def _embeddings(task: Task) -> dict[str, Tensor]:
    """What the network says of the references (R, F), where that is known of all."""
    known = [one.embedding for one in task.references if one.embedding is not None]
    return {EMBEDDINGS: torch.stack(known)} if len(known) == len(task.references) else {}


def load_task(path: Path | str) -> Task:
    """Read a task file. Raises `ModelError` when it is missing, foreign, damaged or changed."""
    path = Path(path)
    tensors, facts, fingerprint = checkpoint.load(path, kind=KIND)
    record = checkpoint.validated(TaskRecord, facts, path)
    part = {key: tensor for key, tensor in tensors.items() if key.startswith(f"{PREFIX}.")}
    own = {key: tensor for key, tensor in tensors.items() if key not in part}
    references = _references(path, own, record)
    return Task(
        references,
        dict(record.structures),
        model=record.model,
        run=record.run,
        fingerprint=fingerprint,
        oneshot=_oneshot(path, part, record),
        ranges=record.ranges,
        merged=record.merged,
        license=record.license,
        made_by=record.made_by,
        colours=record.colours,
    )


def _references(
    path: Path, tensors: dict[str, Tensor], record: TaskRecord
) -> tuple[Reference, ...]:
    """What the network keeps of every reference. Raises `ModelError` for what was changed."""
    shape = (len(record.references), len(record.structures))
    present = tensors.pop(PRESENT, None)
    if present is None or present.dtype != torch.bool or present.shape != shape:
        raise _changed(path, f"{'no' if present is None else 'another'} table of {shape}")
    embeddings = _embedded(path, tensors, len(record.references))
    kept: list[dict[str, Tensor]] = [{} for _ in record.references]
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        if not (number.isascii() and number.isdecimal() and int(number) < len(kept)) or not name:
            raise _changed(path, f"a tensor {key[:100]!r}")
        if not tensor.is_floating_point():
            raise _changed(path, f"a tensor {key[:100]!r} of {tensor.dtype}")
        kept[int(number)][name] = tensor
    if any(one.keys() != kept[0].keys() for one in kept) or not present.any(0).all():
        raise _changed(path, "references that do not show all structures")
    asked = _asked_places(path, record, present)
    files = record.made_of or (None,) * len(kept)
    if len(files) != len(kept):
        raise _changed(path, f"files of {len(files)} references instead of {len(kept)}")
    return tuple(map(Reference, record.references, kept, present, asked, embeddings, files))


def _embedded(path: Path, tensors: dict[str, Tensor], count: int) -> Sequence[Tensor | None]:
    """What the network said of each reference, taken out. Raises `ModelError` for other numbers."""
    found = tensors.pop(EMBEDDINGS, None)
    if found is None:
        return [None] * count
    if found.dtype != torch.float32 or found.ndim != 2 or len(found) != count:
        raise _changed(path, f"embeddings of shape {tuple(found.shape)}")
    if not found.isfinite().all():
        raise _changed(path, "embeddings that are not finite")
    return found.unbind()


def _asked_places(
    path: Path, record: TaskRecord, present: Tensor
) -> Sequence[tuple[int, ...] | None]:
    """What each reference was asked for. Raises `ModelError` for places that there are not."""
    if record.asked is None:
        return [None] * len(record.references)
    every = range(len(record.structures))
    whole = len(record.asked) == len(record.references) and all(
        len(set(places)) == len(places) and set(shown.nonzero().flatten().tolist()) <= set(places)
        for places, shown in zip(record.asked, present, strict=True)
    )
    if not whole or not {place for places in record.asked for place in places} <= set(every):
        raise _changed(path, "references that were asked for other structures than they show")
    return [None if places == tuple(every) else places for places in record.asked]


def _oneshot(path: Path, tensors: Mapping[str, Tensor], record: TaskRecord) -> OneShotPart | None:
    """What a task holds for alignments. Raises `ModelError` where it is not as it was written."""
    if record.oneshot is None:
        return None
    try:
        return unpack_part(tensors, PartFacts.model_validate(record.oneshot))
    except ValueError as error:
        raise _changed(
            path, f"labelled scans that are not as they were written ({error})"
        ) from error


def hinted_run(path: Path, task: Task) -> Path | None:
    """Where a task file says that its model is, if it says so, whatever may be there."""
    return real(path).parent / task.run if task.run else None


def find_run(path: Path, task: Task) -> Path:
    """The run folder that a task file hints at, if it lies in the neighbourhood of the file.

    That is the folder of the file or the one around it: a file from somebody else must not make
    us read anywhere. Raises `ModelError`.
    """
    folder = real(path).parent
    if not task.run:
        raise ModelError(
            path,
            found="a task that does not say where its model is",
            expected="the run folder that made the task",
            fix="Say where it is.",
            setting="model",
        )
    hinted = real(folder / task.run) if "\0" not in task.run else None
    near = hinted is not None and hinted.is_relative_to(folder.parent)
    if hinted is None or not near or not (hinted.is_dir() or hinted.is_file()):
        raise ModelError(
            path,
            found=f"no model at {task.run!r}, where it was when the task was made"
            if near
            else f"a model at {task.run!r}, which is not near the task file",
            expected="the run folder that made the task",
            fix="Say where it is now.",
            setting="model",
        )
    return hinted


def require_model(where: Path | str, task: Task, trained: TrainedModel) -> None:
    """Raise `ModelError` unless the task was made by exactly this model and fits it.

    It says in what the models differ, as far as the task file tells.
    """
    if task.model != trained.fingerprint:
        ours = MadeBy.of(trained.facts)
        told = in_brackets(task.facts, ours.plain() if ours else None)
        raise ModelError(
            where,
            found=f"a task made by the model {task.model[:12]}…{told}",
            expected=f"one made by the model at hand, {trained.fingerprint[:12]}…",
            fix="Use the run that it was made with, or make the task again with this model.",
            setting="model",
        )
    for reference in task.references:
        _require_decodes(where, reference, trained)


def require_scans(where: Path | str, task: Task) -> OneShotPart:
    """What a task holds for alignments. Raises `ModelError` where it holds no labelled scans."""
    if task.oneshot is None:
        raise ModelError(
            where,
            found="a task without labelled scans, as older versions made them",
            expected="one that holds what aligns its references to a scan",
            fix="Make the task again.",
        )
    return task.oneshot


@torch.no_grad()
def _require_decodes(where: Path | str, reference: Reference, trained: TrainedModel) -> None:
    """Raise `ModelError` unless the network can use the tensors, tried on the smallest image."""
    edge = (trained.net.stride,) * 3
    try:
        maps = trained.net.encode(torch.zeros(1, 1, *edge, device=trained.device))
        found = tuple(trained.net.decode(maps, reference.to(trained.device)).shape)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
        raise _changed(where, f"tensors that the model cannot use ({error})") from error
    structures = len(reference.present if reference.asked is None else reference.asked)
    if found != (1, structures, *edge):
        raise _changed(where, f"tensors of another number of structures, {found[1:2]}")


def _changed(where: Path | str, found: str) -> ModelError:
    return ModelError(
        where,
        found=found,
        expected="a task as mass3d writes it",
        fix="The file was damaged or changed: copy it again or make the task anew.",
    )
