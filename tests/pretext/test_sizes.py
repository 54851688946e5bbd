import torch

from mass3d.pretext.sizes import OCTAVES, masks_by_octave


def test_masks_are_counted_where_they_are_valid() -> None:
    voxels = torch.tensor([[16, 31, 32, 5000], [1, 10**9, 63, 64]])
    valid = torch.tensor([[True, True, True, False], [True, True, True, True]])
    found = {name: float(value) for name, value in masks_by_octave(voxels, valid).items()}
    assert list(found) == [f"masks_{begin}" for begin in OCTAVES]
    assert {name: value for name, value in found.items() if value} == {
        "masks_16": 1.5,  # 16, 31, and 1, which is smaller than any
        "masks_32": 1.0,
        "masks_64": 0.5,
        f"masks_{OCTAVES[-1]}": 0.5,
    }
