"""The layout of a prepared store and the models of its two kinds of JSON file.

    store/store.json              schema, settings, table of cases, fingerprint
    store/cases/<id>/case.json    geometry, modality, intensity, checksums of the files beside it
    store/cases/<id>/image.b2nd   float16 (D, H, W), normalised
    store/cases/<id>/layers.b2nd  uint16 or uint32 (L, D, H, W) rank maps
    store/cases/<id>/masks.npz    the columns of the mask table

Checksums form a chain: store.json holds the hash of every case.json, which holds the hash of
every array, so that one fingerprint stands for the whole content that is pretrained on. Further
files in the folder of a case are not looked at.

Schema 2 called repairs `mended`; its stores are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from mass3d.config import Config, first_fault
from mass3d.errors import StoreError
from mass3d.files import VERSION, read_json, text_hash
from mass3d.masks.settings import MaskConfig
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.preparation import PreparationConfig
from mass3d.volume.volume import Modality

SCHEMA = 3  # of what is written
READABLE = (2, 3)
CONTENT = 2  # of images and masks, in fingerprints: changes when equal settings give other arrays
INDEX, CASES = "store.json", "cases"
RECORD, IMAGE, LAYERS, TABLE = "case.json", "image.b2nd", "layers.b2nd", "masks.npz"
PARTS = (IMAGE, LAYERS, TABLE)


class StoreSettings(Config):
    """What decides the content of a store, given the scans."""

    preparation: PreparationConfig
    masks: MaskConfig

    def content(self) -> dict[str, Any]:
        """The settings without the places of files and weights: cases carry hashes of these."""
        return {"preparation": self.preparation.plain(), "masks": self.masks.content()}

    @property
    def fingerprint(self) -> str:
        """Hash that every case carries, so that cases of other settings are never mixed in."""
        return text_hash({"schema": CONTENT, **self.content()})


class Source(Config):
    """The file a case was prepared from."""

    name: str
    sha256: str


class Part(Config):
    """One file of a case."""

    bytes: int
    sha256: str


class IntensityRecord(Config):
    """Raw intensity was clipped to [low, high]; raw = stored * std + mean."""

    low: float
    high: float
    mean: float
    std: float = Field(gt=0)


class EngineRecord(Config):
    """What an engine has done for a case."""

    identity: str
    """Hash of its settings and of what it read beside the scan."""
    notes: tuple[str, ...] = ()
    """What could not be taken, in words."""


class CaseRecord(Config):
    """case.json."""

    schema_version: int
    case_id: str
    source: Source
    settings: str
    grid: dict[str, Any]
    source_grid: dict[str, Any]
    modality: Modality
    modality_from: str
    intensity: IntensityRecord
    repairs: tuple[str, ...]
    """Made on reading, one sentence each."""
    num_layers: int
    num_masks: int
    engines: dict[str, EngineRecord]
    parts: dict[str, Part]


class CaseEntry(Config):
    """One row of the case table."""

    source: Source
    record_sha256: str


class IndexRecord(Config):
    """store.json. While a verb is at work or was killed, an index is unfinished.

    Its table is then empty where the verb is `prepare`, and has the cases where it is `masks`.
    """

    schema_version: int
    mass3d: str
    spacing_mm: float
    settings: StoreSettings
    finished: bool
    cases: dict[str, CaseEntry]
    fingerprint: str

    @classmethod
    def make(
        cls, settings: StoreSettings, cases: Mapping[str, CaseEntry], *, finished: bool
    ) -> IndexRecord:
        """The index of these cases, in order of their ids."""
        table = dict(sorted(cases.items()))
        return cls(
            schema_version=SCHEMA,
            mass3d=VERSION,
            spacing_mm=settings.preparation.spacing_mm,
            settings=settings,
            finished=finished,
            cases=table,
            fingerprint=content_fingerprint(settings, table),
        )


def content_fingerprint(settings: StoreSettings, cases: Mapping[str, CaseEntry]) -> str:
    """Hash over schema, settings and the content of all cases."""
    contents = {case_id: entry.record_sha256 for case_id, entry in cases.items()}
    return text_hash({"schema": CONTENT, "settings": settings.content(), "cases": contents})


def read_index(root: Path) -> IndexRecord:
    """Read store.json, finished or not. Raises `StoreError`."""
    path = root / INDEX
    if not path.exists():
        raise StoreError(
            root, found=f"no {INDEX}", expected="a prepared store", fix="Run mass3d prepare first."
        )
    index = read_stored(IndexRecord, path)
    for case_id in index.cases:
        if not is_plain_name(case_id):
            raise StoreError(
                path,
                found=f"a case with the name {case_id!r}",
                expected="plain folder names",
                fix="Do not use this store; prepare it anew.",
            )
    told = content_fingerprint(index.settings, index.cases), index.settings.preparation.spacing_mm
    if (index.fingerprint, index.spacing_mm) != told:
        raise StoreError(
            path,
            found="a fingerprint that does not fit the content",
            expected="the file as mass3d prepare wrote it",
            fix="The file was changed; run mass3d prepare anew into an empty folder.",
        )
    return index


M = TypeVar("M", bound=Config)


def read_stored(kind: type[M], path: Path) -> M:
    """Read one JSON file of a store. Raises `StoreError` for anything that does not fit."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            path,
            found=f"no readable JSON ({error})",
            expected="a file written by mass3d prepare",
            fix="Run mass3d prepare again.",
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in READABLE:
        raise StoreError(
            path,
            found=f"store schema {version}",
            expected=f"schema {' or '.join(map(str, READABLE))}, which mass3d {VERSION} reads",
            fix="Prepare the scans again with this version, or use the version that wrote it.",
        )
    if version == 2 and "mended" in content:
        content["repairs"] = content.pop("mended")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        key, _, message = first_fault(error)
        raise StoreError(
            path,
            found=f"{key!r}: {message[0].lower()}{message[1:]}",
            expected="a file written by this version of mass3d prepare",
            fix="Run mass3d prepare again into an empty folder.",
        ) from error


def is_plain_name(name: str) -> bool:
    """Whether a case id is safe as the name of a folder."""
    return bool(name) and not name.startswith(".") and not set(name) & set("/\\\0")


def case_folder(root: Path, case_id: str) -> Path:
    """Where a case lies."""
    return root / CASES / case_id


def grids(record: CaseRecord, path: Path) -> tuple[Grid, SourceGrid]:
    """The grid of the arrays and the grid of the source file. Raises `StoreError`."""
    try:
        return Grid.from_plain(record.grid), SourceGrid.from_plain(record.source_grid)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            path,
            found=f"a broken geometry ({error})",
            expected="the file as mass3d prepare wrote it",
            fix="Run mass3d prepare again.",
        ) from error
