"""`mass3d embed`: what a pretrained network says of whole scans, one row of numbers each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from mass3d.config import Config, Device, LabelMaps, Scans
from mass3d.errors import OutputError
from mass3d.execution.allocator import keep_freed_memory
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.summary import Report, counted, in_short, warnings_told, write_provenance
from mass3d.files import only_writer
from mass3d.io.datasets.cohort import find_cohort
from mass3d.pages.embed import PAGE, write_embed_page
from mass3d.pages.feature_pictures import write_feature_pictures, write_seen_picture
from mass3d.transfer.frozen.embedding import Embedder
from mass3d.transfer.frozen.folder import TABLE, write_neighbours, write_tables
from mass3d.transfer.frozen.neighbours import Neighbour, nearest
from mass3d.transfer.frozen.scan import FrozenEncoder
from mass3d.transfer.trained import unfinished


class EmbedConfig(Config):
    """Settings of `mass3d embed`."""

    inputs: Scans
    model: Path = Field(examples=["run"])
    """Run folder or weights file of the pretrained model, or the published weights of MASS."""
    output: Path = Field(examples=["embedded"])
    """Folder for embeddings.csv, embeddings.npz, neighbours.csv and embeddings.html."""
    dense: bool = False
    """Write the dense features of each scan, too: dense/<case>.nii.gz, channels along the fourth
    axis."""
    untrained: bool = False
    """Store the features of the same network with random initialisation, too; `probe` compares with
    them."""
    overlap: float = Field(default=0.25, ge=0, lt=1)
    """Overlap of neighbouring windows, as a fraction; more is smoother and slower."""
    label_maps: LabelMaps = False
    device: Device = "auto"


@dataclass(frozen=True)
class EmbedReport(Report):
    """What became of every scan."""

    output: Path
    cases: tuple[str, ...]  # all that the folder holds
    neighbours: dict[str, list[Neighbour]]  # of each, the scans most alike
    warnings: tuple[str, ...] = ()  # sentences about what is odd, but no fault
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        return f"{self.told(f' into {self.output / TABLE}')} Look at {self.output / PAGE}."

    def told(self, place: str = "") -> str:
        """What was done, and what is odd; nothing of where, but for the words of `place`."""
        scans = counted(len(self.cases), "scan")
        return f"Embedded {scans}{place}.{warnings_told(self.warnings)}"


def run(config: EmbedConfig) -> EmbedReport:
    """Embed every scan; one that cannot be read becomes a fault and the others go on.

    Scans that the same model has already embedded into the same folder are not done again, as long
    as neither scan nor features have changed. Raises `ModelError` for a model that cannot be
    trusted, `ConfigError` when the folder holds anything but such results.
    """
    require_own_folder(config.output, "embed", inputs=(*config.inputs, config.model))
    keep_freed_memory()
    encoder = FrozenEncoder.load(config.model, untrained=config.untrained, device=config.device)
    cases = find_cohort(config.inputs, exclude=config.output).cases
    with only_writer(config.output, OutputError):
        work = Embedder(
            encoder,
            config.overlap,
            dense=config.dense,
            label_maps=config.label_maps,
            picture=write_seen_picture,
        )
        folder = work.open(config.output)
        write_provenance(config.output, "embed", config, model=encoder.trained.fingerprint)
        faults = work.embed(folder, cases)
        near: dict[str, list[Neighbour]] = {}
        if folder.entries:
            found = folder.table()
            near = nearest(found.cases, found.features)
            write_tables(folder, found)
            write_neighbours(folder, near)
            write_feature_pictures(folder)
        notes = {case: entry.doubts for case, entry in folder.entries.items()}
        odd = (*unfinished(config.model), *in_short(notes))
        report = EmbedReport(config.output, tuple(near), near, odd, faults)
        write_embed_page(folder, near, summary=report.told(), faults=faults)
    return report
