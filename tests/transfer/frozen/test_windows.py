import numpy as np
import pytest

from mass3d.transfer.frozen.windows import axis_windows, padded_shape, weighted_windows


@pytest.mark.parametrize(("size", "window"), [(5, 16), (16, 16), (17, 16), (61, 16), (64, 24)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.8])
def test_weights_of_all_windows_sum_to_one_at_every_voxel(
    size: int, window: int, overlap: float
) -> None:
    total = np.zeros(padded_shape((size, 1, 1), (window, 8, 8), stride=8)[0])
    for start, weight in axis_windows(size, window, stride=8, overlap=overlap):
        assert start % 8 == 0
        total[start : start + window] += weight.numpy()
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_windows_of_a_scan_share_its_voxels_out() -> None:
    shape, window = (20, 33, 9), (16, 16, 16)
    total = np.zeros(padded_shape(shape, window, stride=4))
    for one in weighted_windows(shape, window, stride=4, overlap=0.5):
        assert one.weight.shape == window
        total[one.box] += one.weight.numpy()
    assert total.shape == (20, 36, 16)
    np.testing.assert_allclose(total, 1, atol=1e-5)
