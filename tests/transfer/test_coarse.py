"""What labels lose on voxels that are larger than theirs, and when that is told."""

from __future__ import annotations

import numpy as np
import pytest

from mass3d.metrics.overlap import dice
from mass3d.transfer.coarse import MEASURED, Losses, what_is_kept
from mass3d.volume.preparation import prepare_label
from mass3d.volume.resample import linear_weights
from mass3d.volume.volume import Volume

UNKNOWN = 255


def label(spacing_mm: float = 2.0, *, thin: int = 1) -> Volume:
    """A ball (1) with a sheet (2) beside it, and a corner (255) that nobody annotated."""
    d, h, w = np.indices((40, 44, 48))
    values = np.zeros((40, 44, 48), np.uint8)
    values[(d - 20) ** 2 + (h - 20) ** 2 + (w - 18) ** 2 < 14**2] = 1
    values[4:36, 4:40, 40 : 40 + thin] = 2
    values[:6, :6, :6] = UNKNOWN
    return Volume.from_array(values, spacing_mm=(spacing_mm,) * 3)


def test_what_is_kept_is_what_the_best_voxels_of_the_model_would_reach() -> None:
    """The oracle: every value as shares on the coarse grid, interpolated whole, the largest won."""
    volume = label(thin=6)
    found = what_is_kept(volume, {"ball": (1,), "sheet": (2,)}, 3.0, ignored=UNKNOWN)
    coarse = volume.grid.resampled((3.0, 3.0, 3.0))
    there = prepare_label(volume, coarse)
    sizes = zip(coarse.shape, volume.grid.shape, strict=True)
    ways = [linear_weights(old, new).toarray() for old, new in sizes]
    shares = np.stack([~np.isin(there, (1, 2)), there == 1, there == 2]).astype(np.float64)
    back = np.einsum("ad,bh,cw,sdhw->sabc", *ways, shares, optimize=True).argmax(0)
    counted = volume.voxels != UNKNOWN
    for name, value in (("ball", 1), ("sheet", 2)):
        truth = volume.voxels == value
        assert found[name] == pytest.approx(dice((back == value) & counted, truth), abs=1e-3)


def test_regions_and_values_are_counted_each_for_itself() -> None:
    volume = label()
    alone = what_is_kept(volume, {"ball": (1,), "sheet": (2,)}, 3.0)
    both = what_is_kept(volume, {"all": (1, 2), "ball": (1,), "none": (9,)}, 3.0)
    assert both.keys() == {"all", "ball"}  # nothing of what is not there
    assert both["ball"] == alone["ball"]
    assert alone["sheet"] < both["all"] < alone["ball"]
    unnamed = what_is_kept(volume, {"two": (1, 2), "three": (2, 1)}, 3.0)  # beside the value 255
    assert unnamed["two"] == unnamed["three"] == both["all"]


def test_moderately_finer_voxels_are_told_where_a_structure_loses_much() -> None:
    """Found: brains at 2 mm for a model of 3 mm, a third of the CSF lost, and not a word."""
    losses = Losses(3.0, {"ball": (1,), "sheet": (2,)})
    losses.add(label(), ignored=UNKNOWN)
    (told,) = losses.told()
    assert told.startswith(
        "voxels of the scans have edges of about 2 mm, but the model works with 3 mm: what is "
        "smaller is lost; the labels, brought to whole voxels of that size and back, are left "
        "with a Dice of about 0."
    )
    assert told.endswith("of sheet")  # the ball keeps enough
    thick = Losses(3.0, {"ball": (1,)})
    thick.add(label())
    assert [*thick.told()] == []
    same = Losses(2.1, {"ball": (1,), "sheet": (2,)})
    same.add(label())
    assert (same.kept, [*same.told()]) == ([], [])


def test_much_finer_voxels_are_told_whatever_is_lost_and_few_scans_measured() -> None:
    losses = Losses(5.0, {"ball": (1,)})
    for _ in range(MEASURED + 2):
        losses.add(label())
    assert (len(losses.edges), len(losses.kept)) == (MEASURED + 2, MEASURED)
    (told,) = losses.told()
    assert "2 mm, but the model works with 5 mm" in told
    assert "of ball" in told
