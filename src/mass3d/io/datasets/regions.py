"""Structures as label maps have them: a value each, or regions of several values, larger first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mass3d.config import Regions
from mass3d.errors import ConfigError
from mass3d.io.colours import Colour, value_colours
from mass3d.io.formats.label_table import LabelName

Members = tuple[int, ...]


@dataclass(frozen=True)
class Targets:
    """What is looked for. Any two regions are nested or disjoint, so that one label map shows all.

    A region that others lie in is written first, with a value of its own that these lack.
    """

    values: dict[str, int]  # structure -> value that it is written with
    regions: dict[str, Members] = field(default_factory=dict)  # all of its values; none: that one
    chosen: Mapping[str, Colour] = field(default_factory=dict)  # colours, by name

    @property
    def members(self) -> dict[str, Members]:
        """All values of each structure."""
        return self.regions or {name: (value,) for name, value in self.values.items()}

    @property
    def classes(self) -> tuple[Members, ...]:
        """What is told apart: of structures without regions each, else values of the same regions.

        The n-th has the number n + 1.
        """
        if not self.regions:
            return tuple(self.members.values())
        alike: dict[tuple[bool, ...], list[int]] = {}
        for value in sorted({value for some in self.regions.values() for value in some}):
            where = tuple(value in some for some in self.regions.values())
            alike.setdefault(where, []).append(value)
        return tuple(map(tuple, alike.values()))

    @property
    def table(self) -> NDArray[np.bool_]:
        """Which classes are part of which structures: (S, C)."""
        rows = [[one[0] in some for one in self.classes] for some in self.members.values()]
        return np.array(rows, bool)

    @property
    def by_value(self) -> dict[int, Members]:
        """All values of each region, by the value that it is written with; none without regions."""
        return {self.values[name]: some for name, some in self.regions.items()}

    @property
    def colours(self) -> dict[int, Colour]:
        """Label value -> colour: the chosen one, else that of the value."""
        usual = value_colours(self.values.values())
        return usual | {self.values[name]: colour for name, colour in self.chosen.items()}

    @property
    def header(self) -> list[LabelName]:
        """Name and colour of a voxel of each value: of a region without those that lie in it."""
        inner = {
            name
            for name, some in self.regions.items()
            for other in self.regions.values()
            if set(other) < set(some)
        }
        colours = self.colours
        return [
            LabelName(value, f"{name}, the rest" if name in inner else name, colours[value])
            for name, value in self.values.items()
        ]

    def plain(self) -> dict[str, int] | dict[str, list[int]]:
        """As the setting `structures` has it, for records."""
        if not self.regions:
            return dict(self.values)
        return {name: list(some) for name, some in self.regions.items()}


def require_no_regions(targets: Targets, setting: str) -> None:
    """Raise `ConfigError` for regions, which what is shown by examples alone does not know."""
    if targets.regions:
        raise ConfigError(
            setting,
            found=f"regions of several values ({', '.join(targets.regions)})",
            expected="structures of one value each",
            fix="Leave this setting out, or take a dataset whose labels have one value each.",
            setting=setting,
        )


def targets_of(structures: Regions) -> Targets:
    """Of the setting; a region is written with the lowest value that no region within it has.

    Raises `ConfigError` for regions that one label map cannot show.
    """
    assert structures is not None, "what was given"
    plain = {name: value for name, value in structures.items() if isinstance(value, int)}
    if len(plain) == len(structures):
        return Targets(plain)
    members = {n: (some,) if isinstance(some, int) else some for n, some in structures.items()}
    try:
        return written({}, members)
    except ValueError as error:
        raise ConfigError(
            "structures",
            found=str(error),
            expected="regions of which any two are nested or have no value in common, and each has "
            "a value that no region within it has",
            fix="Correct the values of the regions.",
            setting="structures",
        ) from error


def written(values: Mapping[str, int], members: Mapping[str, Members]) -> Targets:
    """Regions with the values they are written with, as given or as `targets_of` chooses them.

    Raises `ValueError` where one label map cannot show them, or a value is not a region's own.
    """
    ordered = dict(sorted(members.items(), key=lambda item: -len(set(item[1]))))
    names = list(ordered)
    chosen: dict[str, int] = {}
    for at, name in enumerate(names):
        own = set(ordered[name])
        for later in names[at + 1 :]:
            inner = set(ordered[later])
            if inner == set(ordered[name]) or inner & set(ordered[name]) not in (set(), inner):
                raise ValueError(f"{name} and {later} overlap, and neither lies within the other")
            own -= inner
        if not own:
            raise ValueError(f"all of {name} is in regions within it")
        chosen[name] = values.get(name, min(own))
        if chosen[name] not in own:
            raise ValueError(f"{name} is written as {chosen[name]}, which is not its own value")
    return Targets(chosen, ordered)
