"""The list of results in a folder of label maps: what each was made of, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from mass3d.config import Config, Regions
from mass3d.errors import ConfigError, DataError
from mass3d.execution.ownership import earlier_record, read_list, require_same_settings
from mass3d.execution.summary import counted
from mass3d.files import csv_text, file_hash, write_json, write_text
from mass3d.io.datasets.regions import Targets, targets_of
from mass3d.io.read import read_label
from mass3d.volume.volume import Volume

CASES: Final = "cases.json"
VOLUMES: Final = "volumes.csv"
COLUMNS: Final = ("case", "structure", "ml", "agreement", "expected_dice")
PICTURES: Final = "pictures"
NAMED: Final[TypeAdapter[Regions]] = TypeAdapter(Regions)


class Entry(Config):
    """What is known of one segmented scan."""

    source: str
    """SHA-256 of the scan."""
    named: str | None = None
    """The modality that names of its file and folders say, if any; not known where an earlier
    version wrote this."""
    result: str = ""
    """SHA-256 of the label map; empty while it is being written."""
    prior: str = ""
    """SHA-256 of the label map that was given for it, if any."""
    volumes_ml: dict[str, float] = Field(default_factory=dict)
    """Structure -> millilitres."""
    method: str = ""
    """How it was segmented: `network`, `alignment`, `prior`, `finetuned`, or `both` of `alignment`
    and `finetuned`."""
    similarity: tuple[float, ...] = ()
    """Of each aligned reference."""
    agreement: dict[str, float] = Field(default_factory=dict)
    """Structure -> mean Dice between what any two references say; only where two vote."""
    expected_dice: dict[str, float] = Field(default_factory=dict)
    """Structure that was found -> Dice, were the probabilities right: too high, but it ranks."""
    references: tuple[str, ...] = ()
    """Those that were asked, the nearest; empty where all were."""
    doubts: tuple[str, ...] = ()
    """What cannot be right about the scan."""
    odd_volumes: tuple[str, ...] = ()
    """Structures whose volume is far from that in all references."""
    maps: dict[str, str] = Field(default_factory=dict)
    """Files of maps beside the label map -> SHA-256 of each."""

    @property
    def without_references(self) -> bool:
        """Whether a network answered alone, as no reference was aligned."""
        return self.method in ("network", "finetuned")

    def unusual(self) -> Iterator[str]:
        """A sentence for every structure of an odd volume; what was not found is told elsewhere."""
        for name in self.odd_volumes:
            if self.volumes_ml[name]:
                yield f"the volume of {name} is far from that in all references"


class Index(Config):
    """cases.json: what the label maps in a folder were made with, and from."""

    task: str
    """Fingerprint of the task, which names the model, too; or of the finetuned model."""
    overlap: float
    alignment: bool
    references: int | Literal["all"] = "all"
    """How many references were asked about each scan."""
    probabilities: bool = False
    """Whether there are maps of probabilities."""
    agreement: bool = False
    """Whether there are maps of how many references agree."""
    dicom_seg: bool = False
    """Whether there are DICOM segmentations."""
    cases: dict[str, Entry] = Field(default_factory=dict)


def read_results(folder: Path) -> Index:
    """The list of results in a folder. Raises `DataError` for a damaged one."""
    lost = "this file and the label maps"
    return read_list(Index, folder / CASES, of="results", verb="segment", remove=lost)


def begun_results(folder: Path, wanted: Index) -> Index:
    """The results that a folder holds, none at first. Raises `ConfigError` for those of others."""
    if not (folder / CASES).exists():
        return wanted
    found = read_results(folder)
    require_same_settings(
        folder, "results", found, wanted, maker="task", other="results of another task or model"
    )
    return found


def structures_of_results(folder: Path) -> Targets | None:
    """The structures that `segment` looked for, by value; None where it wrote nothing here."""
    try:
        named = NAMED.validate_python(earlier_record(folder).get("structures"))
        found = targets_of(named) if named else None
    except (ValidationError, ConfigError):
        return None
    if found is None or found.regions:
        return found
    return Targets(dict(sorted(found.values.items(), key=itemgetter(1))))


def inputs_of_results(folder: Path) -> list[Path]:
    """The scans that `segment` was given, as far as they are there; none in another folder."""
    settings = earlier_record(folder).get("config")
    given = settings.get("inputs") if isinstance(settings, dict) else None
    paths = [Path(one) for one in given if isinstance(one, str)] if isinstance(given, list) else []
    return [path for path in paths if path.exists()]


@dataclass(frozen=True)
class ResultsFolder:
    """The results in a folder, and the file that lists them."""

    path: Path
    index: Index
    entries: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entries.update(self.index.cases)

    @property
    def done(self) -> dict[str, Entry]:
        """The finished ones."""
        return {name: entry for name, entry in self.entries.items() if entry.result}

    def label_map(self, case_id: str) -> Path:
        """Where the label map of a case is."""
        return self.path / f"{case_id}.nii.gz"

    def segmentation(self, case_id: str) -> Path:
        """Where the DICOM segmentation of a case is."""
        return self.path / f"{case_id}.dcm"

    def picture(self, case_id: str) -> Path:
        """Where a picture of a case is."""
        return self.path / PICTURES / f"{case_id}.jpg"

    def put(self, case_id: str, entry: Entry) -> None:
        """Note what is known of a case now."""
        self.entries[case_id] = entry
        self.save()

    def begin(self, case_id: str, begun: Entry) -> None:
        """Note a case that is made now; what was there of it before goes, as that may fail."""
        old = self.entries.get(case_id)
        self.put(case_id, begun)
        maps = (self.path / name for name in (old.maps if old else ()))
        made = (self.label_map(case_id), self.segmentation(case_id), self.picture(case_id))
        for file in (*made, *maps):
            if file.resolve().is_relative_to(self.path.resolve()):  # whatever the list says
                file.unlink(missing_ok=True)

    def save(self) -> None:
        """Write the list of results."""
        index = self.index.model_copy(update={"cases": self.entries})
        write_json(self.path / CASES, index.plain())

    def finish(self) -> None:
        """Write the list, and the volumes of all structures in all finished cases as CSV."""
        self.save()
        write_text(self.path / VOLUMES, csv_text(COLUMNS, _rows(self.done)))

    def keeps(self, case_id: str, begun: Entry) -> bool:
        """Whether the label map of a case is the finished one of this scan and prior.

        One that is being written, damaged, or of the scan as it was before is made again. Raises
        `DataError` for a file of somebody else, such as a label map corrected by hand.
        """
        target, old = self.label_map(case_id), self.entries.get(case_id)
        if not target.exists() or (old is not None and not old.result):
            return False
        if old is not None and file_hash(target) == old.result:
            same = (old.source, old.prior) == (begun.source, begun.prior)
            same = same and old.named in (None, begun.named)
            return same and all(map(self._is_whole, old.maps, old.maps.values()))
        if old is not None and not can_be_read(target):
            return False
        raise not_as_written(target, fix="Move it elsewhere to have the scan segmented again.")

    def _is_whole(self, name: str, digest: str) -> bool:
        """Whether a map is as it was written."""
        file = self.path / name
        return file.is_file() and file_hash(file) == digest


def can_be_read(file: Path, read: Callable[[Path], Volume] = read_label) -> bool:
    """Whether a file is whole; one that is not as it was written was then changed by somebody."""
    try:
        read(file)
    except DataError:
        return False
    return True


def not_as_written(file: Path, *, fix: str) -> DataError:
    """The error for a file that somebody has changed since it was written, or put there."""
    return DataError(
        file,
        found="a file that is not as mass3d wrote it",
        expected="no file, or the one that was written here",
        fix=fix,
    )


def never_found(
    structures: Iterable[str], volumes: Mapping[str, Mapping[str, float]]
) -> Iterator[str]:
    """A sentence for every structure that no scan shows. volumes: case -> structure -> ml."""
    for name in structures if volumes else ():
        if not any(found.get(name) for found in volumes.values()):
            yield f"{name} was found in none of {counted(len(volumes), 'scan')}"


def _rows(entries: Mapping[str, Entry]) -> Iterator[tuple[object, ...]]:
    """One row per case and structure, in an order that does not know which were read back."""
    for case, entry in sorted(entries.items()):
        agreed, expected = entry.agreement, entry.expected_dice
        for name, ml in sorted(entry.volumes_ml.items()):
            yield case, name, ml, agreed.get(name), expected.get(name)
