"""Adapt a task to a cohort: answer unlabelled scans, learn the answers, let the truth decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mass3d.alignment.features import scan_features
from mass3d.errors import DataError
from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.pool import run_cases
from mass3d.execution.progress import Advance, progress
from mass3d.transfer.adaptation.answers import Answers, Facts, label_of, true_answer
from mass3d.transfer.adaptation.learn import Answered, Lesson, learn, new_network
from mass3d.transfer.adaptation.learned import Cohort, CohortFacts, Dice, LeftOut, Trusted
from mass3d.transfer.adaptation.network import CohortNetwork, seen_by
from mass3d.transfer.adaptation.settings import AdaptationConfig
from mass3d.transfer.oneshot.carrying import find
from mass3d.transfer.oneshot.part import OneShotPart
from mass3d.transfer.oneshot.reference import LabelledScan, labelled_scan
from mass3d.transfer.tuning.tune import dice_of, labels_of
from mass3d.transfer.tuning.voxels import Encoder
from mass3d.volume.box import Box
from mass3d.volume.preparation import Prepared

ALIKE = 0.02  # mean difference of features, from which on a scan is another one than it should be
FEWEST = 3  # trusted scans, of which something can be learned


@dataclass(frozen=True)
class ScanToRead:
    """An unlabelled scan, or that of a reference."""

    source: Callable[[], str]  # SHA-256 of its files
    read: Callable[[], Prepared]


@dataclass(frozen=True)
class Outcome:
    """What became of a cohort; the part of the task has it."""

    part: OneShotPart
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class _Truth:
    """The scan of a reference, and its true label."""

    kept: LabelledScan
    image: Tensor  # (D, H, W)
    label: Tensor  # (D, H, W)


def adapt(
    part: OneShotPart,
    references: Sequence[str],
    scans: Mapping[str, ScanToRead],
    folder: Path,
    config: AdaptationConfig,
    *,
    encoder: Encoder | None = None,
) -> Outcome:
    """The part of a task, adapted to scans by name.

    Those that are called as the `references` must be the same scans: a task holds no intensities,
    and the truth about its references decides. The folder keeps answers, so that a run that was
    stopped goes on. Raises `DataError` where a reference, or enough scans to learn from, are
    missing.
    """
    part = replace(part, cohort=None)
    answers = Answers(folder, part, encoder)
    job = _Job(_truths(part, references, scans), answers, scans, config)
    rest = _drawn([name for name in sorted(scans) if name not in references], config)
    facts, faults = _asked(job, rest)
    trusted, left_out = _trusted(facts, part, config)
    if len(trusted) < FEWEST:
        raise _too_few(trusted, left_out, faults)
    with progress("learn", config.steps + config.further_steps) as advance:
        cohort = _taught(job, trusted, advance)
    cohort = replace(cohort, facts=cohort.facts.model_copy(update={"left_out": left_out}))
    return Outcome(replace(part, cohort=cohort), faults)


@dataclass(frozen=True)
class _Job:
    """What all stages of an adaptation need."""

    truths: Sequence[_Truth]
    answers: Answers
    scans: Mapping[str, ScanToRead]
    config: AdaptationConfig


def _asked(job: _Job, names: Sequence[str]) -> tuple[list[Facts], tuple[Fault, ...]]:
    """What the task answers for scans; one that cannot be answered is a fault."""

    def ask(name: str) -> Facts:
        scan = job.scans[name]
        return job.answers.ask(name, scan.source(), scan.read)

    outcomes = run_cases(ask, {name: name for name in names}, workers=1, title="answer")
    facts = [one for one in outcomes.values() if not isinstance(one, Fault)]
    return facts, faults_of(outcomes)


def _taught(job: _Job, trusted: Sequence[Facts], advance: Advance) -> Cohort:
    """A network that learned trusted scans, judged before it was shown the references."""
    answers, config = job.answers, job.config
    lessons = [answers.load(one.name) for one in trusted]
    net = new_network(answers.part.scans[0].structures, config)
    net = learn(net, Lesson(lessons, config.steps), config, advance)
    aligned, learned = _verdict(job, trusted[: config.judges], net)
    used = [
        a is not None and b is not None and b > a for a, b in zip(aligned, learned, strict=True)
    ]
    if any(used):
        shown = [_shown(one, answers) for one in job.truths]
        further = Lesson(lessons, config.further_steps, shown, config.shown)
        net = learn(net, further, config, lambda step: advance(config.steps + step))
    facts = CohortFacts(
        channels=config.channels,
        window_vox=config.window_vox,
        modalities=tuple(sorted({one.modality for one in trusted})),
        trusted=tuple(Trusted(name=one.name, similarity=one.similarity) for one in trusted),
        aligned=aligned,
        learned=learned,
    )
    return Cohort(net, torch.tensor(used), facts)


def _drawn(names: Sequence[str], config: AdaptationConfig) -> list[str]:
    """All scans, or as many as are looked at, drawn by the seed."""
    order = np.random.default_rng(config.seed).permutation(len(names))[: config.max_scans]
    return [names[number] for number in sorted(order)]


def _trusted(
    facts: Sequence[Facts], part: OneShotPart, config: AdaptationConfig
) -> tuple[list[Facts], tuple[LeftOut, ...]]:
    """Scans to learn from, those most like a reference first, and why not the others."""
    kinds = {one.modality for one in part.scans}
    why = {one.name: _doubt(one, kinds) for one in facts}
    able = sorted((one for one in facts if not why[one.name]), key=lambda one: -one.similarity)
    kept = able[: len(able) - int(config.leave_out * len(able))]
    for one in able[len(kept) :]:
        why[one.name] = f"among the least like the references: {one.similarity:.2f}"
    told = (LeftOut(name=name, reason=reason) for name, reason in why.items() if reason)
    return kept, tuple(told)


def _doubt(one: Facts, kinds: set[str]) -> str:
    """Why nothing is to be learned from a scan; empty if something is."""
    if one.modality not in kinds:
        return f"{one.modality or 'an unknown kind'}, where the references are {sorted(kinds)[0]}"
    return "" if one.believed else f"no alignment is accepted: {one.similarity:.2f}"


def _judge(job: _Job, one: Facts) -> LabelledScan:
    """A trusted scan with its answer as a reference without a head."""
    part = job.answers.part
    image = torch.from_numpy(job.scans[one.name].read().image)
    label = torch.from_numpy(label_of(job.answers.load(one.name), one))
    return labelled_scan(image, label, part.scans[0].structures, part.config, modality=one.modality)


def _verdict(job: _Job, judges: Sequence[Facts], net: CohortNetwork) -> tuple[Dice, Dice]:
    """Dice of true labels as trusted scans redraw them by alignments, and by what they taught.

    Both know the answers of trusted scans and nothing else; heads, which were tuned on the very
    references, have no part in it.
    """
    part, encoder = job.answers.part, job.answers.encoder
    kept = [_judge(job, one) for one in judges]
    aligned: list[Dice] = []
    learned: list[Dice] = []
    for one in job.truths:
        modality = one.kept.modality
        redrawn = find(kept, one.image, part.config, encoder, modality=modality)
        box = part.find(one.image, encoder, modality=modality).box
        seen = seen_by(net, one.image[box].contiguous(), job.config.window_vox)
        aligned.append(_scored(redrawn.probabilities, redrawn.box, one))
        learned.append(_scored(seen, box, one))
    return _means(aligned), _means(learned)


def _scored(votes: Tensor, box: Box, truth: _Truth) -> Dice:
    """Dice of votes (S, d, h, w) in a box of the scan; None for what the truth does not show."""
    whole = torch.zeros(truth.image.shape, dtype=torch.long)
    whole[box] = labels_of(votes)
    each = dice_of(whole, truth.label, len(votes))
    shown = zip(each, truth.kept.present.tolist(), strict=True)
    return tuple(dice if seen else None for dice, seen in shown)


def _means(rows: Sequence[Dice]) -> Dice:
    columns = [[one for one in column if one is not None] for column in zip(*rows, strict=True)]
    return tuple(round(float(np.mean(column)), 4) if column else None for column in columns)


def _truths(
    part: OneShotPart, references: Sequence[str], scans: Mapping[str, ScanToRead]
) -> list[_Truth]:
    """The scans of the references. Raises `DataError` where one is missing or another one."""
    found = []
    for name, kept in zip(references, part.scans, strict=True):
        image = _image_of(name, kept, scans)
        if image is None:
            raise DataError(
                name,
                found="no scan of this reference of the task among the scans, or another one",
                expected="the scans that the task was made of beside the unlabelled ones: a task "
                "holds no intensities, and the truth about its references decides",
                fix="Give these scans, too.",
            )
        label = np.zeros(kept.features.shape, np.uint8)
        _paste(label, kept.label.numpy(), kept.origin)
        found.append(_Truth(kept, image, torch.from_numpy(label)))
    return found


def _image_of(name: str, kept: LabelledScan, scans: Mapping[str, ScanToRead]) -> Tensor | None:
    """The voxels of a reference; None where it is missing or not the scan it was."""
    if name not in scans:
        return None
    image = torch.from_numpy(scans[name].read().image)
    if tuple(image.shape) != tuple(kept.features.shape):
        return None
    stride = max(kept.features.levels)
    mine = scan_features(image, finest=stride).levels.get(stride)
    old = kept.features.levels[stride].features
    if mine is None or mine.features.shape[1:] != old.shape[1:]:
        return None
    away = (mine.features[: len(old)] - old).abs().mean()
    return image if away < ALIKE + 1 / 12 else None  # features are kept in thirds


def _paste(whole: NDArray[np.uint8], part: NDArray[np.uint8], origin: tuple[int, int, int]) -> None:
    """Write a part at its place, but for the rim of zeros that may lie outside."""
    inner = part[1:-1, 1:-1, 1:-1]
    start = [at + 1 for at in origin]
    where = tuple(slice(at, at + n) for at, n in zip(start, inner.shape, strict=True))
    whole[where] = inner


def _shown(truth: _Truth, answers: Answers) -> Answered:
    """A reference as something to learn from, in the box of its structures."""
    modality = truth.kept.modality
    box = answers.part.find(truth.image, answers.encoder, modality=modality).box
    image, label = truth.image[box].numpy(), truth.label[box].numpy()
    return true_answer(np.ascontiguousarray(image), label, truth.kept.structures)


def _too_few(
    trusted: Sequence[Facts], left_out: Sequence[LeftOut], faults: Sequence[Fault]
) -> DataError:
    why = [f"{one.name}: {one.reason}" for one in left_out]
    why += [f"{one.where}: {one.message}" for one in faults]
    return DataError(
        "adapt",
        found=f"{len(trusted)} unlabelled scans that can be learned from"
        + (f" ({'; '.join(why[:3])})" if why else ""),
        expected=f"at least {FEWEST}, and better 20 or more",
        fix="Give more scans that are like those of the task.",
    )
