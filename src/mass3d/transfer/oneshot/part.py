"""What a task file holds for alignments: its labelled scans, and what they say about the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from mass3d.config import Config
from mass3d.transfer.adaptation.learned import (
    Cohort,
    CohortFacts,
    answer,
    pack_cohort,
    unpack_cohort,
)
from mass3d.transfer.oneshot.carrying import Found, find
from mass3d.transfer.oneshot.evidence import Evidence, Example, leave_one_out, own_query
from mass3d.transfer.oneshot.packing import (
    HeadFacts,
    ScanFacts,
    head_facts,
    pack,
    pack_head,
    unpack,
    unpack_head,
)
from mass3d.transfer.oneshot.reference import LabelledScan, labelled_scan, tuned_head
from mass3d.transfer.oneshot.settings import DEFAULT, OneShotConfig
from mass3d.transfer.oneshot.together import improved, tune_together
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.transfer.tuning.tune import TunedHead
from mass3d.transfer.tuning.voxels import Encoder
from mass3d.volume.preparation import Prepared

PREFIX = "scan"  # of the names of tensors in a file
COHORT = f"{PREFIX}.cohort."  # likewise of those of a cohort
TOGETHER = f"{PREFIX}.together."  # and of the head of all references

Dice = tuple[float | None, ...]


class EvidenceFacts(Config):
    """Dice of the structures, as `Evidence` has it."""

    itself: Dice
    others: Dice = ()
    affine: Dice = ()


class PartFacts(Config):
    """What a task file says of this part beside its tensors."""

    config: OneShotConfig
    scans: tuple[ScanFacts, ...]
    evidence: EvidenceFacts
    cohort: CohortFacts | None = Field(default=None, exclude_if=lambda value: value is None)
    together: HeadFacts | None = Field(default=None, exclude_if=lambda value: value is None)


@dataclass(frozen=True)
class OneShotPart:
    """Labelled scans of a task, in the order of its references."""

    scans: tuple[LabelledScan, ...]
    evidence: Evidence
    config: OneShotConfig = DEFAULT
    cohort: Cohort | None = None  # what unlabelled scans have taught, if the task was adapted
    together: TunedHead | None = None  # of several references, all of one modality

    def find(self, image: Tensor, encoder: Encoder | None = None, *, modality: str = "") -> Found:
        """The structures in an image (D, H, W)."""
        found = find(self.scans, image, self.config, encoder, modality=modality)
        if self.together is not None and all(one.modality == modality for one in self.scans):
            found = improved(found, self.together, image, encoder)
        return answer(found, self.cohort, image, modality=modality)


def make_part(
    scans: Sequence[Prepared],
    labels: Sequence[NDArray[np.integer]],
    values: Sequence[int],
    tuning: TuningConfig | None,
    *,
    encoder: Encoder | None = None,
) -> OneShotPart:
    """The part of a task of R prepared scans and their labels (D, H, W) with S label values.

    `tuning`: how a head is tuned on each of them; None for none.
    """
    numbers = np.zeros(max(values) + 1, np.uint8)
    numbers[list(values)] = np.arange(1, len(values) + 1)
    examples = []
    for scan, label in zip(scans, labels, strict=True):
        wanted = np.where(label < len(numbers), label, 0)
        image, shown = torch.from_numpy(scan.image), torch.from_numpy(numbers[wanted])
        kept = labelled_scan(image, shown, len(values), DEFAULT, modality=scan.modality)
        if tuning is not None:
            head = tuned_head(image, shown, len(values), tuning, encoder=encoder)
            kept = replace(kept, head=head)
        # what is asked for evidence is what the file will hold
        examples.append(Example(image, shown, unpack(*pack(kept))))
    if len(examples) == 1:
        evidence = Evidence(own_query(examples, DEFAULT, encoder))
        return OneShotPart((examples[0].kept,), evidence, DEFAULT)
    seed = 0 if tuning is None else tuning.seed
    examples, evidence, views = leave_one_out(examples, DEFAULT, encoder, seed=seed)
    part = OneShotPart(tuple(one.kept for one in examples), evidence, DEFAULT)
    if tuning is None or len({one.modality for one in part.scans}) > 1:
        return part
    together = tune_together(views, tuning, encoder)
    return part if together is None else with_head(part, together)


def with_head(part: OneShotPart, together: TunedHead) -> OneShotPart:
    """The part with a head of all its references, and the evidence for it."""
    gains = zip(together.used.tolist(), together.carried_dice, together.tuned_dice, strict=True)
    others = tuple(
        None if dice is None else dice + (after - before) * used
        for dice, (used, before, after) in zip(part.evidence.others, gains, strict=True)
    )
    # what is asked for evidence is what the file will hold
    kept = unpack_head(pack_head(together), part.scans[0].structures, head_facts(together))
    return replace(part, together=kept, evidence=replace(part.evidence, others=others))


def pack_part(part: OneShotPart) -> tuple[dict[str, Tensor], PartFacts]:
    """Named tensors and facts for a file."""
    tensors: dict[str, Tensor] = {}
    facts = []
    for number, scan in enumerate(part.scans):
        packed, told = pack(scan)
        tensors |= {f"{PREFIX}.{number}.{name}": tensor for name, tensor in packed.items()}
        facts.append(told)
    evidence = EvidenceFacts(**asdict(part.evidence))
    said = PartFacts(config=part.config, scans=tuple(facts), evidence=evidence)
    if part.together is not None:
        tensors |= {f"{TOGETHER}{name}": t for name, t in pack_head(part.together).items()}
        said = said.model_copy(update={"together": head_facts(part.together)})
    if part.cohort is not None:
        packed, cohort = pack_cohort(part.cohort)
        tensors |= {f"{COHORT}{name}": tensor for name, tensor in packed.items()}
        said = said.model_copy(update={"cohort": cohort})
    return tensors, said


def unpack_part(tensors: Mapping[str, Tensor], facts: PartFacts) -> OneShotPart:
    """The inverse of `pack_part`, of the tensors whose names begin with its prefix.

    Raises `ValueError` for what it did not write.
    """
    scans = []
    for number, told in enumerate(facts.scans):
        scans.append(unpack(_named(tensors, f"{PREFIX}.{number}."), told))
    evidence = facts.evidence
    said = Evidence(evidence.itself, evidence.others, evidence.affine)
    structures = facts.scans[0].structures if facts.scans else 0
    cohort = together = None
    if facts.cohort is not None:
        cohort = unpack_cohort(_named(tensors, COHORT), facts.cohort, structures)
    if facts.together is not None:
        together = unpack_head(_named(tensors, TOGETHER), structures, facts.together)
    return OneShotPart(tuple(scans), said, facts.config, cohort, together)


def _named(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """Those whose names begin so, by what follows."""
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
