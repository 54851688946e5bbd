"""What a scan cannot rightly be, told by its values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mass3d.errors import DataError
from mass3d.io.read import read_volume
from mass3d.volume.doubts import (
    LIKE_SHIFTED,
    MIN_TISSUE,
    SHIFTED,
    doubts,
    require_scan,
    tissue_share,
)
from mass3d.volume.volume import Volume


def ct() -> np.ndarray:
    """Air around soft tissue with a lung and a bone, in HU."""
    rng = np.random.default_rng(0)
    voxels = np.full((20, 30, 30), -1000.0)
    voxels[:, 5:25, 5:25] = 40
    voxels[4:12, 8:14, 8:14] = -850
    voxels[:, 20:23, 13:16] = 700
    return np.maximum(voxels + rng.normal(0, 25, voxels.shape), -1024).astype(np.float32)


def test_a_ct_plus_1024_is_told_whatever_it_is_taken_for() -> None:
    shifted = Volume.from_array(ct() + 1024)
    assert doubts(shifted, "ct") == [SHIFTED]
    assert doubts(shifted, "mr") == [LIKE_SHIFTED]
    for modality in ("ct", "mr", "pet"):
        assert doubts(Volume.from_array(ct()), modality) == []


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_an_mr_of_several_tissues_is_not_doubted(scale: float) -> None:
    rng = np.random.default_rng(0)
    voxels = rng.choice([0, 300, 600, 1000], (20, 20, 20)) * scale + rng.normal(0, 20, (20,) * 3)
    assert doubts(Volume.from_array(np.abs(voxels).astype(np.float32)), "mr") == []


def test_the_share_of_tissue_leaves_out_air_and_lung() -> None:
    assert tissue_share(np.array([0, 100, 170, 1024, 1100, 1600, 950], np.float32)) == 0.75
    assert tissue_share(np.zeros(5, np.float32)) == 0


def test_few_whole_numbers_are_a_label_map_unless_that_is_wanted() -> None:
    label = Volume.from_array(np.random.default_rng(0).integers(0, 16, (9, 9, 9)).astype(float))
    with pytest.raises(DataError, match="16 different values"):
        require_scan(label)
    require_scan(label, label_maps=True)
    require_scan(Volume.from_array(label.voxels + 0.5))


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    ["hippocampus", "brain_t1", "sarcoma_mr", "headneck_ct", "sarcoma_ct"],
)
def test_real_ct_and_mr_are_told_apart(data_dir: Path, name: str) -> None:
    is_ct = name.endswith("_ct")
    for path in sorted((data_dir / name / "imagesTs").iterdir())[:8]:
        voxels = read_volume(path).voxels
        share = tissue_share(np.maximum(voxels + 1024, 0) if is_ct else voxels)
        assert (share > MIN_TISSUE) is is_ct, path
