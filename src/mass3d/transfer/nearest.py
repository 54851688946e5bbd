"""Of many references those that are most like a scan, by what the network says of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import Field
from torch import Tensor

from mass3d.errors import ConfigError
from mass3d.transfer.frozen.encoder import encode
from mass3d.transfer.frozen.neighbours import nearest
from mass3d.transfer.frozen.plain import body_of
from mass3d.transfer.task_file import Task
from mass3d.transfer.trained import TrainedModel
from mass3d.volume.preparation import Prepared
from mass3d.volume.volume import Volume

OVERLAP: Final = 0.25  # of windows; a mean over the scan needs no more
References = Annotated[int, Field(ge=1)] | Literal["all"]
"""How many references are asked: all, or the nearest to each scan."""


def embedding(trained: TrainedModel, volume: Volume, scan: Prepared) -> Tensor:
    """Means and deviations of all feature maps over the body of a scan: (F,) float32."""
    found = encode(
        trained,
        scan.image,
        body_of(volume, scan),
        outside=scan.intensity.outside,
        overlap=OVERLAP,
    )
    return torch.from_numpy(found.pooled)


def require_embeddings(where: Path | str | None, task: Task | None, count: References) -> None:
    """Raise `ConfigError` unless the nearest `count` references of a task can be told."""
    if count == "all":
        return
    found = "a finetuned model, which has no features of references"
    if task is not None:
        found = "a task of an older version, which has no features of its references"
        known = all(one.embedding is not None for one in task.references)
        if known or count >= len(task.references):
            return
    raise ConfigError(
        str(where),
        found=found,
        expected="a task that can find its references nearest to a scan",
        fix="Use all references, or make the task again.",
        setting="references",
    )


def nearest_places(embeddings: Tensor, scan: Tensor, present: Tensor, count: int) -> list[int]:
    """Which of R references are asked about a scan, in their order.

    embeddings (R, F), scan (F,), present (R, S): who shows what. They are the `count` nearest, by
    cosine of features that are standardised over references and scan; of a structure that none of
    these shows also the `count` nearest that do.
    """
    names = [str(number) for number in range(len(embeddings))]
    every = torch.cat([embeddings, scan[None]]).numpy()
    order = [int(one.case) for one in nearest([*names, ""], every, count=len(names))[""]]
    chosen = set(order[:count])
    for shown in present.T.tolist():
        if not any(shown[place] for place in chosen):
            chosen |= set([place for place in order if shown[place]][:count])
    return sorted(chosen)


def with_references(task: Task, places: Sequence[int]) -> Task:
    """The task with some of its references alone."""
    part = task.oneshot
    return replace(
        task,
        references=tuple(task.references[place] for place in places),
        oneshot=part and replace(part, scans=tuple(part.scans[place] for place in places)),
    )


def nearest_task(
    task: Task, count: References, trained: TrainedModel, volume: Volume, scan: Prepared
) -> Task:
    """The task with the references that are asked about a scan. Raises as `require_embeddings`."""
    require_embeddings("the task", task, count)
    if count == "all" or count >= len(task.references):
        return task
    kept: list[Any] = [one.embedding for one in task.references]
    own = embedding(trained, volume, scan)
    return with_references(task, nearest_places(torch.stack(kept), own, task.present, count))
