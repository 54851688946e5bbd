"""Finetune on scans that are chosen, in a run folder: what the verbs finetune and curve do."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, ValidationError

from mass3d.config import Config
from mass3d.device import choose_device
from mass3d.errors import ModelError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault
from mass3d.execution.progress import progress, tell_all
from mass3d.execution.summary import Report, counted, few, write_provenance
from mass3d.files import only_writer, text_hash
from mass3d.io.datasets.channels import channels_of
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.labelled import find_labelled
from mass3d.io.datasets.regions import Targets
from mass3d.training.choosing import Chosen
from mass3d.training.resume import is_finished, require_same_run
from mass3d.training.run_files import RESUME
from mass3d.transfer.finetuned.apart import seen_before
from mass3d.transfer.finetuned.learn import Began, began, learn
from mass3d.transfer.finetuned.scans import (
    Material,
    Split,
    fingerprint,
    gather,
    prepared,
    read_labelled,
    split,
    structures_of,
)
from mass3d.transfer.finetuned.scores import Scores, scores_in
from mass3d.transfer.finetuned.segmenter import Learn, load_finetuned
from mass3d.transfer.finetuned.settings import FinetuneConfig
from mass3d.transfer.finetuned.stopping import (
    chosen_in,
    chosen_in_words,
    judge_of,
    stopping_facts,
)
from mass3d.transfer.finetuned.taught import (
    ANSWERS,
    Taught,
    background_told,
    find_unlabelled,
    fingerprint_of,
    require_teachable,
    teacher_of,
)
from mass3d.transfer.trained import read_run, record_beside, unfinished

MOVED: Final[dict[Learn, str]] = {
    "full": "",
    "decoder": " Only the decoder and the head were trained.",
    "head": " Only the head was trained.",
}


class Told(Config):
    """What a run keeps in its record, beside other things, of what was said when it began.

    Once it has ended, nothing is read again, and yet all of it is to be said.
    """

    model_config = ConfigDict(extra="ignore")

    warnings: tuple[str, ...] = ()
    """Sentences about scans and labels."""
    faults: tuple[Fault, ...] = ()
    """Of scans without labels."""
    answered: int | None = None
    """Scans without labels that were learned from; older records do not tell."""

    @classmethod
    def of(cls, run: Path) -> Told:
        """What the record of a run says; nothing of an older one, or where it was changed."""
        try:
            return cls.model_validate(record_beside(run))
        except ValidationError:
            return cls()


@dataclass(frozen=True)
class Finetuned(Report):
    """What a finetuning ended with."""

    run: Path
    structures: dict[str, int]
    training: tuple[str, ...]  # ids of the scans it learned from
    scores: Scores | None  # of the validation scans, if there are any
    began: Began  # what was loaded, and what was fresh
    warnings: tuple[str, ...] = ()  # sentences about what is odd, but no fault
    chosen: Chosen | None = None  # how the weights were, if they were scored on the way
    steps: int = 0  # updates that were asked for
    learn: Learn = "full"  # weights that moved
    channels: tuple[str, ...] = ()  # of each scan, where it learned from some of several
    unlabelled: int = 0  # scans without labels that were answered by a task, to learn from
    faults: tuple[Fault, ...] = ()  # of scans without labels

    def summary(self) -> str:
        """One paragraph for people, and a line for each oddity."""
        first = (
            f"Finetuned for {counted(len(self.structures), 'structure')} on "
            f"{counted(len(self.training), 'labelled scan')}"
            + (f" ({' and '.join(self.channels)})" if self.channels else "")
            + (f" and {counted(self.unlabelled, 'scan')} without labels" if self.unlabelled else "")
            + f" in {self.run}. {self.began.in_words()}"
        )
        first += MOVED[self.learn]
        if self.scores is not None:
            first += self.scores.in_words()
        if self.chosen is not None:
            first += chosen_in_words(self.chosen, steps=self.steps)
        return "\n".join([first, *(f"  Warning: {one}." for one in few(self.warnings))])


def finetune(config: FinetuneConfig) -> Finetuned:
    """Find the scans, keep some apart, and finetune on others. Raises as `run` of the verb does."""
    labelled = find_labelled(config.images, config.label_maps, channels=config.channels)
    parts = split(labelled, config.labels, validation=config.validation, seed=config.seed)
    if config.unlabelled:
        apart = (*parts.training, *parts.validation)
        parts = parts._replace(unlabelled=find_unlabelled(config.unlabelled, apart))
    odd = (*background_told(parts), *seen_before(parts.training, parts.validation))
    tell_all(odd)  # before the minutes of work
    done = finetune_on(config, parts, chosen=config.structures is not None)
    return replace(done, warnings=(*odd, *done.warnings))


def finetune_on(
    config: FinetuneConfig, parts: Split, *, chosen: bool, checked: bool = False
) -> Finetuned:
    """Finetune on some scans, or go on, and score others; what is finished is not done again.

    chosen: somebody chose the structures, so that other values are meant to be background.
    checked: the scans kept apart were read before, as where other weights are scored on them.
    Raises as `run` of the verb does.
    """
    keep_freed_memory()
    targets = structures_of(parts.training, config.structures)
    if parts.unlabelled:
        require_teachable(config.model, targets)
    facts = _facts(config, parts, targets)
    facts |= stopping_facts(config.stopping, parts.validation)
    classes, channels = len(targets.classes), channels_of(parts.training[0])
    first = began(config.model, classes, start=config.start, channels=max(1, len(channels)))
    if not is_finished(config.output, facts, steps=config.fit.steps, must_resume=config.resume):
        require_same_run(config.output, facts)  # before minutes of reading
        if not (checked or (config.output / RESUME).exists()):
            _check(config, parts.validation, targets)
        _learn(config, parts, targets, facts, first=first, chosen=chosen)
    told = Told.of(config.output)
    without = len(parts.unlabelled) if told.answered is None else told.answered
    return Finetuned(
        run=config.output,
        structures=targets.values,
        training=tuple(parts.ids()["training"]),
        scores=_scores(config, parts),
        began=first,
        warnings=(*unfinished(config.model), *told.warnings),
        chosen=chosen_in(config.output),
        steps=config.fit.steps,
        learn=config.learn,
        channels=tuple(one.called for one in channels),
        unlabelled=without,
        faults=told.faults,
    )


def _learn(
    config: FinetuneConfig,
    parts: Split,
    targets: Targets,
    facts: dict[str, Any],
    *,
    first: Began,
    chosen: bool,
) -> None:
    """Read the scans and learn from them; what is odd about them goes into the record."""
    cases, warnings, ranges = _read(config, parts.training, targets, chosen=chosen)
    names = [one.called for one in channels_of(parts.training[0])]
    about = {"structures": targets.plain(), "ranges": ranges.plain(), **parts.ids()}
    about |= {"channels": names} if names else {}
    with only_writer(config.output, ModelError):
        require_same_run(config.output, facts)  # before its settings are written over
        record = partial(write_provenance, config.output, "finetune", config)
        record(began=first._asdict(), **about)
        device = choose_device(config.device)
        taught = _taught(config, parts, targets, facts)
        told = Told(
            warnings=warnings + taught.odd,
            faults=taught.faults,
            answered=len(taught.cases) if parts.unlabelled else None,
        )
        record(began=first._asdict(), **about, **told.model_dump(mode="json", exclude_none=True))
        with progress("finetune", config.fit.steps) as advance:
            learn(
                config.output,
                cases + taught.cases,
                model=config.model,
                facts=facts,
                config=config.fit,
                views=config.views,
                device=device,
                advance=advance,
                judge=judge_of(config.stopping, parts.validation, facts, device),
            )
        shutil.rmtree(config.output / ANSWERS, ignore_errors=True)


def _facts(config: FinetuneConfig, parts: Split, targets: Targets) -> dict[str, Any]:
    """All that decides the weights."""
    record, _, model = read_run(config.model)
    channels = channels_of(parts.training[0])
    return {
        "preset": record.preset.plain(),
        "crop_vox": list(config.views.crop_vox or record.crop_vox),
        "preparation": record.preparation.plain(),
        "structures": [[name, value] for name, value in targets.values.items()],
        **({"regions": list(map(list, targets.regions.values()))} if targets.regions else {}),
        **({"channels": list(map(list, channels))} if channels else {}),
        "start": config.start,
        **({"learn": config.learn} if config.learn != "full" else {}),
        "model": model,
        "scans": fingerprint(parts.training),
        **({"unlabelled": fingerprint_of(parts.unlabelled)} if parts.unlabelled else {}),
        "partial": config.partial,
        "trunk_share": config.trunk_share,
        "seed": config.seed,
        "fit": config.fit.decisive(),
        "views": config.views.plain(),
    }


def _check(config: FinetuneConfig, apart: Sequence[CaseFile], targets: Targets) -> None:
    """Read and prepare the scans kept apart, so that a bad one is told before the training."""
    preparation = read_run(config.model)[0].preparation
    with progress("check", len(apart)) as advance:
        for done, case in enumerate(apart, start=1):
            prepared(read_labelled(case, targets), preparation, partial=config.partial)
            advance(done)


def _read(
    config: FinetuneConfig, training: Sequence[CaseFile], targets: Targets, *, chosen: bool
) -> Material:
    with progress("read", len(training)) as advance:
        return gather(
            training,
            targets,
            read_run(config.model)[0].preparation,
            partial=config.partial,
            chosen=chosen,
            advance=advance,
        )


def _taught(
    config: FinetuneConfig, parts: Split, targets: Targets, facts: dict[str, Any]
) -> Taught:
    """Answers to the scans without labels; those that were kept of another task are not used."""
    if not parts.unlabelled:
        return Taught()
    of_task = text_hash([facts[key] for key in ("model", "scans", "structures", "unlabelled")])
    teacher = teacher_of(
        config.model, parts.training, targets, partial=config.partial, device=config.device
    )
    return teacher.teach(parts.unlabelled, config.output / ANSWERS / of_task[:16])


def _scores(config: FinetuneConfig, parts: Split) -> Scores | None:
    """Dice of the validation scans, as it is in the folder or measured now."""
    if not parts.validation:
        return None
    segmenter = load_finetuned(config.output, device=config.device)
    with progress("validate", len(parts.validation)) as advance:
        return scores_in(
            config.output, segmenter, parts.validation, seed=config.seed, advance=advance
        )
