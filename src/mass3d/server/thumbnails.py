"""A small picture of every case, with what was drawn or found in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mass3d.files import text_hash
from mass3d.io.read import read_label, read_volume
from mass3d.pages.pictures import Rgb, best_slices, three_views, write_jpeg
from mass3d.server.labels import Labels
from mass3d.server.project import State
from mass3d.server.rounds import Round
from mass3d.server.volumes import Volumes, steps_of
from mass3d.transfer.results import PICTURES
from mass3d.volume.coarse import block_centres

SIZE: Final = 192  # pixels of an edge


@dataclass(frozen=True)
class Thumbnails:
    """The pictures of a project, each made once for every state of its case."""

    volumes: Volumes
    labels: Labels
    cache: Path

    def of(self, case_id: str, revision: str, state: State, one: Round | None) -> Path:
        """The picture of a case as JPEG. Raises `Refused` and `DataError`."""
        target = self.cache / "thumbnails" / f"{text_hash([case_id, revision])[:32]}.jpg"
        if not target.exists():
            write_jpeg(target, self._picture(case_id, state, one))
        return target

    def _picture(self, case_id: str, state: State, one: Round | None) -> Rgb:
        file = self._label_file(case_id, one)
        if one is not None and not self.labels.is_drawn(case_id):
            found = one.found / PICTURES / f"{case_id}.jpg"
            # that shows only around what was found; but no scan is read for a small picture
            whole = file is not None and self.volumes.has_small(case_id)
            if self.labels.project.owns(found) and not whole:
                return _first_view(found)
        small = self.volumes.small(case_id)
        scan = read_volume(small.path)
        label = _coarse(file, scan.grid.shape)
        return three_views(
            scan.voxels,
            slices=best_slices(label),
            spacing_mm=scan.spacing_mm,
            grey=(small.window.low, small.window.high),
            label=label,
            colours=state.colours,
            size=SIZE,
        )[:, :SIZE]

    def _label_file(self, case_id: str, one: Round | None) -> Path | None:
        """What was drawn in a case, else what was found; None where there is neither."""
        project = self.labels.project
        if self.labels.is_drawn(case_id):
            return project.label(case_id)
        found = None if one is None else one.label_map(case_id)
        return found if found is not None and project.owns(found) else None


def _coarse(file: Path | None, shape: tuple[int, int, int]) -> NDArray[np.uint16]:
    """A label map at the centres of the voxels of a small volume (D, H, W)."""
    if file is None:
        return np.zeros(shape, np.uint16)
    label = read_label(file)
    return block_centres(label.voxels, steps_of(label.grid.shape))


def _first_view(file: Path) -> Rgb:
    """The first of the three squares of a picture of `segment`, as large as a thumbnail."""
    with Image.open(file) as picture:
        edge = picture.height
        square = picture.convert("RGB").crop((0, 0, edge, edge))
        return np.asarray(square.resize((SIZE, SIZE)), np.uint8)
