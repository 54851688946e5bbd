"""How often scans are drawn, so that a small store is not drowned by a large one.

Which case a sample shows stays a function of the seed and of its position in the run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mass3d.config import Config
from mass3d.errors import ConfigError
from mass3d.store.reader import StoredCase
from mass3d.store.several import Stores
from mass3d.volume.volume import Modality

ROUND: Final = 1000  # samples within which every part has exactly its share
ORDER, PASS = 8, 9  # purposes of random streams

Weight = Annotated[float, Field(ge=0, le=1e6)]


class DrawConfig(Config):
    """How often scans are drawn. A store without weights, alone, shows each as often."""

    alpha: float = Field(default=0.5, ge=0, le=1)
    """A store of n scans is sampled in proportion to n to this power: with 1 all scans equally
    often, with 0 all stores."""
    stores: dict[str, Weight] | None = Field(default=None, examples=[{"brains": 2.0}])
    """Sampling factors of stores, by name (the last part of the path) or path; default 1; 0: none
    of its scans."""
    modalities: dict[Modality, Weight] | None = Field(default=None, examples=[{"mr": 2.0}])
    """Sampling factors of modalities: `ct`, `mr` or `pet`."""


@dataclass(frozen=True)
class Part:
    """The scans of one modality in one store."""

    store: str  # what it is called
    number: int  # of the store among all, from 1
    modality: str
    cases: NDArray[np.int64] = field(repr=False)  # numbers among all cases
    share: float  # of all draws

    def plain(self) -> dict[str, Any]:
        """For records."""
        return {
            "store": self.store,
            "modality": self.modality,
            "scans": len(self.cases),
            "share": round(self.share, 6),
        }


@dataclass(frozen=True)
class Balance:
    """Shares of parts; each part is gone through in shuffled passes over its scans."""

    parts: tuple[Part, ...]  # those that are drawn
    quotas: tuple[int, ...]  # samples of each in a round

    def number(self, seed: int, position: int) -> int:
        """Which case the sample at `position` (of the whole run) shows."""
        turn, at = divmod(position, ROUND)
        slots = np.repeat(np.arange(len(self.parts)), self.quotas)
        order = np.random.default_rng((seed, ORDER, turn)).permutation(slots)
        part = int(order[at])
        before = turn * self.quotas[part] + int(np.count_nonzero(order[:at] == part))
        cases = self.parts[part].cases
        passes, place = divmod(before, len(cases))
        shuffled = np.random.default_rng((seed, PASS, part, passes)).permutation(cases)
        return int(shuffled[place])

    def of_cases(self, num_cases: int) -> NDArray[np.float64]:
        """The share of each of all cases; they add up to 1."""
        shares = np.zeros(num_cases)
        for part in self.parts:
            shares[part.cases] = part.share / len(part.cases)
        return shares

    def plain(self) -> dict[str, int]:
        """What decides the draws, whatever stores are called."""
        return {
            f"{part.modality} of store {part.number}": quota
            for part, quota in zip(self.parts, self.quotas, strict=True)
        }

    def in_words(self) -> str:
        """A sentence."""
        parts = ", ".join(
            f"{part.share:.1%} of the draws from {len(part.cases)} {part.modality} of {part.store}"
            for part in self.parts
        )
        return f"Balanced: {parts}."


def balance_of(stores: Stores, cases: Sequence[StoredCase], config: DrawConfig) -> Balance | None:
    """The shares of all cases of some stores; None where each case is drawn as often.

    A case counts as much as its store of n cases, n^(alpha - 1), times the weights of its store
    and its modality. Raises `ConfigError` for a weight of no store or modality that is there,
    for two weights of one store, and where no case is left to be drawn.
    """
    by_store = _by_store(stores, config.stores or {})
    by_modality = {str(name): weight for name, weight in (config.modalities or {}).items()}
    _require_there(by_modality, {case.modality for case in cases})
    members: dict[tuple[int, str], list[int]] = {}
    sizes = [len(store.case_ids) for store in stores.stores.values()]
    owners = np.repeat(np.arange(len(sizes)), sizes).tolist()
    for number, (owner, case) in enumerate(zip(owners, cases, strict=True)):
        members.setdefault((owner, case.modality), []).append(number)
    weights = {
        (owner, modality): sizes[owner] ** (config.alpha - 1)
        * by_store[owner]
        * by_modality.get(modality, 1.0)
        for owner, modality in members
    }
    total = sum(weights[key] * len(found) for key, found in members.items())
    if not total:
        raise ConfigError(
            "draws",
            found="weights that leave no scan to be drawn",
            expected="a store and a modality with a weight above 0",
            fix="Raise one of the weights.",
            setting="draws.stores",
        )
    if len(set(weights.values())) == 1:
        return None
    parts = tuple(
        Part(stores.names[owner], owner + 1, modality, np.array(found), weight * len(found) / total)
        for ((owner, modality), found), weight in zip(
            members.items(), weights.values(), strict=True
        )
        if weight
    )
    return Balance(parts, quotas_of([part.share for part in parts]))


def quotas_of(shares: Sequence[float]) -> tuple[int, ...]:
    """Whole numbers of a round in proportion to shares that add up to 1, at least 1 each."""
    exact = np.array(shares) * ROUND
    quotas = np.maximum(np.floor(exact), 1).astype(int)
    while quotas.sum() < ROUND:
        quotas[np.argmax(exact - quotas)] += 1
    while quotas.sum() > ROUND:  # many parts of next to nothing
        quotas[np.argmax(quotas)] -= 1
    return tuple(int(quota) for quota in quotas)


def _by_store(stores: Stores, given: Mapping[str, float]) -> list[float]:
    """The weight of every store, in their order."""
    paths = [store.path.resolve() for store in stores.stores.values()]
    weights: dict[int, float] = {}
    for key, weight in given.items():
        places = enumerate(zip(stores.names, paths, strict=True))
        owner = next(
            (i for i, (name, at) in places if key == name or Path(key).resolve() == at), None
        )
        if owner is None or owner in weights:
            raise ConfigError(
                f"setting 'draws.stores.{key}'",
                found="a weight of no store that is read"
                if owner is None
                else "a second weight of a store",
                expected=f"at most one for each of {', '.join(stores.names)}",
                fix="Name the store by its folder.",
                setting="draws.stores",
            )
        weights[owner] = weight
    return [weights.get(owner, 1.0) for owner in range(len(paths))]


def _require_there(given: Mapping[str, float], found: Collection[str]) -> None:
    for modality in given:
        if modality not in found:
            raise ConfigError(
                f"setting 'draws.modalities.{modality}'",
                found="a weight of a modality that no scan has",
                expected=f"one of {', '.join(sorted(found))}",
                fix="Leave it out, or look which modality the scans were taken for.",
                setting="draws.modalities",
            )
