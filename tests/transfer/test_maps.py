"""Maps beside label maps, against plain voxel by voxel counts."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mass3d.errors import OutputError
from mass3d.io.datasets.cohort import label_maps
from mass3d.io.read import read_volume
from mass3d.transfer.maps import (
    STEPS,
    Agreement,
    Maps,
    as_shares,
    file_names,
    scratch_maps,
    write_maps,
)
from mass3d.transfer.oneshot.output import labels_of_slabs, labels_on
from mass3d.volume.box import box_at
from mass3d.volume.geometry import Grid, SourceGrid
from mass3d.volume.resample import resample_image

GRID = SourceGrid.nearest((3, 4, 5), np.diag((-1.0, -1.0, 2.0, 1.0)))
SOURCE = Grid.make((37, 50, 41), np.diag([0.8, 1.1, 2.0, 1.0]))


def test_probabilities_are_those_that_labels_are_made_of() -> None:
    grid = SOURCE.resampled((3.5, 3.5, 3.5))
    start, size = [n // 5 for n in grid.shape], [n // 2 for n in grid.shape]
    votes = np.random.default_rng(0).dirichlet([0.3, 0.3, 0.3], size).astype(np.float32)
    part = np.ascontiguousarray(np.moveaxis(votes[..., 1:], -1, 0))
    box = box_at(start, (size[0], size[1], size[2]))
    whole = np.zeros((2, *grid.shape), np.float32)
    whole[(slice(None), *box)] = part
    shares = np.zeros((2, *SOURCE.shape), np.int16)
    labels = labels_on(SOURCE, part, box, grid, [7, 9], shares=[*shares])
    np.testing.assert_array_equal(labels, labels_on(SOURCE, part, box, grid, [7, 9]))
    for share, channel in zip(shares, whole, strict=True):
        plain = resample_image(channel, grid, SOURCE)
        np.testing.assert_allclose(share / STEPS, plain, atol=0.6 / STEPS)
    again = np.zeros_like(shares)
    slabs = [(a, whole[:, a : a + 3]) for a in range(0, grid.shape[0], 3)]
    labels_of_slabs(SOURCE, slabs, grid, [7, 9], shares=[*again])
    assert np.abs(again - shares).max() <= 1  # sums in another order


def test_agreement_is_the_share_of_those_who_could_say_it() -> None:
    rng = np.random.default_rng(0)
    answer, *said = (rng.choice([0, 3, 8], (4, 5, 6)).astype(np.uint16) for _ in range(4))
    voting = [[True, True], [True, False], [False, False]]
    agreement, share = Agreement(answer, [3, 8]), np.zeros(answer.shape, np.int16)
    for one, votes in zip(said, voting, strict=True):
        agreement.count(one, votes)
    agreement.fill(share)
    for place in np.ndindex(answer.shape):
        value = int(answer[place])
        asked = [any(v) if value == 0 else v[[3, 8].index(value)] for v in voting]
        agree = [a and one[place] == value for a, one in zip(asked, said, strict=True)]
        assert share[place] == round(sum(agree) / max(1, sum(asked)) * STEPS)


def test_maps_are_read_as_numbers_from_0_to_1_by_anyone(tmp_path: Path) -> None:
    values = np.linspace(-0.1, 1.1, 60, dtype=np.float32).reshape(GRID.grid.shape)
    maps = Maps([as_shares(values), as_shares(values[::-1])], as_shares(values))
    digests = write_maps(tmp_path, "a", maps, {"left kidney": 4, "liver": 1}, GRID)
    names = ["probabilities/a/left-kidney.nii.gz", "probabilities/a/liver.nii.gz"]
    assert list(digests) == [*names, "agreement/a.nii.gz"]
    found = read_volume(tmp_path / names[0])
    np.testing.assert_allclose(found.voxels, values.clip(0, 1), atol=0.6 / STEPS)
    assert found.source == GRID
    image = nib.load(tmp_path / names[1])
    assert isinstance(image, nib.Nifti1Image)
    assert image.get_data_dtype() == np.int16
    assert image.get_fdata().max() == pytest.approx(1)


def test_files_of_structures_are_told_apart() -> None:
    names = file_names({"a b": 1, "A-b": 2, "c": 3, "/": 4, "../d": 5})
    assert names == {"a b": "a-b_1", "A-b": "A-b_2", "c": "c", "/": "_4", "../d": "d"}


def test_scratch_goes_when_it_is_done_with(tmp_path: Path) -> None:
    (tmp_path / ".maps").mkdir()
    (tmp_path / ".maps" / "0").write_text("left by a killed process")
    with scratch_maps(tmp_path, (2, 3, 4), 2, agreement=True) as maps:
        assert [one.shape for one in maps.probabilities] == [(2, 3, 4)] * 2
        assert maps.agreement is not None
        assert not maps.agreement.any()
    assert list(tmp_path.iterdir()) == []
    with scratch_maps(tmp_path, (2, 3, 4), 0) as none:
        assert (none.probabilities, none.agreement) == ((), None)
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), scratch_maps(tmp_path / "file", (2, 3, 4), 1):
        pass


def test_maps_are_no_label_maps(tmp_path: Path) -> None:
    maps = Maps([np.zeros(GRID.grid.shape, np.int16)])
    write_maps(tmp_path, "a", maps, {"liver": 1}, GRID)
    (tmp_path / "b.nii.gz").touch()
    assert list(label_maps(tmp_path)) == ["b", "liver"]
    (tmp_path / "record.json").write_text('{"verb": "segment", "mass3d": "0"}')
    assert list(label_maps(tmp_path)) == ["b"]
