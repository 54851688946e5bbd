"""What a cohort taught a task: a network, where it is used, and which scans it learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import torch
from pydantic import Field, StringConstraints
from torch import Tensor

from mass3d.config import Config
from mass3d.transfer.adaptation.network import CohortNetwork, seen_by
from mass3d.transfer.adaptation.settings import Widths
from mass3d.transfer.oneshot.carrying import Found

Name = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Dice = tuple[float | None, ...]


class Trusted(Config):
    """An unlabelled scan that was learned from."""

    name: Name
    similarity: float
    """To the reference that is most like it."""


class LeftOut(Config):
    """An unlabelled scan that was not learned from."""

    name: Name
    reason: str = Field(max_length=1000)


class CohortFacts(Config):
    """What a task file says of a cohort beside tensors."""

    channels: Widths
    window_vox: int = Field(ge=8, le=256)
    modalities: tuple[str, ...]
    """Of the scans that were learned from; the network is used for no others."""
    trusted: tuple[Trusted, ...]
    left_out: tuple[LeftOut, ...] = ()
    aligned: Dice
    """Dice of the references' true labels, redrawn by alignments of trusted scans."""
    learned: Dice
    """Likewise redrawn by the network, which saw neither references nor true labels."""


@dataclass(frozen=True)
class Cohort:
    """A network that learned answers on unlabelled scans."""

    net: CohortNetwork = field(repr=False)
    used: Tensor  # (S,) bool: it redraws the references better than alignments do
    facts: CohortFacts


def answer(found: Found, cohort: Cohort | None, image: Tensor, *, modality: str = "") -> Found:
    """What was found in an image (D, H, W), averaged with what the cohort's network sees."""
    if cohort is None or modality not in cohort.facts.modalities:
        return found
    used = cohort.used & found.voting.any(0)
    if not used.any():
        return found
    seen = seen_by(cohort.net, image[found.box].contiguous(), cohort.facts.window_vox)
    mean = found.probabilities
    return replace(found, adapted=torch.where(used[:, None, None, None], (mean + seen) / 2, mean))


def pack_cohort(cohort: Cohort) -> tuple[dict[str, Tensor], CohortFacts]:
    """Tensors by name and facts for a file."""
    tensors = {f"net.{name}": t.half() for name, t in cohort.net.state_dict().items()}
    return tensors | {"used": cohort.used}, cohort.facts


def unpack_cohort(tensors: Mapping[str, Tensor], facts: CohortFacts, structures: int) -> Cohort:
    """The inverse of `pack_cohort`. Raises `ValueError` for what it did not write."""
    net = CohortNetwork(structures, facts.channels)
    wanted = net.state_dict()
    if tensors.keys() != {"used", *(f"net.{name}" for name in wanted)}:
        raise ValueError("other tensors than a cohort's network has")
    state = {name: tensors[f"net.{name}"].float() for name in wanted}
    used = tensors["used"]
    shapes = all(state[name].shape == wanted[name].shape for name in wanted)
    if not shapes or used.shape != (structures,) or used.dtype != torch.bool:
        raise ValueError("a network of another shape")
    if facts.window_vox % net.stride:
        raise ValueError("windows that the network cannot see")
    net.load_state_dict(state)
    return Cohort(net.eval().requires_grad_(False), used, facts)
