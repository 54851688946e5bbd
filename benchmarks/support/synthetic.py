"""Made-up volumes, masks and stores of any size, from fixed seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.masks.layers import MaskSet, encode_tree
from mass3d.masks.settings import MaskConfig
from mass3d.phantom import draw_phantom
from mass3d.store.reader import Store
from mass3d.store.schema import Source, StoreSettings
from mass3d.store.writer import begin, collect_index, open_for_writing, write_case, write_index
from mass3d.volume.geometry import SourceGrid
from mass3d.volume.intensity import Intensity
from mass3d.volume.preparation import PreparationConfig, Prepared
from mass3d.volume.resample import resample_image, resample_label
from mass3d.volume.volume import Volume

Shape = tuple[int, int, int]
Box = tuple[slice, slice, slice]


def ct(million_voxels: float) -> Volume:
    """A phantom CT in HU on a grid of about this many million voxels, with fresh noise."""
    phantom = draw_phantom(seed=1, index=0)
    source = SourceGrid.nearest(phantom.image.shape, phantom.affine)
    old = source.grid
    factor = (million_voxels * 1e6 / phantom.image.size) ** (1 / 3)
    d, h, w = (edge / factor for edge in old.spacing_mm)
    new = old.resampled((d, h, w))
    fine = resample_image(np.ascontiguousarray(source.to_canonical(phantom.image)), old, new)
    noise = np.random.default_rng(1).standard_normal(new.shape, np.float32)
    return Volume.from_array(fine + 15 * noise, spacing_mm=new.spacing_mm)


def stretched(
    index: int, shape: Shape, edges_mm: tuple[float, float, float], *, slabs: int = 1
) -> tuple[Volume, Volume]:
    """A phantom and its label on a grid of any shape and spacing, with fresh noise.

    slabs: how many structures each of its four organs is cut into, from foot to head.
    """
    drawn = draw_phantom(seed=1, index=index)
    source = SourceGrid.nearest(drawn.image.shape, drawn.affine)
    old = source.grid
    d, h, w = (n * mm / m for n, mm, m in zip(old.shape, old.spacing_mm, shape, strict=True))
    new = old.resampled((d, h, w))
    voxels, label = (
        np.ascontiguousarray(source.to_canonical(x)) for x in (drawn.image, drawn.label)
    )
    fine = resample_image(voxels, old, new)
    fine += 15 * np.random.default_rng(index).standard_normal(fine.shape, np.float32)
    cut = resample_label(label if slabs == 1 else in_slabs(label, slabs), old, new)
    return (
        Volume.from_array(fine, spacing_mm=edges_mm),
        Volume.from_array(cut, spacing_mm=edges_mm),
    )


def in_slabs(label: NDArray[np.integer], count: int) -> NDArray[np.integer]:
    """Every organ cut into slabs of equal height: values from 1 on."""
    cut = np.zeros_like(label)
    for value in np.unique(label[label > 0]):
        inside = label == value
        rows = np.flatnonzero(inside.any((1, 2)))
        height = np.arange(len(label)) - rows[0]
        slab = np.clip(height * count // (rows[-1] - rows[0] + 1), 0, count - 1)
        cut[inside] = ((value - 1) * count + 1 + slab[:, None, None] + 0 * label)[inside]
    return cut


def image(shape: Shape) -> NDArray[np.float32]:
    """Smooth texture with noise, mean 0, standard deviation about 1."""
    rng = np.random.default_rng(2)
    coarse = rng.standard_normal([-(-n // 8) for n in shape], np.float32)
    smooth = np.asarray(coarse)
    for axis in range(3):
        smooth = smooth.repeat(8, axis=axis)
    d, h, w = shape
    smooth = ndimage.uniform_filter(smooth[:d, :h, :w], 9)
    noise = rng.standard_normal(shape, np.float32)
    return np.asarray(smooth / smooth.std() + 0.1 * noise, np.float32)


def prepared(shape: Shape) -> Prepared:
    """A scan of texture as `prepare_volume` returns it."""
    voxels = image(shape)
    volume = Volume.from_array(voxels)
    intensity = Intensity(low=-5, high=5, mean=0, std=1)
    return Prepared(voxels, volume.grid, volume.source, "mr", "setting", intensity, ())


def ellipsoids(shape: Shape, count: int) -> list[NDArray[np.bool_]]:
    """Ellipsoids of all sizes anywhere in the volume; many cross or contain others."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(count):
        centre = rng.uniform(0.15, 0.85, 3) * shape
        radii = np.exp(rng.uniform(np.log(3), np.log(min(shape) / 6), 3))
        mask = np.zeros(shape, bool)
        low = np.maximum(0, np.floor(centre - radii)).astype(int)
        high = np.minimum(shape, np.ceil(centre + radii) + 1).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        axes = np.ogrid[box]
        mask[box] = (
            sum(((x - c) / r) ** 2 for x, c, r in zip(axes, centre, radii, strict=True)) <= 1
        )
        found.append(mask)
    return found


def nested(shape: Shape, *, cell_vox: int) -> MaskSet:
    """One layer: a binary tree over bent cells of about `cell_vox` voxels along each edge.

    Twice as many masks as there are cells, each half of the one around it.
    """
    rng = np.random.default_rng(4)
    axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    index = np.zeros(shape, np.int64)
    counts = [-(-n // cell_vox) for n in shape]
    for axis, count in enumerate(counts):
        bent = axes[axis]
        for other in axes:
            wave = 2 * np.pi / (cell_vox * rng.uniform(1.5, 4))
            bent = bent + cell_vox / 6 * np.sin(wave * other + np.float32(rng.uniform(0, 6)))
        cell = np.clip((bent / cell_vox).astype(np.int64), 0, count - 1)
        index = index * count + cell
    values, regions = np.unique(index, return_inverse=True)
    parents = _halving_tree(len(values))
    nodes = np.arange(len(parents) - 1)
    return encode_tree(
        regions.reshape(shape) + 1,
        parents=parents,
        nodes=nodes,
        scores=np.ones(len(nodes)),
        engine="benchmark",
    )


def _halving_tree(leaves: int) -> NDArray[np.int64]:
    """Parents of a tree that joins neighbours two by two; every parent has a higher index."""
    parents: list[int] = [0] * leaves
    level = list(range(leaves))
    while len(level) > 1:
        joined = []
        for pair in (level[i : i + 2] for i in range(0, len(level), 2)):
            if len(pair) == 1:
                joined.append(pair[0])
                continue
            parents.append(0)
            joined.append(len(parents) - 1)
            for node in pair:
                parents[node] = len(parents) - 1
        level = joined
    parents[level[0]] = level[0]
    return np.array(parents)


def crop(shape: Shape, edge: int, where: float) -> Box:
    """A cube of `edge` voxels in a volume, `where` (0 to 1) of the way along every axis."""
    d, h, w = (slice(start, start + edge) for start in (int((n - edge) * where) for n in shape))
    return d, h, w


def write_store(folder: Path, voxels: NDArray[np.float32], masks: MaskSet) -> Store:
    """A store of one case."""
    volume = Volume.from_array(voxels)
    settings = StoreSettings(
        preparation=PreparationConfig(spacing_mm=1.0, modality="mr"), masks=MaskConfig()
    )
    prepared = Prepared(
        image=voxels,
        grid=volume.grid,
        source=volume.source,
        modality="mr",
        modality_from="setting",
        intensity=Intensity(low=-5, high=5, mean=0, std=1),
        repairs=(),
    )
    with open_for_writing(folder):
        begin(folder, settings)
        write_case(
            folder, "case", prepared, masks, source=Source(name="", sha256=""), settings=settings
        )
        write_index(folder, collect_index(folder, settings))
    return Store.open(folder)
