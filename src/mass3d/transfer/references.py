"""What must hold of labelled scans that a task is made of, and what they are like."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mass3d.config import Structures
from mass3d.errors import ConfigError, DataError
from mass3d.execution.summary import counted
from mass3d.inspection.label import count_values
from mass3d.io.read import label_of, volume_of
from mass3d.transfer.coarse import Losses
from mass3d.transfer.oneshot.settings import MAX_STRUCTURES
from mass3d.volume.ranges import Measures, Ranges
from mass3d.volume.volume import Modality, Volume

if TYPE_CHECKING:
    from torch import Tensor

    from mass3d.transfer.task_file import Task


def require_references(
    images: Sequence[Any], labels: Sequence[Any], structures: Mapping[str, int]
) -> tuple[list[Volume], list[Volume]]:
    """Images and labels (D, H, W), each label on exactly the grid of its image.

    They are given as `volume_of` takes them.
    Raises `ConfigError` unless there are as many labels as images, and at most 255 structures with
    a value of 1 to 65535 each, none twice; `DataError` for a label on another grid, or of other
    values than whole numbers.
    """
    if not images or len(images) != len(labels):
        raise ConfigError(
            "task",
            found=f"{len(images)} images and {len(labels)} labels",
            expected="at least one image, and one label per image, in the same order",
            fix="Give one label for each image.",
            setting="labels",
        )
    _require_values(structures)
    volumes = [volume_of(image) for image in images]
    return volumes, [
        label_of(_named(label, number), like=volume)
        for number, (volume, label) in enumerate(zip(volumes, labels, strict=True))
    ]


def require_names(names: Sequence[str], references: int) -> None:
    """Raise `ConfigError` for names of references that are not one for each of them."""
    if names and len(names) != references:
        raise ConfigError(
            "references",
            found=f"{counted(len(names), 'name')} of {counted(references, 'reference')}",
            expected="a name for each, in the same order, or none",
            fix="Name every reference, or leave the names out.",
        )


def require_shown(present: Tensor, structures: Mapping[str, int], names: Sequence[str]) -> None:
    """Raise `DataError` when a structure is in none of the references.

    present (R, S): bool, the reference shows the structure on the grid of the model. names: of
    the R references.
    """
    shown = present.any(0).tolist()
    missing = [name for name, seen in zip(structures, shown, strict=True) if not seen]
    if missing:
        raise DataError(
            ", ".join(names),
            found=f"no voxel of {', '.join(missing)} on the grid of the model",
            expected="every structure in at least one reference",
            fix="Choose references that show them, or name those that are wanted.",
            setting="structures",
        )


def require_prior_of(structures: Mapping[str, int], prior: Volume) -> None:
    """Raise `DataError` for a prior that has values, but none of the structures.

    An empty one says that there is nothing, which is no mistake.
    """
    found = [int(value) for value in np.flatnonzero(count_values(prior.voxels)) if value > 0]
    if found and not {*found} & {*structures.values()}:
        raise DataError(
            prior.path or "prior",
            found=f"a prior with the values {', '.join(map(str, found))}",
            expected="values of the task: "
            + ", ".join(f"{value} ({name})" for name, value in structures.items()),
            fix="Give the prior the values of the task, or make a task with those of the prior.",
            setting="prior",
        )


def require_several(where: Path | None, task: Task | None) -> None:
    """Raise `ConfigError` unless a task has several references, which alone can agree."""
    count = len(task.references) if task is not None else 0
    if count < 2:
        raise ConfigError(
            str(where),
            found=f"a map of agreement of {counted(count, 'reference')}",
            expected="a task of at least two",
            fix="Leave the map out, or make a task of several labelled scans.",
            setting="agreement",
        )


def ranges_of(
    images: Sequence[Volume],
    labels: Sequence[Volume],
    structures: Mapping[str, int],
    modalities: Sequence[Modality],
) -> Ranges:
    """What labelled scans are like, by which others will be judged."""
    volumes = [volumes_ml(label.voxels, structures, label.grid.voxel_ml) for label in labels]
    return Ranges.of(list(map(Measures.of, images, modalities)), volumes)


def odd_labels(
    labels: Sequence[Volume],
    structures: Mapping[str, int],
    ignored: Collection[int | None],
    spacing_mm: float,
) -> Iterator[str]:
    """Sentences about what a task will not have of label maps.

    ignored: values of voxels that nobody has annotated. spacing_mm: of the model's voxels.
    """
    for value in sorted(one for one in ignored if one is not None):  # of one dataset: one
        count = sum(bool((label.voxels == value).any()) for label in labels)
        if count:
            yield (
                f"{value} is nnU-Net's ignore label, and {counted(count, 'label map')} "
                f"{'has' if count == 1 else 'have'} voxels of it: a task takes them as background"
            )
    losses = Losses(spacing_mm, {name: [value] for name, value in structures.items()})
    for label in labels:
        losses.add(label)
    yield from losses.told()


def volumes_ml(
    label: NDArray[np.integer], structures: Mapping[str, int | Sequence[int]], voxel_ml: float
) -> dict[str, float]:
    """The volume of every structure, of one or several values, in a label map (D, H, W)."""
    members = {n: [some] if isinstance(some, int) else list(some) for n, some in structures.items()}
    found = dict(enumerate(count_values(label).tolist()))
    counts = {name: sum(found.get(value, 0) for value in some) for name, some in members.items()}
    return {name: round(float(count) * voxel_ml, 4) for name, count in counts.items()}


def _require_values(structures: Mapping[str, int]) -> None:
    try:
        TypeAdapter(Structures).validate_python(dict(structures), strict=True)
    except ValidationError as error:
        raise ConfigError(
            "structures",
            found=str(dict(structures)),
            expected="a name and a whole number from 1 to 65535 for every structure, none twice",
            fix="Correct the values; 0 is the background.",
            setting="structures",
        ) from error
    require_at_most(MAX_STRUCTURES, len(structures), where=" in one task")


def require_at_most(most: int, structures: int, *, where: str = "") -> None:
    """Raise `ConfigError` for more structures than there is room for; where: words of the error."""
    if structures > most:
        raise ConfigError(
            "structures",
            found=f"{structures} structures",
            expected=f"at most {most}{where}",
            fix="Name those that are wanted.",
            setting="structures",
        )


def _named(label: Any, number: int) -> Any:
    """The label with a name for messages, where it is a volume of no file."""
    nameless = isinstance(label, Volume) and label.path is None
    return replace(label, path=Path(f"label {number}")) if nameless else label
