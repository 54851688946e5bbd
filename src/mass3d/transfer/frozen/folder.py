"""A folder of embeddings: which scans are in it, made with what, and tables of all of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mass3d.config import Config
from mass3d.errors import ConfigError, DataError
from mass3d.execution.ownership import read_list, require_same_settings
from mass3d.files import csv_text, file_hash, write_bytes, write_json, write_text
from mass3d.transfer.frozen.encoder import MapShape
from mass3d.transfer.frozen.neighbours import Neighbour
from mass3d.transfer.frozen.scan import PRETRAINED, read_arrays
from mass3d.transfer.trained import read_run

INDEX: Final = "embeddings.json"
TABLE: Final = "embeddings.csv"
ARRAYS: Final = "embeddings.npz"
NEIGHBOURS: Final = "neighbours.csv"


class Entry(Config):
    """What is known of one encoded scan."""

    source: str
    """SHA-256 of the scan."""
    named: str | None = None
    """The modality that names of its file and folders say, if any; not known where an earlier
    version wrote this."""
    result: str
    """SHA-256 of its features."""
    dense: str = ""
    """SHA-256 of its dense features, if they were wanted."""
    doubts: tuple[str, ...] = ()
    """What cannot be right about the scan."""
    content: str = ""
    """SHA-256 of the shape and the voxels that were read, whatever the file is; empty where an
    earlier version wrote this."""
    case: str = ""
    """The case that the scan is one of several channels of, in the layout of nnU-Net; empty for
    others, and where an earlier version wrote this."""


class Index(Config):
    """embeddings.json: what the features in a folder were made with, and from."""

    model: str
    """Fingerprint of the network."""
    maps: tuple[tuple[int, int], ...]
    """Of each feature map, the voxels per cell along every axis, and its channels."""
    overlap: float
    """Overlap of neighbouring windows, as a fraction."""
    untrained: bool
    """Whether features of the same network untrained are there, too."""
    dense: bool
    """Whether dense features are there, too."""
    within: str = ""
    """Which part of the scans counts, found by what; empty for the whole body."""
    cases: dict[str, Entry] = Field(default_factory=dict)
    """By case."""


class Embeddings(NamedTuple):
    """Pooled features of some scans."""

    cases: tuple[str, ...]
    features: NDArray[np.float32]  # (cases, F)


def is_embeddings(path: Path) -> bool:
    """Whether a folder holds embeddings."""
    return (path / INDEX).is_file()


def read_index(folder: Path) -> Index:
    """What is in a folder of embeddings. Raises `DataError` for a damaged one."""
    return read_list(Index, folder / INDEX, of="embeddings", verb="embed", remove="this folder")


def begun(folder: Path, wanted: Index) -> Index:
    """The embeddings that a folder holds. Raises `ConfigError` for those of other settings."""
    if not is_embeddings(folder):
        return wanted
    found = read_index(folder)
    require_same_settings(
        folder, "embeddings", found, wanted, maker="model", other="embeddings by another model"
    )
    return found


@dataclass(frozen=True)
class EmbeddingsFolder:
    """A folder of embeddings, and the file that lists them."""

    path: Path
    index: Index
    entries: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entries.update(self.index.cases)

    @classmethod
    def open(cls, path: Path) -> EmbeddingsFolder:
        """Embeddings made before. Raises `DataError` for a damaged list."""
        return cls(path, read_index(path))

    def features(self, case_id: str) -> Path:
        """Where the features of a case are."""
        return self.path / "cases" / f"{case_id}.safetensors"

    def dense(self, case_id: str) -> Path:
        """Where the dense features of a case are."""
        return self.path / "dense" / f"{case_id}.nii.gz"

    def picture(self, case_id: str) -> Path:
        """Where a picture of a case is."""
        return self.path / "pictures" / f"{case_id}.jpg"

    def feature_picture(self, case_id: str) -> Path:
        """Where a picture of the dense features of a case is."""
        return self.path / "pictures" / "features" / f"{case_id}.jpg"

    def put(self, case_id: str, entry: Entry) -> None:
        """Note a finished case, or one that is finished anew."""
        self.entries[case_id] = entry
        self._save()

    def _save(self) -> None:
        cases = {name: self.entries[name] for name in sorted(self.entries)}
        write_json(self.path / INDEX, self.index.model_copy(update={"cases": cases}).plain())

    def begin(self, case_id: str) -> None:
        """Forget what was there of a case before it is made anew: that may fail."""
        if self.entries.pop(case_id, None) is not None:
            self._save()
            tables = [self.path / name for name in (TABLE, ARRAYS, NEIGHBOURS)]  # made at the end
            pictures = [self.picture(case_id), self.feature_picture(case_id)]
            for file in (self.features(case_id), self.dense(case_id), *pictures, *tables):
                file.unlink(missing_ok=True)

    def keeps(self, case_id: str, source: str, named: str) -> bool:
        """Whether the features of a case are those of this scan, and undamaged.

        named: the modality that names of its file and folders say.
        """
        entry = self.entries.get(case_id)
        if entry is None or entry.source != source or entry.named not in (None, named):
            return False
        files = [(self.features(case_id), entry.result)]
        files += [(self.dense(case_id), entry.dense)] if self.index.dense else []
        return all(file.is_file() and file_hash(file) == wanted for file, wanted in files)

    def cases_of(self) -> dict[str, str]:
        """Every scan, and the case that it is a channel of, if any."""
        return {name: entry.case for name, entry in self.entries.items()}

    def contents(self, cases: Iterable[str]) -> dict[str, str]:
        """Case -> hash that equal scans share, in whatever files; of the file if no other is known.

        That of a file stands for its content where the same file is there with both.
        """
        known = {one.source: one.content for one in self.entries.values() if one.content}
        found = {case: self.entries[case] for case in cases}
        return {
            case: one.content or known.get(one.source, one.source) for case, one in found.items()
        }

    def arrays(self, case_id: str) -> dict[str, NDArray[np.generic]]:
        """All that is kept of a case. Raises `DataError` where it is damaged."""
        return read_arrays(self.features(case_id))

    def table(self) -> Embeddings:
        """The pooled features of all cases. Raises `DataError` where one is damaged."""
        cases = tuple(sorted(self.entries))
        rows = [np.asarray(self.arrays(case)[PRETRAINED], np.float32) for case in cases]
        return Embeddings(cases, np.stack(rows))


def columns(maps: Sequence[MapShape]) -> list[str]:
    """Names of the pooled features: map, stride, mean or std, channel."""
    return [
        f"map{number}_stride{one.stride}_{what}_{channel}"
        for number, one in enumerate(maps)
        for what in ("mean", "std")
        for channel in range(one.channels)
    ]


def write_tables(folder: EmbeddingsFolder, found: Embeddings) -> None:
    """Write one row per scan, as CSV and as arrays of numpy."""
    names = columns([MapShape(*one) for one in folder.index.maps])
    pooled = zip(found.cases, found.features.tolist(), strict=True)
    rows = ((case, *(f"{value:.9g}" for value in row)) for case, row in pooled)
    write_text(folder.path / TABLE, csv_text(("case", *names), rows))
    stream = io.BytesIO()
    np.savez(stream, cases=np.array(found.cases), features=found.features, columns=np.array(names))
    write_bytes(folder.path / ARRAYS, stream.getvalue())


def write_neighbours(folder: EmbeddingsFolder, found: dict[str, list[Neighbour]]) -> None:
    """Write one row per scan and neighbour."""
    rows = (
        (case, rank, one.case, f"{one.similarity:.6f}")
        for case, near in found.items()
        for rank, one in enumerate(near, start=1)
    )
    columns = ("case", "rank", "neighbour", "similarity")
    write_text(folder.path / NEIGHBOURS, csv_text(columns, rows))


def require_case(folder: EmbeddingsFolder, case_id: str) -> None:
    """Raise `DataError` unless the features of a case are there as they were written."""
    entry, file = folder.entries[case_id], folder.features(case_id)
    if not file.is_file() or file_hash(file) != entry.result:
        raise DataError(
            file,
            found="features that are missing or damaged",
            expected="the file that mass3d embed wrote",
            fix="Run embed again; it makes this scan anew.",
        )


def made_before(path: Path, *, within: Path | None, model: Path | None) -> EmbeddingsFolder:
    """A folder of whole features, beside which are those of the untrained network.

    within: a task that was given beside it. model: a run that was. Raises `ConfigError` for a
    task, for another run than that of the features, and where features of the untrained network
    are lacking, `DataError` for a damaged case, `ModelError` for a run that cannot be trusted.
    """
    folder = EmbeddingsFolder.open(path)
    if not folder.index.untrained:
        raise ConfigError(
            path,
            found="features without those of the untrained network",
            expected="both, for one says little without the other",
            fix="Embed the scans again with untrained, or give the scans and the model.",
            setting="inputs",
        )
    if within is not None:
        raise ConfigError(
            within,
            found="a task beside features that are there already",
            expected="scans, in which the task is to find something",
            fix="Give the scans and the model, or leave the task out.",
            setting="within",
        )
    if model is not None and read_run(model)[2] != folder.index.model:
        raise ConfigError(
            model,
            found="another model than that of the features",
            expected=f"the one with the fingerprint {folder.index.model}, or none",
            fix="Leave the model out, or give the scans with it.",
            setting="model",
        )
    for case in folder.entries:
        require_case(folder, case)
    return folder
