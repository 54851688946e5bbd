"""All that is kept of one scan: features of the frozen network, and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mass3d.errors import DataError
from mass3d.files import write_bytes
from mass3d.transfer.frozen.encoder import Features, encode, load_untrained
from mass3d.transfer.frozen.plain import body_of, histogram, size
from mass3d.transfer.frozen.radiomics import radiomics
from mass3d.transfer.frozen.region import Region
from mass3d.transfer.trained import TrainedModel, load_trained
from mass3d.volume.preparation import Prepared, prepare_volume
from mass3d.volume.volume import Volume

PRETRAINED: Final = "pretrained"
UNTRAINED: Final = "untrained"
HISTOGRAM: Final = "histogram"
SIZE: Final = "size"
RADIOMICS: Final = "radiomics"  # of a part of a scan

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class FrozenEncoder:
    """A pretrained network, and beside it, if that is wanted, the same one untrained."""

    trained: TrainedModel
    untrained: TrainedModel | None = None

    @classmethod
    def load(cls, run: Path, *, untrained: bool, device: str = "auto") -> FrozenEncoder:
        """Load a pretrained run. Raises `ModelError` when it cannot be trusted."""
        first = load_untrained(run, device=device) if untrained else None
        return cls(load_trained(run, device=device), first)

    def see(
        self, volume: Volume, *, overlap: float, dense: bool = False, region: Region | None = None
    ) -> SeenScan:
        """Encode a scan of any grid, or only a part of it.

        Raises `DataError` for one that cannot be prepared, or does not have the part.
        """
        scan = prepare_volume(volume, self.trained.preparation)
        body = body_of(volume, scan) if region is None else region.find(volume, scan)
        found, plain = (
            None
            if model is None
            else encode(
                model,
                scan.image,
                body,
                outside=scan.intensity.outside,
                overlap=overlap,
                dense=dense and model is self.trained,
            )
            for model in (self.trained, self.untrained)
        )
        assert found is not None, "the pretrained network is always there"
        return SeenScan(scan, body, found, plain, part=region is not None)


@dataclass(frozen=True)
class SeenScan:
    """A prepared scan and what was found in it."""

    scan: Prepared
    body: NDArray[np.bool_]  # (D, H, W) on the prepared grid; or a part of it
    features: Features
    untrained: Features | None
    part: bool = False

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What is kept, by name."""
        kept: dict[str, NDArray[np.generic]] = {
            PRETRAINED: self.features.pooled,
            f"{PRETRAINED}_cells": self.features.cells,
            HISTOGRAM: histogram(self.scan, self.body),
            SIZE: size(self.scan, self.body),
        }
        for axis, plane in enumerate(self.features.planes):
            kept[f"plane_{axis}"] = plane
            kept[f"shown_{axis}"] = self._body_in(axis).astype(np.uint8)
        if self.part:
            kept[RADIOMICS] = radiomics(self.scan, self.body)
        if self.untrained is not None:
            kept[UNTRAINED] = self.untrained.pooled
            kept[f"{UNTRAINED}_cells"] = self.untrained.cells
        return kept

    @property
    def slices(self) -> tuple[int, int, int]:
        """The voxels of the prepared image that its planes go through."""
        edge = self.features.edge
        d, h, w = (
            min(at * edge + edge // 2, n - 1)
            for at, n in zip(self.features.through, self.body.shape, strict=True)
        )
        return d, h, w

    def _body_in(self, axis: int) -> NDArray[np.bool_]:
        """Which cells of a plane have body at their middle."""
        edge = self.features.edge
        plane: NDArray[np.bool_] = np.moveaxis(self.body, axis, 0)[self.slices[axis]]
        rows, columns = (
            np.minimum(np.arange(-(-n // edge)) * edge + edge // 2, n - 1) for n in plane.shape
        )
        return np.asarray(plane[np.ix_(rows, columns)])


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write what is kept of a scan; equal arrays give equal files."""
    write_bytes(path, save({name: np.ascontiguousarray(one) for name, one in arrays.items()}))


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """The inverse of `write_arrays`. Raises `DataError` for a damaged file."""
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise DataError(
            path,
            found="features that cannot be read",
            expected="the file that mass3d embed wrote",
            fix="Run embed again; it makes this scan anew.",
        ) from error
