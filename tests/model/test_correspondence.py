import pytest
import torch

from mass3d.model.build import build_network
from mass3d.model.correspondence import CorrespondenceNet, balanced
from mass3d.model.presets import CorrespondencePreset
from mass3d.model.protocol import segment_pair

CROP = (16, 24, 16)
SMALL = CorrespondencePreset(channels=(16, 24), deep=1, keys=8, max_keys=300)


@pytest.fixture(scope="module")
def net() -> CorrespondenceNet:
    torch.manual_seed(0)
    return CorrespondenceNet(SMALL).eval()


def scan() -> tuple[torch.Tensor, torch.Tensor]:
    """A bright box and a dark box in noise, and their masks."""
    image = 0.1 * torch.randn(1, 1, *CROP, generator=torch.Generator().manual_seed(3))
    masks = torch.zeros(1, 2, *CROP)
    masks[:, 0, 3:9, 4:12, 5:11] = 1
    masks[:, 1, 9:14, 13:20, 4:12] = 1
    return image + masks[:, :1] - masks[:, 1:], masks


def dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    predicted = (logits > 0).float()
    return 2 * (predicted * masks).sum((2, 3, 4)) / (predicted + masks).sum((2, 3, 4))


@torch.no_grad()
def test_it_draws_again_what_it_was_shown(net: CorrespondenceNet) -> None:
    """Without any training: closed form, random features."""
    image, masks = scan()
    assert (dice(segment_pair(net, image, masks, image), masks) > 0.9).all()


@torch.no_grad()
def test_masks_do_not_depend_on_what_else_is_asked(net: CorrespondenceNet) -> None:
    image, masks = scan()
    maps = net.encode(image)
    net.max_keys = 10_000  # all cells, so that the memory is the same
    both = net.decode(maps, net.encode_task(maps, masks))
    one = net.decode(maps, net.encode_task(maps, masks[:, 1:]))
    net.max_keys = SMALL.max_keys
    torch.testing.assert_close(both[:, 1:], one, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_batch_is_its_samples(net: CorrespondenceNet) -> None:
    image, masks = scan()
    images, both = torch.cat([image, image.flip(2)]), torch.cat([masks, masks.flip(2)])
    together = segment_pair(net, images, both, images)
    alone = segment_pair(net, images[1:], both[1:], images[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_windows_of_one_reference_are_joined(net: CorrespondenceNet) -> None:
    image, masks = scan()
    maps = net.encode(image)
    task = net.encode_task(maps, masks)
    nothing = net.encode_task(maps, torch.zeros_like(masks))
    weights = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    joined = net.join_tasks([task, nothing], weights)
    assert {name: one.shape for name, one in joined.items()} == {
        name: one.shape for name, one in task.items()
    }
    assert torch.equal(joined["weights"], task["weights"])


def test_the_task_of_ten_structures_is_small() -> None:
    net = build_network(CorrespondencePreset(channels=(32, 64)), seed=0).eval()
    maps = net.encode(torch.randn(1, 1, 32, 32, 32))
    with torch.no_grad():
        task = net.encode_task(maps, torch.zeros(1, 10, 32, 32, 32))
    assert 2 * sum(tensor.numel() for tensor in task.values()) < 300_000  # half precision


def test_weights_of_cells_are_half_on_the_mask() -> None:
    shares = torch.zeros(1, 2, 100)
    shares[0, 0, :5] = 1
    weights = balanced(shares, torch.zeros(1, 2, 100))
    torch.testing.assert_close(weights[0, 0, :5].sum(), torch.tensor(0.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(weights[0, 0].sum(), torch.tensor(1.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(weights[0, 1].sum(), torch.tensor(0.5), atol=1e-3, rtol=0)
