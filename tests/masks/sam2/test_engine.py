"""The whole path, with small models of the library's own classes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mass3d.masks.layers import MaskSet
from mass3d.masks.packing import encode
from mass3d.masks.sam2.engine import propose
from mass3d.masks.sam2.settings import Sam2Config
from oracles import masks as oracle
from sam2_models import MEAN, STD, quick

Balls = tuple[NDArray[np.bool_], ...]
KILL_ME = Path(__file__).with_name("kill_me.py")


def run(image: NDArray[np.float32], config: Sam2Config, **others: Any) -> MaskSet:
    given = {"spacing_mm": 2.0, "modality": "ct", "mean": MEAN, "std": STD, **others}
    return propose(image, config=config, **given)


def same(a: MaskSet, b: MaskSet) -> bool:
    ours, theirs = a.table.columns(), b.table.columns()
    return np.array_equal(a.ranks, b.ranks) and all(
        np.array_equal(ours[name], theirs[name]) for name in ours
    )


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture
def slab(scan: NDArray[np.float32]) -> NDArray[np.float32]:
    """A part of the scan that takes less time."""
    return scan[5:15]


def pieces(work: Path) -> list[Path]:
    return sorted(work.glob("*/[!.]*.npz"))


def test_objects_of_a_scan_become_masks(
    bright: Path, scan: NDArray[np.float32], balls: Balls
) -> None:
    found = run(scan, quick(bright))
    for ball in balls:
        assert max(dice(found.mask(row), ball) for row in range(len(found))) > 0.85
    assert set(found.table.engine) == {"sam2"}
    qualities = 1 / (1 + np.exp([-1.0, -2.0, -0.5]))  # that the model gives to its three levels
    assert np.abs(found.table.score[:, np.newaxis] - qualities).min(axis=1).max() < 1e-6
    assert (found.table.voxels * 8 >= 500).all()


def test_of_masks_that_overlap_too_much_one_stays(random: Path, slab: NDArray[np.float32]) -> None:
    def overlaps(masks: MaskSet) -> list[float]:
        whole = [masks.mask(row) for row in range(len(masks))]
        return sorted((a & b).sum() / (a | b).sum() for a, b in combinations(whole, 2))

    every = run(slab, quick(random, max_iou=1.0))
    limit = overlaps(every)[-1] - 1e-6
    few = run(slab, quick(random, max_iou=limit))
    assert 0 < len(few) < len(every)
    assert overlaps(few)[-1] <= limit


@pytest.mark.parametrize("kind", ["random", "edgetam"])
def test_masks_of_any_shape_come_back_from_their_layers(
    kind: str, slab: NDArray[np.float32], request: pytest.FixtureRequest
) -> None:
    found = run(slab, quick(request.getfixturevalue(kind)))
    masks = [found.mask(row) for row in range(len(found))]
    assert len(masks) > 1
    again = encode(masks, scores=list(found.table.score), engine="sam2")
    assert len(again) == len(masks)
    for mask in (again.mask(row) for row in range(len(again))):
        assert any(np.array_equal(mask, other) for other in masks)
    for layer in range(len(found.ranks)):
        rows = np.flatnonzero(found.table.layer == layer)
        assert all(oracle.laminar(masks[a], masks[b]) for a in rows for b in rows)


def test_the_same_call_gives_the_same_bytes_with_a_work_folder_and_without(
    random: Path, slab: NDArray[np.float32], tmp_path: Path
) -> None:
    expected = run(slab, quick(random))
    assert len(expected) > 2
    assert same(run(slab, quick(random), work=tmp_path), expected)
    assert same(run(slab, quick(random), work=tmp_path), expected)  # all of it read back


def test_masks_do_not_depend_on_how_many_are_followed_at_once(
    random: Path, slab: NDArray[np.float32]
) -> None:
    assert same(run(slab, quick(random, objects_per_chunk=1)), run(slab, quick(random)))


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    random: Path, slab: NDArray[np.float32], tmp_path: Path
) -> None:
    expected = run(slab, quick(random), work=tmp_path / "undisturbed")
    total = len(pieces(tmp_path / "undisturbed"))
    np.save(tmp_path / "scan.npy", slab)
    work = tmp_path / "work"
    command = [sys.executable, str(KILL_ME), str(random), str(tmp_path / "scan.npy"), str(work)]
    paths = [str(KILL_ME.parents[2]), *sys.path]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    while len(pieces(work)) < 3:
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = {path: path.stat().st_mtime_ns for path in pieces(work)}
    assert 3 <= len(done) < total
    assert same(run(slab, quick(random), work=work), expected)
    assert len(pieces(work)) == total
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())


def test_what_was_kept_is_not_taken_for_another_scan_or_other_settings(
    random: Path, bright: Path, slab: NDArray[np.float32], tmp_path: Path
) -> None:
    variants: list[Callable[[], MaskSet]] = [
        lambda: run(slab, quick(random), work=tmp_path),
        lambda: run(slab + np.float32(0.01), quick(random), work=tmp_path),
        lambda: run(slab, quick(random, min_in_body=0.6), work=tmp_path),
        lambda: run(slab, quick(bright), work=tmp_path),
        lambda: run(slab, quick(random), work=tmp_path, spacing_mm=2.5),
    ]
    for count, variant in enumerate(variants, start=1):
        variant()
        assert len(list(tmp_path.iterdir())) == count
    run(slab, quick(random, points_per_batch=3), work=tmp_path)  # no other content
    assert len(list(tmp_path.iterdir())) == len(variants)


def test_a_scan_can_be_cut_along_another_axis(
    bright: Path, scan: NDArray[np.float32], balls: Balls
) -> None:
    found = run(scan, quick(bright, axes=("coronal",)))
    for ball in balls:
        assert max(dice(found.mask(row), ball) for row in range(len(found))) > 0.8


def test_several_axes_add_their_masks(random: Path, slab: NDArray[np.float32]) -> None:
    both = run(slab, quick(random, axes=("axial", "sagittal"), max_iou=1.0))
    one = run(slab, quick(random, max_iou=1.0))
    assert set(map(int, one.table.voxels)) < set(map(int, both.table.voxels))


def test_other_modalities_are_shown_by_percentiles(bright: Path, balls: Balls) -> None:
    d, h, w = np.indices(balls[0].shape)
    raw = np.asarray(40.0 * ((h - 19.5) ** 2 + (w - 23.5) ** 2 < 19**2) + 0.0 * d)
    raw[balls[0] | balls[1]] = 150
    raw += np.random.default_rng(1).uniform(0, 2, raw.shape)
    image = ((raw - 50) / 40).astype(np.float32)
    found = run(image, quick(bright), modality="mr", mean=50.0, std=40.0)
    for ball in balls:
        assert max(dice(found.mask(row), ball) for row in range(len(found))) > 0.8


def test_the_best_masks_of_a_case_stay_where_there_are_too_many(
    random: Path, slab: NDArray[np.float32]
) -> None:
    every, few = run(slab, quick(random)), run(slab, quick(random, max_masks=2))
    assert sorted(few.table.score) == sorted(every.table.score)[-2:]


def test_a_scan_without_anything_gives_no_mask(bright: Path) -> None:
    air = np.full((8, 20, 20), (-991 - MEAN) / STD, np.float32)
    found = run(air, quick(bright))
    assert len(found) == 0
    assert found.shape == (8, 20, 20)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same_objects(
    bright: Path, scan: NDArray[np.float32], balls: Balls
) -> None:
    found = run(scan, quick(bright, device="cuda"))
    for ball in balls:
        assert max(dice(found.mask(row), ball) for row in range(len(found))) > 0.85
