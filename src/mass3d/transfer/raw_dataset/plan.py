"""Which cases become part of a raw dataset, and with which label."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mass3d.errors import ConfigError
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import earlier_record
from mass3d.execution.summary import counted
from mass3d.io.datasets.cohort import CaseFile, find_cohort
from mass3d.io.datasets.dataset_json import IGNORE
from mass3d.io.datasets.regions import Targets
from mass3d.io.datasets.source import source_hash
from mass3d.transfer.raw_dataset.settings import Kind, RawConfig
from mass3d.transfer.raw_dataset.true_labels import Behind, GivenMaps, given_maps, labelled_behind
from mass3d.transfer.results import Entry, Index, read_results, structures_of_results
from mass3d.views.labelled import UNKNOWN

NAME: Final = re.compile(r"Dataset\d{3}_.+")  # as nnU-Net looks for it
BACKGROUND: Final = "background"


@dataclass(frozen=True)
class Results:
    """A folder of results."""

    folder: Path
    index: Index
    targets: Targets

    @property
    def values(self) -> NDArray[np.uint8]:
        """Label value -> number of its class, UNKNOWN for one that no structure has."""
        table = np.full(2**16, UNKNOWN, np.uint8)
        table[0] = 0
        for number, some in enumerate(self.targets.classes, start=1):
            table[list(some)] = number
        return table


def open_results(folder: Path) -> Results:
    """What `segment` has written. Raises `ConfigError` for other folders, `DataError`."""
    targets = structures_of_results(folder)
    if earlier_record(folder).get("verb") != "segment" or targets is None:
        raise ConfigError(
            folder,
            found="no results of mass3d segment",
            expected="the folder that it wrote",
            fix="Segment the scans first, or check the path.",
            setting="model",
        )
    if earlier_record(folder).get("channels"):
        raise ConfigError(
            folder,
            found="results of a model that sees channels of a case",
            expected="results of single scans, of which a raw dataset is made here",
            fix="Put the label maps into labelsTr of the dataset that holds the channels.",
            setting="model",
        )
    reserved = {BACKGROUND, IGNORE} & targets.values.keys()
    if reserved:
        raise ConfigError(
            folder,
            found=f"a structure called {min(reserved)!r}, a word that nnU-Net has for itself",
            expected="other names",
            fix="Make the task again with another name of the structure.",
            setting="structures",
        )
    return Results(folder, read_results(folder), targets)


def require_name(output: Path) -> None:
    """Raise `ConfigError` unless nnU-Net finds a dataset in a folder of this name."""
    name = output.absolute().name
    if not NAME.fullmatch(name):
        raise ConfigError(
            "output",
            found=f"a folder called {name}",
            expected="Dataset, three digits and a name, as nnU-Net wants it",
            fix=f"Call it Dataset501_{name}.",
            setting="output",
        )


@dataclass(frozen=True)
class Item:
    """A case that is wanted."""

    case: CaseFile  # with its label, where that is a true one
    entry: Entry | None = None  # what was found
    chosen: bool = False  # whether other values of a true label are meant to be background

    @property
    def kind(self) -> Kind:
        """Of its label."""
        return "found" if self.case.label is None else "true"


@dataclass(frozen=True)
class Plan:
    """What the dataset will have."""

    items: dict[str, Item]
    left_out: dict[str, float | None]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def plan_of(results: Results, config: RawConfig, *, output: Path) -> Plan:
    """Which cases become part of the dataset, and with which label.

    Raises `ConfigError` where the scans are not where they were, no true label map is called as a
    case, or one reference was asked and agreement is; `DataError` for folders without scans.
    """
    scans = {case.case_id: case for case in _scans(results, config, output)}
    behind = labelled_behind(results.folder, results.index.task)
    done = {name: entry for name, entry in results.index.cases.items() if entry.result}
    found = {name: Item(scans[name], entry) for name, entry in done.items() if name in scans}
    items = _with_references(found, behind)
    given = given_maps(config.true_labels, items)
    items = _with_maps(items, given)
    left = _left_out(results, items, config.min_agreement)
    lost = "no scan of this name is among those that were given"
    unfinished = len(results.index.cases) - len(done)
    more = [f"{counted(unfinished, 'scan')} are not segmented to the end"] if unfinished else []
    return Plan(
        {name: items[name] for name in sorted(items) if name not in left},
        left,
        tuple(Fault(name, lost) for name in sorted(done.keys() - scans.keys())),
        (*behind.notes, *given.notes, *more),
    )


def _scans(results: Results, config: RawConfig, output: Path) -> tuple[CaseFile, ...]:
    before = earlier_record(results.folder).get("config", {}).get("inputs", [])
    paths = [*config.scans] or [Path(one) for one in before]
    gone = [path for path in paths if not path.exists()]
    if gone or not paths:
        raise ConfigError(
            "scans",
            found=f"nothing at {gone[0]}" if gone else "no word of where they are",
            expected="the scans that were segmented",
            fix="Say where they are now.",
            setting="raw.scans",
        )
    cases = find_cohort(paths, exclude=output).cases
    return tuple(
        replace(case, label=None) for case in cases
    )  # what lies beside a scan is not asked


def _with_references(found: dict[str, Item], behind: Behind) -> dict[str, Item]:
    """What was found, and the true labels of references in its place or beside it."""
    items = dict(found)
    names = {item.entry.source: name for name, item in found.items() if item.entry}
    for case in behind.cases:
        # two references may be files of one name; the same scan twice is one case
        name = names.setdefault(source_hash(case), _free(case.case_id, items))
        item = items.get(name, Item(case))
        items[name] = replace(item, case=replace(case, case_id=name), chosen=behind.chosen)
    return items


def _with_maps(items: dict[str, Item], given: GivenMaps) -> dict[str, Item]:
    """The cases, with the given label maps in the place of whatever label they had."""
    changed = {
        name: replace(items[name], case=replace(items[name].case, label=label), chosen=False)
        for name, label in given.labels.items()
    }
    return {**items, **changed}


def _free(name: str, taken: Container[str]) -> str:
    """The name, or one that begins with it where that is taken."""
    numbered = (f"{name}-reference-{number}" for number in count(2))
    return next(one for one in chain([name, f"{name}-reference"], numbered) if one not in taken)


def _left_out(
    results: Results, items: Mapping[str, Item], least: float | None
) -> dict[str, float | None]:
    """Cases without a true label on which references agree too little, worst first."""
    if least is None:
        return {}
    if not any(entry.agreement for entry in results.index.cases.values()):
        raise ConfigError(
            results.folder,
            found="results that say nothing of agreement",
            expected="those of a task of several references",
            fix="Leave min_agreement out, or segment with several references.",
            setting="raw.min_agreement",
        )
    agreed = {
        name: fmean(item.entry.agreement.values()) if item.entry.agreement else None
        for name, item in items.items()
        if item.kind == "found" and item.entry
    }
    bad = {name: one for name, one in agreed.items() if one is None or one < least}
    return dict(sorted(bad.items(), key=lambda pair: (pair[1] or 0.0, pair[0])))
