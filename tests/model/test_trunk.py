import torch

from mass3d.model.trunk import Trunk, fold, unfold


def test_folding_moves_blocks_of_voxels_into_channels_and_back() -> None:
    x = torch.arange(2 * 3 * 4 * 6 * 8.0).view(2, 3, 4, 6, 8)
    folded = fold(x)
    assert folded.shape == (2, 24, 2, 3, 4)
    for corner, (i, j, k) in enumerate([(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]):
        assert torch.equal(folded[:, corner::8], x[:, :, i::2, j::2, k::2])
    assert torch.equal(unfold(folded), x)


def test_every_cell_knows_the_whole_view() -> None:
    trunk = Trunk((8, 16, 24), deep=2).eval()
    assert trunk.stride == 8
    image = torch.randn(1, 1, 16, 32, 24, requires_grad=True)
    features = trunk(image)
    assert features.shape == (1, 8, 8, 16, 12)
    features[0, :, 0, 0, 0].sum().backward()
    assert image.grad is not None
    assert (image.grad != 0).float().mean() > 0.9


def test_every_parameter_is_trained() -> None:
    trunk = Trunk((8, 16), deep=1)
    trunk(torch.randn(2, 1, 8, 8, 8)).square().mean().backward()
    assert [n for n, p in trunk.named_parameters() if p.grad is None or not p.grad.any()] == []
