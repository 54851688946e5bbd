"""Many scans into a folder of embeddings, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mass3d.execution.faults import Fault, faults_of
from mass3d.execution.pool import run_cases
from mass3d.execution.progress import TellOnce
from mass3d.files import file_hash
from mass3d.inspection.case import voxel_hash
from mass3d.io.datasets.channels import cases_of_channels
from mass3d.io.datasets.cohort import CaseFile
from mass3d.io.datasets.source import named_modality, source_hash
from mass3d.io.read import read_volume
from mass3d.transfer.frozen.dense import write_dense
from mass3d.transfer.frozen.encoder import map_shapes
from mass3d.transfer.frozen.folder import EmbeddingsFolder, Entry, Index, begun
from mass3d.transfer.frozen.region import Region
from mass3d.transfer.frozen.scan import FrozenEncoder, SeenScan, write_arrays
from mass3d.volume.doubts import doubts, require_scan


@dataclass(frozen=True)
class Embedder:
    """A frozen network at work on scans."""

    encoder: FrozenEncoder
    overlap: float
    dense: bool = False
    label_maps: bool = False
    region: Region | None = None  # the part of the scans that counts, if not all of the body
    picture: Callable[[Path, SeenScan], None] | None = None  # writes one of a scan
    warn: TellOnce = field(default_factory=TellOnce)

    def open(self, folder: Path) -> EmbeddingsFolder:
        """A folder to embed into. Raises `ConfigError` where it holds those of other settings."""
        wanted = Index(
            model=self.encoder.trained.fingerprint,
            maps=tuple((one.stride, one.channels) for one in map_shapes(self.encoder.trained)),
            overlap=self.overlap,
            untrained=self.encoder.untrained is not None,
            dense=self.dense,
            within="" if self.region is None else self.region.fingerprint,
        )
        return EmbeddingsFolder(folder, begun(folder, wanted))

    def embed(self, folder: EmbeddingsFolder, cases: Sequence[CaseFile]) -> tuple[Fault, ...]:
        """Encode every scan that the folder does not have yet; returns what went wrong."""
        jobs = {
            scan.case_id: (scan, name)
            for scan, name in zip(cases, cases_of_channels(cases), strict=True)
        }
        work = partial(self._embed_one, folder)
        return faults_of(run_cases(work, jobs, workers=1, title="embed"))

    def _embed_one(self, folder: EmbeddingsFolder, job: tuple[CaseFile, str]) -> None:
        """Encode a scan, unless exactly that was done before; job: with the case, if a channel."""
        case, of_case = job
        name, source, named = case.case_id, source_hash(case), named_modality(case)
        if folder.keeps(name, source, named):
            if folder.entries[name].case != of_case:
                folder.put(name, folder.entries[name].model_copy(update={"case": of_case}))
            return
        folder.begin(name)
        volume = read_volume(case.scan)
        require_scan(volume, label_maps=self.label_maps)
        seen = self.encoder.see(volume, overlap=self.overlap, dense=self.dense, region=self.region)
        doubted = tuple(doubts(volume, seen.scan.modality))
        self.warn(name, doubted)
        write_arrays(folder.features(name), seen.arrays())
        dense = ""
        if seen.features.dense is not None:
            grid, edge = seen.scan.grid, seen.features.edge
            write_dense(folder.dense(name), seen.features.dense, grid, stride=edge)
            dense = file_hash(folder.dense(name))
        if self.picture is not None:
            self.picture(folder.picture(name), seen)
        result = file_hash(folder.features(name))
        content = voxel_hash(volume.voxels)
        folder.put(
            name,
            Entry(
                source=source,
                named=named,
                result=result,
                dense=dense,
                doubts=doubted,
                content=content,
                case=of_case,
            ),
        )
