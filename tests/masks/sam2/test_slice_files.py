from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mass3d.masks.packing import CutMask
from mass3d.masks.sam2.slice_files import Work, read_masks, write_masks


def masks(count: int) -> list[CutMask]:
    rng = np.random.default_rng(count)
    return [
        CutMask.of(rng.random((4, 5, 6)) < 0.1, float(np.float32(rng.random())))
        for _ in range(count)
    ]


def same(a: list[CutMask], b: list[CutMask]) -> bool:
    return len(a) == len(b) and all(
        x.box == y.box
        and np.array_equal(x.mask, y.mask)
        and (x.voxels, x.score) == (y.voxels, y.score)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("count", [0, 1, 7])
def test_masks_are_read_back_as_they_were(count: int, tmp_path: Path) -> None:
    write_masks(tmp_path / "m.npz", masks(count))
    assert same(read_masks(tmp_path / "m.npz"), masks(count))


def test_what_was_found_is_not_looked_for_again(tmp_path: Path) -> None:
    calls = []

    def find() -> Iterator[CutMask]:
        calls.append(1)
        yield from masks(3)

    for _ in range(2):
        assert same(Work(tmp_path / "w").once("a", find), masks(3))
    assert len(calls) == 1
    assert same(Work(None).once("a", find), masks(3))
    assert len(calls) == 2


def test_that_nothing_was_found_is_remembered(tmp_path: Path) -> None:
    assert Work(tmp_path).once("a", list) == []
    assert Work(tmp_path).once("a", lambda: masks(1)) == []


def test_a_search_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def find() -> Iterator[CutMask]:
        yield from masks(1)
        raise MemoryError

    with pytest.raises(MemoryError):
        Work(tmp_path).once("a", find)
    assert not list(tmp_path.iterdir())
