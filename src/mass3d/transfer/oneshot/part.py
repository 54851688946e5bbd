"""What a task file holds for alignments: its labelled scans, and what they say about the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mass3d.config import Config
from mass3d.transfer.oneshot.evidence import Evidence, Example, leave_one_out, own_query
from mass3d.transfer.oneshot.packing import ScanFacts, pack, unpack
from mass3d.transfer.oneshot.reference import LabelledScan, labelled_scan, tuned_head
from mass3d.transfer.oneshot.settings import DEFAULT, OneShotConfig
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.transfer.tuning.voxels import Encoder
from mass3d.volume.preparation import Prepared

PREFIX = "scan"  # of the names of tensors in a file

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


@dataclass(frozen=True)
class OneShotPart:
    """Labelled scans of a task, in the order of its references."""

    scans: tuple[LabelledScan, ...]
    evidence: Evidence
    config: OneShotConfig = DEFAULT


def make_part(
    scans: Sequence[Prepared],
    labels: Sequence[NDArray[np.integer]],
    values: Sequence[int],
    tuning: TuningConfig | None,
    *,
    config: OneShotConfig = DEFAULT,
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
        kept = labelled_scan(image, shown, len(values), config, modality=scan.modality)
        if tuning is not None:
            head = tuned_head(image, shown, len(values), tuning, encoder=encoder)
            kept = replace(kept, head=head)
        # what is asked for evidence is what the file will hold
        examples.append(Example(image, shown, unpack(*pack(kept))))
    if len(examples) > 1:
        examples, evidence = leave_one_out(examples, config, encoder)
    else:
        evidence = Evidence(own_query(examples, config, encoder))
    return OneShotPart(tuple(one.kept for one in examples), evidence, config)


def pack_part(part: OneShotPart) -> tuple[dict[str, Tensor], PartFacts]:
    """Named tensors and facts for a file."""
    tensors: dict[str, Tensor] = {}
    facts = []
    for number, scan in enumerate(part.scans):
        packed, told = pack(scan)
        tensors |= {f"{PREFIX}.{number}.{name}": tensor for name, tensor in packed.items()}
        facts.append(told)
    evidence = EvidenceFacts(**asdict(part.evidence))
    return tensors, PartFacts(config=part.config, scans=tuple(facts), evidence=evidence)


def unpack_part(tensors: Mapping[str, Tensor], facts: PartFacts) -> OneShotPart:
    """The inverse of `pack_part`, of the tensors whose names begin with its prefix.

    Raises `ValueError` for what it did not write.
    """
    scans = []
    for number, told in enumerate(facts.scans):
        start = f"{PREFIX}.{number}."
        mine = {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
        scans.append(unpack(mine, told))
    evidence = facts.evidence
    said = Evidence(evidence.itself, evidence.others, evidence.affine)
    return OneShotPart(tuple(scans), said, facts.config)
