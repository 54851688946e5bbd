"""What can segment without further questions: a model with a task, a finetuned model, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from mass3d.errors import ConfigError
from mass3d.files import text_hash
from mass3d.io.datasets.channels import Wanted, grouped
from mass3d.io.datasets.cohort import CaseFile, find_cohort
from mass3d.io.datasets.regions import Targets
from mass3d.transfer.finetuned.segmenter import (
    FinetunedSegmenter,
    is_finetuned,
    load_finetuned,
    require_beside,
)
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import Task, find_run, load_task, require_model, require_scans
from mass3d.transfer.trained import record_beside, unfinished
from mass3d.volume.doubts import doubts
from mass3d.volume.preparation import prepared_modality
from mass3d.volume.ranges import Measures, Ranges
from mass3d.volume.volume import Volume


@dataclass(frozen=True)
class Knowledge:
    """A model, and the structures that it can find."""

    segmenter: Segmenter
    task: Task | None  # None: the model knows its structures by itself
    targets: Targets  # structures and regions that are found
    fingerprint: str  # of all that decides a result, but for settings
    ranges: Ranges | None = None  # what the labelled scans are like, where it is known
    channels: tuple[Wanted, ...] = ()  # that a case needs, where it is more than a scan
    odd: tuple[str, ...] = ()  # sentences about the model

    @property
    def structures(self) -> Mapping[str, int]:
        """Name -> label value."""
        return self.targets.values

    @property
    def nearest(self) -> Task | None:
        """A task of which the references nearest to a scan can be asked, if that can be told."""
        return None if isinstance(self.segmenter, FinetunedSegmenter) else self.task

    @property
    def told(self) -> dict[str, list[str]]:
        """The channels, for the record of results; nothing where a case is a scan."""
        return {"channels": [one.called for one in self.channels]} if self.channels else {}

    def cases_in(self, inputs: Sequence[Path], *, exclude: Path) -> tuple[CaseFile, ...]:
        """What can be segmented among files and folders. Raises as `find_cohort` and `grouped`."""
        return grouped(find_cohort(inputs, exclude=exclude).cases, self.channels)

    def doubts(self, volume: Volume, *others: Volume) -> tuple[str, ...]:
        """What cannot be right about a scan, or is far from what was learned, a sentence each.

        others: further channels of a case, of which it is not known what they usually are like.
        """
        preparation = self.segmenter.trained.preparation
        modality = prepared_modality(volume, preparation)
        found = doubts(volume, modality)
        if self.ranges is not None:
            made = "task" if self.task is not None else "model"
            found += self.ranges.doubts(Measures.of(volume, modality), made=made)
        for one, channel in zip(others, self.channels[1:], strict=True):
            odd = doubts(one, one.modality or prepared_modality(one, preparation))
            found += [f"{channel.called}: {sentence}" for sentence in odd]
        return tuple(found)


def load_knowledge(
    task: Path | None, model: Path | None, *, prior: Path | None = None, device: str = "auto"
) -> Knowledge:
    """Load a task and its model, by default from where it was; or a finetuned model, which answers
    alone, or together with a task.

    Raises `ConfigError` where neither is given, and for a prior without a task or for a finetuned
    model, `ModelError` where one cannot be trusted or they do not fit.
    """
    if task is not None and (model is None or not is_finetuned(model)):
        found = load_task(task)
        run = model or find_run(task, found)
        segmenter = Segmenter.load(run, device=device)
        require_model(task, found, segmenter.trained)
        if prior is not None:
            require_scans(task, found)
        made, ranges = found.fingerprint, found.ranges
        return Knowledge(segmenter, found, found.targets, made, ranges, odd=unfinished(run))
    if model is None:
        raise ConfigError(
            "task",
            found="neither a task nor a model",
            expected="a task, or a finetuned model, which knows its structures",
            fix="Say what to look for.",
            setting="task",
        )
    if prior is not None:
        raise ConfigError(
            prior,
            found="a prior without a task" if task is None else "a prior for a finetuned model",
            expected="a prior for a task and the pretrained model that made it",
            fix="Leave the prior out, or the finetuned model.",
            setting="prior",
        )
    tuned, odd = load_finetuned(model, device=device), unfinished(model)
    if task is None:
        made, ranges = tuned.fingerprint, _ranges_beside(model)
        return Knowledge(tuned, None, tuned.targets, made, ranges, tuned.channels, odd)
    found = load_task(task)
    require_beside(found, tuned, task)
    made = of_both(tuned.fingerprint, found.fingerprint)
    targets = replace(tuned.targets, chosen=found.colours)
    return Knowledge(tuned, found, targets, made, found.ranges, tuned.channels, odd)


def of_both(model: str, task: str) -> str:
    """The fingerprint of a finetuned model and a task that answer together, of those of each."""
    return text_hash([model, task])


def _ranges_beside(run: Path) -> Ranges | None:
    """What the record of a finetuning run says of its labelled scans; None where it says nothing.

    It decides no result, so it is no part of the model.
    """
    try:
        return Ranges.model_validate(record_beside(run).get("ranges"))
    except ValidationError:
        return None
