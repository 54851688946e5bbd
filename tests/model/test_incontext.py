import pytest
import torch

from mass3d.model.incontext import InContextNet
from mass3d.model.presets import TOKENS

CROP = (32, 48, 16)


@pytest.fixture(scope="module")
def net() -> InContextNet:
    torch.manual_seed(0)
    return InContextNet(TOKENS).eval()


def tokens_of(net: InContextNet, image: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    return net.encode_task(net.encode(image), masks)["tokens"]


def some_masks(batch: int, count: int) -> torch.Tensor:
    masks = torch.zeros(batch, count, *CROP)
    for k in range(count):
        masks[:, k, 4 + k : 12 + k, 10:20, 3:11] = 1
    return masks


def test_every_mask_gets_a_logit_at_every_voxel(net: InContextNet) -> None:
    logits = net(torch.randn(2, 1, *CROP), some_masks(2, 3), torch.randn(2, 1, *CROP))
    assert logits.shape == (2, 3, *CROP)


def test_tokens_of_a_mask_do_not_depend_on_the_other_masks(net: InContextNet) -> None:
    image, masks = torch.randn(1, 1, *CROP), some_masks(1, 3)
    together = tokens_of(net, image, masks)
    alone = tokens_of(net, image, masks[:, 1:2])
    torch.testing.assert_close(together[:, 1:2], alone)


def test_tokens_depend_on_the_mask_and_on_the_image(net: InContextNet) -> None:
    image, masks = torch.randn(1, 1, *CROP), some_masks(1, 2)
    tokens = tokens_of(net, image, masks)
    assert not torch.allclose(tokens[:, 0], tokens[:, 1])
    assert not torch.allclose(tokens, tokens_of(net, torch.randn(1, 1, *CROP), masks))


def test_one_pass_over_both_views_equals_tokens_then_segmentation(net: InContextNet) -> None:
    reference, query, masks = torch.randn(1, 1, *CROP), torch.randn(1, 1, *CROP), some_masks(1, 2)
    at_once = net(reference, masks, query)
    in_turn = net.decode(net.encode(query), {"tokens": tokens_of(net, reference, masks)})
    torch.testing.assert_close(at_once, in_turn, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("image", [torch.zeros(1, 1, *CROP), torch.full((1, 1, *CROP), 1e3)])
def test_constant_images_and_empty_masks_stay_finite_with_their_gradients(
    net: InContextNet, image: torch.Tensor
) -> None:
    masks = torch.zeros(1, 2, *CROP)
    masks[0, 1] = 1
    logits = net(image, masks, image)
    logits.square().mean().backward()
    assert logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    net.zero_grad()


def test_the_smallest_crop_works(net: InContextNet) -> None:
    smallest = torch.randn(1, 1, 16, 16, 16)
    assert net(smallest, torch.ones(1, 1, 16, 16, 16), smallest).isfinite().all()


def test_every_parameter_is_trained() -> None:
    net = InContextNet(TOKENS)
    loss = net(torch.randn(1, 1, *CROP), some_masks(1, 2), torch.randn(1, 1, *CROP)).square().mean()
    loss.backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


def test_tiny_stays_tiny(net: InContextNet) -> None:
    assert sum(p.numel() for p in net.parameters()) < 6e6
