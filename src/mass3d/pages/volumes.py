"""Scans beside a page, to move through slice by slice: offline, opened from file://.

Beside a page of file:// a browser reads no other file than pictures and scripts. So a scan is a
script, `viewer/<key>.js`, that hands it packed to `viewer/viewer.js`, the viewer of `mass3d serve`
without a server. The page is whole without both.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mass3d.files import text_hash, write_bytes
from mass3d.io.colours import Colour
from mass3d.pages.pictures import css, grey_range
from mass3d.volume.coarse import Steps, block_centres, block_means
from mass3d.volume.nifti import nifti_start, smallest_label
from mass3d.volume.sample import sample
from mass3d.volume.volume import Modality, Volume

FOLDER: Final = "viewer"
BUILT: Final = Path(__file__).parent / FOLDER
PROGRAM: Final = ("viewer.js", "LICENSES.txt")
MAX_VOXELS: Final = 2_000_000  # of a scan on a page
MAX_CASES: Final = 12  # of a page, the first that it tells of
SHOWN: Final = (0.1, 99.9)  # percentiles between which greys are told apart
LEVELS: Final = 255

Label = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Structure:
    """What a label value is called, and its colour. Without a name it is in no list."""

    name: str
    value: int
    colour: Colour


@dataclass(frozen=True)
class Layer:
    """A label map over a scan, as few voxels (D, H, W)."""

    name: str
    labels: Label
    structures: Sequence[Structure]


@dataclass(frozen=True)
class Slices:
    """A scan in voxels few enough for a page."""

    coarse: Volume
    steps: Steps
    window: tuple[float, float]  # what is black and white at first
    modality: Modality | None  # None of what has no greys

    @classmethod
    def of(cls, scan: Volume, modality: Modality) -> Slices:
        """Means of blocks of a scan."""
        steps = steps_within(scan.grid.shape, scan.spacing_mm)
        return cls(block_means(scan, steps), steps, grey_range(sample(scan.voxels)), modality)

    @classmethod
    def black(cls, like: Volume) -> Slices:
        """Nothing but the grid of a label map, whose scan is not known."""
        steps = steps_within(like.grid.shape, like.spacing_mm)
        nothing = like.with_voxels(np.zeros(like.grid.shape, np.float32))
        return cls(block_means(nothing, steps), steps, (0.0, 1.0), None)

    def cut(self, labels: Label) -> Label:
        """A label map on the grid of the scan (D, H, W), at the middles of the blocks."""
        return block_centres(labels, self.steps)


def steps_within(shape: tuple[int, int, int], spacing_mm: Sequence[float]) -> Steps:
    """Edges of blocks, about cubes in mm, of which a volume (D, H, W) has `MAX_VOXELS` at most."""
    steps = np.ones(3, int)
    while np.prod(np.array(shape) // steps) > MAX_VOXELS:
        edges = np.where(steps < shape, steps * spacing_mm, np.inf)
        steps[np.argmin(edges)] += 1
    d, h, w = (int(step) for step in steps)
    return d, h, w


def address_of(case_id: str, *state: str) -> str:
    """Where the script of a case lies beside its page; another one for another state of it."""
    return f"{FOLDER}/{text_hash([case_id, *state])[:32]}.js"


def write_volume(
    folder: Path, address: str, name: str, slices: Slices, layers: Iterable[Layer]
) -> None:
    """Write a scan and its label maps beside the page in `folder`."""
    write_bytes(folder / address, volume_script(address, name, slices, layers))


def volume_script(address: str, name: str, slices: Slices, layers: Iterable[Layer]) -> bytes:
    """The script that hands a scan and its label maps to the viewer."""
    told = {
        "key": Path(address).stem,
        "name": name,
        "modality": slices.modality.upper() if slices.modality else None,
        "window": [round(edge, 6) for edge in slices.window],
        "scan": _packed(*_bytes_of(slices.coarse)),
        "layers": [_plain(layer, slices) for layer in layers],
    }
    return f"mass3dVolume({json.dumps(told)})\n".encode()


def write_scripts(folder: Path, scripts: Mapping[str, bytes | object]) -> dict[str, str]:
    """Write scripts of cases beside the page in `folder`, and only these; case -> address.

    Whatever is no script, such as a fault, is left out.
    """
    written = {}
    for case_id, script in scripts.items():
        if isinstance(script, bytes):
            written[case_id] = address_of(case_id)
            write_bytes(folder / written[case_id], script)
    settle(folder, written.values())
    return written


def settle(folder: Path, addresses: Collection[str]) -> None:
    """Put the viewer beside the page in `folder`, and remove the scripts that it does not name.

    Where it names none, the viewer goes, too.
    """
    place = folder / FOLDER
    wanted = {Path(address).name for address in addresses}
    wanted |= set(PROGRAM) if wanted else set()
    for path in place.glob("*") if place.is_dir() else ():
        if path.name not in wanted:
            path.unlink()
    for name in PROGRAM if addresses else ():
        write_bytes(place / name, (BUILT / name).read_bytes())
    if place.is_dir() and not addresses:
        place.rmdir()


def structures_of(names: Mapping[str, int], colours: Mapping[int, Colour]) -> list[Structure]:
    """Named label values with their colours."""
    return [Structure(name, value, colours[value]) for name, value in names.items()]


def _plain(layer: Layer, slices: Slices) -> dict[str, Any]:
    return {
        "name": layer.name,
        "labels": _packed(slices.coarse, smallest_label(layer.labels)),
        "structures": [
            {"name": one.name, "value": one.value, "colour": css(one.colour)}
            for one in layer.structures
        ],
    }


def _bytes_of(scan: Volume) -> tuple[Volume, NDArray[np.uint8], tuple[float, float]]:
    """The scan, its greys as bytes, and the slope and intercept that make values of these."""
    low, high = (float(edge) for edge in np.percentile(scan.voxels, SHOWN))
    slope = (high - low) / LEVELS or 1.0
    stored = np.clip(np.rint((scan.voxels - low) / slope), 0, LEVELS).astype(np.uint8)
    return scan, stored, (slope, low)


def _packed(grid: Volume, voxels: NDArray[Any], scale: tuple[float, float] = (1.0, 0.0)) -> str:
    """Voxels (D, H, W) as a zipped NIfTI file in base64."""
    start = nifti_start(
        grid.source.shape, voxels.dtype.type, np.array(grid.source.affine), scale=scale
    )
    content = start + grid.source.from_canonical(voxels).tobytes("F")
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()
