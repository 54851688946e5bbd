"""A phantom cohort: torso-like scans drawn from one deformable anatomy, with labels.

The anatomy is a list of implicit shapes in millimetres, RAS+, origin in mid-abdomen. A case bends
space smoothly, moves and swells each shape a little, and is then sampled on the voxels of its own
file grid, so spacing, axis order, flips and obliqueness cost nothing and lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mass3d.files import write_json
from mass3d.io.write import write_file_order

Floats = NDArray[np.float32]
Triple = tuple[float, float, float]
Course = NDArray[Any] | float  # a value that may change along the tube
PhantomModality = Literal["ct", "mr"]

STRUCTURES: Final = {"liver": 1, "kidneys": 2, "aorta": 3, "gallbladder": 4}
TRAINING, TEST = 0, 1  # the two random streams of a cohort


class Points(NamedTuple):
    """Where the voxels lie: three arrays of one shape, millimetres."""

    x: Floats  # towards the right
    y: Floats  # towards the front
    z: Floats  # towards the head


@dataclass(frozen=True)
class Part:
    """One shape of the anatomy. Parts are painted in order; later ones cover earlier ones."""

    name: str
    distance: Callable[[Points], Floats]  # mm to the surface, negative inside, roughly
    ct: float  # HU
    mr: float  # arbitrary units, before the gain of the scanner; fat-suppressed, with contrast
    label: int | None = 0  # value of STRUCTURES; None leaves what is beneath (a part of it)
    texture: float = 1.0  # strength of the tissue's own texture
    wander_mm: float = 2.5  # how far the part moves on its own from case to case


@dataclass(frozen=True)
class PhantomScan:
    """One drawn scan in its file's axis order, with the label map of `STRUCTURES`."""

    case_id: str
    image: NDArray[np.int16]  # HU for CT, arbitrary units for MR
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]  # (4, 4) file index -> RAS+ mm


def write_phantom_cohort(folder: Path, *, cases: int, test_cases: int, seed: int) -> Path:
    """Write a cohort in the raw layout of nnU-Net and return `folder`.

    Case i is a function of (seed, i) alone, whatever the number of cases. CT and MR take turns,
    and the names tell which: `ct_000`, `mr_001`, ..., for the test cases `ct_test_000`, ...
    """
    for split, count, suffix in ((TRAINING, cases, "Tr"), (TEST, test_cases, "Ts")):
        for index in range(count):
            scan = draw_phantom(seed=seed, index=index, split=split)
            image_file = folder / f"images{suffix}" / f"{scan.case_id}_0000.nii.gz"
            label_file = folder / f"labels{suffix}" / f"{scan.case_id}.nii.gz"
            # float32, because the hashes of files written so are in stores that exist
            write_file_order(image_file, scan.image.astype(np.float32), scan.affine)
            write_file_order(label_file, scan.label.astype(np.float32), scan.affine)
    write_json(
        folder / "dataset.json",
        {
            "name": "mass3d phantom",
            "channel_names": {"0": "scan"},
            "labels": {"background": 0, **STRUCTURES},
            "numTraining": cases,
            "file_ending": ".nii.gz",
        },
    )
    return folder


def draw_phantom(*, seed: int, index: int, split: int = TRAINING) -> PhantomScan:
    """Draw one scan: even indices are CT, odd ones MR."""
    rng = np.random.default_rng((seed, split, index))
    modality: PhantomModality = "ct" if index % 2 == 0 else "mr"
    shape, affine = _draw_grid(rng)
    world = _voxel_centres(shape, affine)
    anatomy = _bend(world, rng)
    soft_mm = 0.35 * float(np.linalg.norm(affine[:3, :3], axis=0).mean())
    tissue, label = _paint(anatomy, rng, modality=modality, soft_mm=soft_mm)
    image = _acquire_ct(tissue, rng) if modality == "ct" else _acquire_mr(tissue, world, rng)
    case_id = f"{modality}_{'test_' if split == TEST else ''}{index:03d}"
    return PhantomScan(case_id, np.round(image).astype(np.int16), label, affine)


# --- the grid of the file -------------------------------------------------------------------


def _draw_grid(rng: np.random.Generator) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """A file grid around the torso: spacing, field of view, axis order, flips, obliqueness."""
    extent_mm = np.array([212.0, 158.0, 172.0]) * rng.uniform(0.96, 1.08, 3)
    spacing_mm = np.full(3, rng.uniform(2.9, 3.4))
    if rng.random() < 0.4:  # thick slices
        spacing_mm[2] = rng.uniform(3.6, 4.4)
    rotation = np.eye(3)
    if rng.random() < 0.3:  # an oblique scan
        rotation = _rotation(rng.normal(0.0, np.deg2rad(6.0), 3))
    count = np.round(extent_mm / spacing_mm).astype(int)
    order = rng.permutation(3) if rng.random() < 0.5 else np.arange(3)
    signs = rng.choice([-1.0, 1.0], 3)
    columns = (rotation * spacing_mm)[:, order] * signs
    shape = count[order]
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = rng.normal(0.0, 5.0, 3) - columns @ ((shape - 1) / 2)
    return (int(shape[0]), int(shape[1]), int(shape[2])), affine


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rotation by small angles (radians) about x, y and z, exactly orthonormal."""
    turn = np.array(
        [[0, -angles[2], angles[1]], [angles[2], 0, -angles[0]], [-angles[1], angles[0], 0]]
    )
    orthonormal, triangle = np.linalg.qr(np.eye(3) + turn)
    return np.asarray(orthonormal * np.sign(np.diag(triangle)))


def _voxel_centres(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> Points:
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    x, y, z = (row[0] * i + row[1] * j + row[2] * k + row[3] for row in affine[:3])
    return Points(x.astype(np.float32), y.astype(np.float32), z.astype(np.float32))


# --- the variation of the anatomy -----------------------------------------------------------


def _waves(
    points: Points, rng: np.random.Generator, *, shortest_mm: float, count: int = 7
) -> Floats:
    """A smooth random field of about unit size: a few plane waves of at least `shortest_mm`."""
    field = np.zeros(points.x.shape, np.float32)
    for _ in range(count):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        wave = 2 * np.pi / (shortest_mm * rng.uniform(1.0, 2.5)) * direction
        phase = rng.uniform(0, 2 * np.pi)
        field += np.cos(
            np.float32(wave[0]) * points.x
            + np.float32(wave[1]) * points.y
            + np.float32(wave[2]) * points.z
            + np.float32(phase)
        )
    return field * np.float32(np.sqrt(2 / count))


def _bend(world: Points, rng: np.random.Generator) -> Points:
    """World -> template: one size per patient and a smooth displacement of about 5 mm."""
    size = rng.uniform(0.92, 1.08, 3).astype(np.float32)
    moved = [
        axis / size[a] + np.float32(4.0) * _waves(world, rng, shortest_mm=95.0)
        for a, axis in enumerate(world)
    ]
    return Points(*moved)


# --- the shapes -----------------------------------------------------------------------------


def _ellipsoid(p: Points, centre: Triple, radii: Triple) -> Floats:
    """First-order distance to an ellipsoid, in mm."""
    offsets = [(axis - np.float32(c)) for axis, c in zip(p, centre, strict=True)]
    scaled = [o / np.float32(r) for o, r in zip(offsets, radii, strict=True)]
    k = np.sqrt(sum(s * s for s in scaled))
    slope = np.sqrt(sum((s / np.float32(r)) ** 2 for s, r in zip(scaled, radii, strict=True)))
    return np.asarray(k * (k - 1) / np.maximum(slope, np.float32(1e-3)), np.float32)


def _tube(p: Points, x: Course, y: Course, radius: Course) -> Floats:
    """Distance to a tube that runs from foot to head along (x(z), y(z))."""
    return np.asarray(np.hypot(p.x - x, p.y - y) - radius, np.float32)


def _blend(a: Floats, b: Floats, *, mm: float) -> Floats:
    """The union of two shapes with a fillet of about `mm`."""
    h = np.clip(0.5 + 0.5 * (b - a) / mm, 0, 1).astype(np.float32)
    return np.asarray(b + (a - b) * h - mm * h * (1 - h), np.float32)


def _mirrored(p: Points) -> Points:
    """Fold the left side onto the right, for pairs."""
    return Points(np.abs(p.x), p.y, p.z)


def _trunk(p: Points, *, inset_mm: float) -> Floats:
    waist = np.cos(p.z / np.float32(45)) * np.float32(3)
    k = (np.abs(p.x / (92 + waist)) ** 2.4 + np.abs(p.y / (62 + waist)) ** 2.4) ** (1 / 2.4)
    return np.asarray((k - 1) * 68 + inset_mm, np.float32)


def _ribs(p: Points) -> Floats:
    slope = p.z + np.float32(0.25) * p.y
    across = np.abs(((slope / 17) % 1) - 0.5) * 17 - 3.2
    shell = np.abs(_trunk(p, inset_mm=13.0)) - 2.6
    return np.asarray(np.maximum(np.maximum(across, shell), -8 - p.z), np.float32)


def _spine(p: Points) -> Floats:
    disc = np.cos(p.z * np.float32(2 * np.pi / 27))
    body = _tube(p, 0.0, -36.0, 14.5 + 1.8 * disc)
    arch = np.maximum(np.abs(p.x) - 4.5, np.abs(p.y + 57) - 10)
    return np.asarray(np.minimum(body, np.maximum(arch, -5 * disc - 1.5)), np.float32)


def _lungs(p: Points) -> Floats:
    return _ellipsoid(_mirrored(p), (46.0, -4.0, 92.0), (34.0, 44.0, 48.0))


def _liver(p: Points) -> Floats:
    right = _ellipsoid(p, (46.0, 5.0, 22.0), (36.0, 40.0, 36.0))
    left = _ellipsoid(p, (10.0, 25.0, 31.0), (42.0, 20.0, 16.0))
    return _blend(right, left, mm=12.0)


def _liver_vessels(p: Points) -> Floats:
    branch = np.hypot(p.y - 8 - 0.35 * (p.x - 30), p.z - 16 - 6 * np.sin(p.x / 14)) - 2.6
    second = np.hypot(p.x - 44 - 0.4 * (p.y - 4), p.z - 20 + 5 * np.sin(p.y / 12)) - 2.4
    inside = _liver(p) + 5
    return np.asarray(np.maximum(np.minimum(branch, second), inside), np.float32)


def _kidneys(p: Points) -> Floats:
    q = _mirrored(p)
    q = Points(q.x + 0.22 * (q.z + 34), q.y, q.z + 3 * np.sign(p.x))
    bean = _ellipsoid(q, (46.0, -27.0, -34.0), (15.5, 14.0, 29.0))
    hilum = _ellipsoid(q, (31.0, -23.0, -34.0), (8.5, 7.0, 9.0))
    return np.maximum(bean, -hilum)


def _kidney_core(p: Points) -> Floats:
    q = _mirrored(p)
    q = Points(q.x + 0.22 * (q.z + 34), q.y, q.z + 3 * np.sign(p.x))
    return _ellipsoid(q, (44.0, -27.0, -34.0), (7.5, 7.0, 18.0))


def _bowel(p: Points) -> Floats:
    region = _ellipsoid(p, (-6.0, 24.0, -58.0), (62.0, 26.0, 40.0))
    u, v, w = (np.float32(2 * np.pi / 40) * axis for axis in p)
    coils = np.sin(u) * np.cos(v) + np.sin(v) * np.cos(w) + np.sin(w) * np.cos(u)
    return np.asarray(np.maximum(region, 7 * (np.abs(coils) - 0.75)), np.float32)


ANATOMY: Final[tuple[Part, ...]] = (
    Part("skin and fat", lambda p: _trunk(p, inset_mm=0.0), -95, 120, wander_mm=0.5),
    Part("wall", lambda p: _trunk(p, inset_mm=9.0), 52, 270, wander_mm=0.8),
    Part("visceral fat", lambda p: _trunk(p, inset_mm=17.0), -88, 140, wander_mm=0.8, texture=2.0),
    Part("ribs", _ribs, 330, 150, wander_mm=0.5),
    Part("lungs", _lungs, -820, 40, texture=2.0),
    Part(
        "psoas",
        lambda p: _ellipsoid(_mirrored(p), (25.0, -34.0, -55.0), (11.0, 12.0, 48.0)),
        55,
        280,
    ),
    Part("spine", _spine, 260, 230, texture=2.5, wander_mm=1.0),
    Part("canal", lambda p: _tube(p, 0.0, -57.0, 5.5), 28, 170, wander_mm=0.5),
    Part("stomach", lambda p: _ellipsoid(p, (-34.0, 24.0, 22.0), (26.0, 23.0, 27.0)), 48, 360),
    Part(
        "stomach content",
        lambda p: _ellipsoid(p, (-34.0, 24.0, 22.0), (21.0, 18.0, 22.0)),
        18,
        210,
    ),
    Part("spleen", lambda p: _ellipsoid(p, (-62.0, -16.0, 22.0), (16.0, 26.0, 31.0)), 112, 500),
    Part("bowel", _bowel, 38, 370, texture=2.0),
    Part("liver", _liver, 104, 480, label=STRUCTURES["liver"], texture=1.5),
    Part("liver vessels", _liver_vessels, 150, 590, label=None, wander_mm=1.0),
    Part("kidneys", _kidneys, 172, 600, label=STRUCTURES["kidneys"], texture=1.5),
    Part("kidney core", _kidney_core, 125, 470, label=None, wander_mm=1.0),
    Part(
        "vena cava",
        lambda p: _tube(p, 15.0 + 4 * np.sin(p.z / 50), -14.0 + 0.06 * p.z, 7.5),
        140,
        560,
    ),
    Part(
        "aorta",
        lambda p: _tube(p, -9.0 + 5 * np.sin(p.z / 42), -13.0 + 3 * np.cos(p.z / 30), 8.2),
        185,
        620,
        label=STRUCTURES["aorta"],
    ),
    Part(
        "gallbladder",
        lambda p: _ellipsoid(p, (26.0, 32.0, 0.0), (10.5, 10.0, 17.0)),
        12,
        150,
        label=STRUCTURES["gallbladder"],
    ),
)


# --- the scanner ----------------------------------------------------------------------------


def _lesions(p: Points, rng: np.random.Generator) -> Floats:
    """One to three balls about the liver's right lobe, in four cases of ten; else nothing."""
    balls = np.full(p.x.shape, 1e3, np.float32)
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.4 else 0):
        x, y, z = rng.uniform((28.0, -18.0, -4.0), (66.0, 20.0, 38.0))
        radius = float(rng.uniform(5.0, 9.0))
        balls = np.minimum(balls, _ellipsoid(p, (x, y, z), (radius, radius, radius)))
    return balls


def _paint(
    anatomy: Points, rng: np.random.Generator, *, modality: PhantomModality, soft_mm: float
) -> tuple[Floats, NDArray[np.uint8]]:
    """Lay the parts over one another: clean tissue values with soft edges, and the labels."""
    shape = anatomy.x.shape
    grain = _smooth_noise(rng, shape, 1.2) + _smooth_noise(rng, shape, 2.5)
    tissue = np.full(shape, -1000.0 if modality == "ct" else 15.0, np.float32)
    label = np.zeros(shape, np.uint8)
    lesions = Part("lesions", lambda p: _lesions(p, rng), 62, 340, label=None, wander_mm=0.0)
    after_vessels = 1 + [part.name for part in ANATOMY].index("liver vessels")
    for part in (*ANATOMY[:after_vessels], lesions, *ANATOMY[after_vessels:]):
        shift = rng.normal(0.0, part.wander_mm, 3).astype(np.float32)
        swell = np.float32(rng.normal(0.0, 0.4 * part.wander_mm))
        distance = part.distance(Points(*(a - s for a, s in zip(anatomy, shift, strict=True))))
        distance = distance - np.clip(swell, -1.5, 1.5)
        amount = 1 / (1 + np.exp(np.clip(distance / np.float32(soft_mm), -30, 30)))
        if modality == "ct":
            value = part.ct + rng.normal(0.0, 9.0) + 8.0 * part.texture * grain
        else:
            value = part.mr * np.exp(rng.normal(0.0, 0.10)) * (1 + 0.05 * part.texture * grain)
        tissue += amount * (value - tissue)
        if part.label is not None:
            label[distance < 0] = part.label
    return tissue, label


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma_vox: float) -> Floats:
    """Gaussian noise of unit size, correlated over `sigma_vox`."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma_vox, mode="wrap")
    return np.asarray(noise / noise.std(), np.float32)


def _acquire_ct(tissue: Floats, rng: np.random.Generator) -> Floats:
    """HU with correlated quantum noise, as a reconstruction kernel leaves it."""
    noise = _smooth_noise(rng, tissue.shape, 0.6)
    return np.clip(tissue + np.float32(rng.uniform(14.0, 26.0)) * noise, -1024, 3071)


def _acquire_mr(tissue: Floats, world: Points, rng: np.random.Generator) -> Floats:
    """Magnitude image: coil bias field, Rician noise, and the gain of this scanner."""
    bias = np.exp(np.float32(0.16) * _waves(world, rng, shortest_mm=220.0))
    sigma = np.float32(rng.uniform(22.0, 38.0))
    real = tissue * bias + sigma * rng.standard_normal(tissue.shape, np.float32)
    imaginary = sigma * rng.standard_normal(tissue.shape, np.float32)
    gain = np.float32(np.exp(rng.normal(0.0, 0.35)))
    return np.asarray(np.clip(gain * np.hypot(real, imaginary), 0, 32000), np.float32)
