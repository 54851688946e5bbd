"""Which label files belong to which scan, by their names and folders alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mass3d.io.datasets.bids import BidsName, bids_name, scans_of_label
from mass3d.io.datasets.dataset_json import find_dataset_json
from mass3d.io.datasets.layouts import IMAGES, LABELS, ImageFile, LabelFiles
from mass3d.io.names import CHANNEL, LABEL, LABEL_FIRST, case_id_of, stem_of

MASKS: Final = ("mask", "masks", "segmentation", "segmentations")  # of one scan beside them
PROBABILITIES: Final = "probseg"
BETWEEN: Final = ("-", "_", ".", " ")  # the name of a patient and of one of several scans

Scans = Mapping[str, ImageFile]  # case -> its file, or the folder or archive of its series


@dataclass(frozen=True)
class Pairing:
    """The labels of scans, and the label files that are of none."""

    labels: Mapping[str, LabelFiles]  # by case
    unpaired: Mapping[Path, str]  # file -> the reason


def pair_labels(files: Iterable[ImageFile], scans: Scans) -> Pairing:
    """Give every scan the label that its layout says; no file is opened.

    A label map is called like its scan, in a folder for labels in place of the one for images, or
    beside it with an ending such as `_seg`; in BIDS the entities tell. Masks of one structure each
    are in a folder called like the scan, or in `masks` or `segmentations` beside a lone scan.
    """
    index = _Index(scans)
    found: dict[str, list[_Match]] = defaultdict(list)
    unpaired: dict[Path, str] = {}
    for file in sorted(files, key=lambda file: file.path):
        match = index.match(file)
        for case_id in match.cases:
            found[case_id].append(match)
        if not match.cases:
            unpaired[file.path] = "a label of no scan that was found"
    labels = {case_id: _label_files(matches) for case_id, matches in sorted(found.items())}
    used = {path for label in labels.values() for path in label.paths}
    further = {match.path for matches in found.values() for match in matches} - used
    unpaired |= dict.fromkeys(further, "a further label of a scan that has one")
    return Pairing(labels, unpaired)


@dataclass(frozen=True)
class _Match:
    path: Path
    cases: tuple[str, ...] = ()
    structure: str = ""  # of a mask; empty for a label map


class _Index:
    """Where scans are, in the terms in which labels name them.

    The place of a file is its path without folders such as imagesTr or labelsTr: scan and label
    of one case have the same place.
    """

    def __init__(self, scans: Scans) -> None:
        self.at: dict[Path, list[str]] = defaultdict(list)  # place -> cases
        self.within: dict[Path, list[tuple[str, str]]] = defaultdict(list)  # place -> name, case
        self.in_folder: dict[Path, list[str]] = defaultdict(list)  # folder on disk -> cases
        self.of_bids: dict[object, list[tuple[BidsName, str]]] = defaultdict(list)
        sources = Counter(file.path for file in scans.values())
        for case_id, file in scans.items():
            if sources[file.path] > 1:
                continue  # several series: nothing says which of them a label is of
            place = _place(file)
            names = dict.fromkeys((place.name, case_id_of(file.path)))
            if (channel := CHANNEL.fullmatch(place.name)) is not None:
                names[channel["case"]] = None
            for name in names:
                self.at[place.parent / name].append(case_id)
            self.within[place.parent].append((place.name, case_id))
            self.in_folder[file.path.absolute().parent].append(case_id)
            if file.path.is_dir():
                self.within[place].append(("", case_id))
            bids = bids_name(file.path)
            if bids is not None:
                self.of_bids[bids.source].append((bids, case_id))

    def match(self, label: ImageFile) -> _Match:
        """The scans that a label is of: several where one case has several channels."""
        bids = bids_name(label.path)
        if bids is not None:
            return self._bids_match(label, bids)
        place = _place(label)
        ending = LABEL.fullmatch(place.name)
        scan = (ending["scan"] or "") if ending else place.name
        first = LABEL_FIRST.fullmatch(place.name)
        others = (first["scan"], f"volume-{first['scan']}") if first else ()  # the latter of LiTS
        for name in (place.name, case_id_of(label.path), *filter(None, [scan]), *others):
            if cases := self.at.get(place.parent / name):
                return _Match(label.path, tuple(cases))
        if ending and (cases := self._beside(place.parent, scan)):
            return _Match(label.path, tuple(cases))
        if cases := self.at.get(place.parent):
            return _Match(label.path, tuple(cases), scan if scan != place.parent.name else "")
        return _Match(label.path, self._lone_beside(label), scan or place.name)

    def _bids_match(self, label: ImageFile, bids: BidsName) -> _Match:
        if bids.suffix == PROBABILITIES:
            return _Match(label.path)
        scans = self.of_bids.get(bids.source, [])
        chosen = scans_of_label(bids, [scan for scan, _ in scans])
        cases = tuple(case_id for scan, case_id in scans if scan in chosen)
        return _Match(label.path, cases, bids.structure if bids.suffix == "mask" else "")

    def _beside(self, folder: Path, start: str) -> list[str]:
        """The scans of a folder whose names go on after `start`; all of them if that is empty."""
        starts = tuple(start + sign for sign in BETWEEN) if start else ("",)
        return [case_id for name, case_id in self.within.get(folder, []) if name.startswith(starts)]

    def _lone_beside(self, label: ImageFile) -> tuple[str, ...]:
        """The scan that is alone in the folder in which a folder of masks lies."""
        folder = label.path.absolute().parent
        if folder.name.lower() not in MASKS:
            return ()
        cases = self.in_folder.get(folder.parent, [])
        return tuple(cases) if len(cases) == 1 else ()


def _place(file: ImageFile) -> Path:
    top = file.root.absolute().parent
    *folders, _ = file.path.absolute().relative_to(top).parts
    kept = [name for name in folders if not (IMAGES.fullmatch(name) or LABELS.fullmatch(name))]
    return top.joinpath(*kept, stem_of(file.path))


def _label_files(matches: list[_Match]) -> LabelFiles:
    """The first label map; where there is none, one mask for each structure."""
    maps = [match.path for match in matches if not match.structure]
    masks: dict[str, Path] = {}
    for match in matches:
        if match.structure:
            masks.setdefault(match.structure, match.path)
    if maps:
        return LabelFiles((maps[0],), table=find_dataset_json(maps[0].parent))
    return LabelFiles(tuple(masks.values()), tuple(masks))
