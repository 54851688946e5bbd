"""Several stores read as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mass3d.config import differences
from mass3d.errors import StoreError
from mass3d.files import text_hash
from mass3d.store.reader import Store, StoredCase
from mass3d.volume.preparation import PreparationConfig


@dataclass(frozen=True)
class Stores:
    """One or several finished stores of one preparation, with the cases of all of them.

    Of several stores, the id of a case is `<store>/<id>`. `<store>` is the name of the store's
    folder, with as many folders before it as it takes to tell the stores apart. Their order is
    that of their content, so that neither the order they are given in nor the place they lie at
    changes what is trained on them.
    """

    stores: Mapping[str, Store]  # by what stands before the ids of its cases, maybe nothing

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Stores:
        """Open finished stores. Raises `StoreError` when they cannot be read as one."""
        assert paths, "no store"
        opened = sorted((Store.open(path) for path in paths), key=lambda store: store.fingerprint)
        for before, after in pairwise(opened):
            _require_different(before, after)
            _require_same_preparation(opened[0], after)
        if len(opened) == 1:
            return cls({"": opened[0]})
        names = _names([store.path for store in opened])
        return cls({f"{name}/": store for name, store in zip(names, opened, strict=True)})

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Ids of all cases of all stores, in a fixed order."""
        return tuple(
            before + case_id for before, store in self.stores.items() for case_id in store.case_ids
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What each store is called, in their order: as ids of its cases begin, or its folder."""
        return tuple(
            before.removesuffix("/") or store.path.resolve().name
            for before, store in self.stores.items()
        )

    @property
    def preparation(self) -> PreparationConfig:
        """How scans were brought onto the grid; the same in all stores."""
        return next(iter(self.stores.values())).preparation

    @property
    def fingerprint(self) -> str:
        """That of the one store, or a hash over those of all, wherever they lie."""
        fingerprints = [store.fingerprint for store in self.stores.values()]
        return fingerprints[0] if len(fingerprints) == 1 else text_hash(fingerprints)

    def case(self, case_id: str) -> StoredCase:
        """One case by its id here. Raises `StoreError` as the `case` of a single store does."""
        name, slash, own = case_id.rpartition("/")
        before = name + slash
        if before not in self.stores:
            raise StoreError(
                f"case {case_id!r}",
                found="no such store",
                expected=f"an id that begins with one of {', '.join(self.stores)}",
                fix="See `case_ids`.",
            )
        return self.stores[before].case(own, before=before)


def _require_different(one: Store, other: Store) -> None:
    if one.fingerprint == other.fingerprint:
        raise StoreError(
            other.path,
            found=f"the same content as in {one.path}",
            expected="different stores",
            fix="Give each store once.",
        )


def _require_same_preparation(one: Store, other: Store) -> None:
    different = differences(one.preparation.plain(), other.preparation.plain())
    if different:
        name, ours, theirs = different[0]
        raise StoreError(
            other.path,
            found=f"scans prepared with {name} = {theirs}",
            expected=f"{name} = {ours}, as in {one.path}",
            fix="Prepare the scans of one of them anew with the setting of the other.",
        )


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart; with slashes where folders are needed."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names
