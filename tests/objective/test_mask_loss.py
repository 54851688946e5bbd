import torch

from mass3d.objective.mask_loss import hard_dice, mask_losses, soft_dice

SURE = 20.0  # a logit whose sigmoid is one to seven digits


def cube(value: float = 1.0) -> torch.Tensor:
    target = torch.zeros(1, 1, 8, 8, 8)
    target[..., 2:6, 2:6, 2:6] = value
    return target


def test_a_perfect_prediction_has_no_loss() -> None:
    logits = (cube() * 2 - 1) * SURE
    losses = mask_losses(logits, cube(), torch.ones(1, 1, dtype=torch.bool))
    assert losses.total < 1e-4


def test_half_overlap_has_dice_one_half() -> None:
    logits = torch.full((1, 1, 8, 8, 8), -SURE)
    logits[..., 2:6, 2:6, 4:8] = SURE
    torch.testing.assert_close(soft_dice(logits, cube(), eps=0.0), torch.full((1, 1), 0.5))


def test_absence_is_taught_every_claimed_voxel_costs() -> None:
    empty = torch.zeros(1, 1, 8, 8, 8)
    silent = soft_dice(torch.full_like(empty, -SURE), empty)
    one_claimed = torch.full_like(empty, -SURE)
    one_claimed[0, 0, 0, 0, 0] = SURE
    assert silent > 0.999
    assert soft_dice(one_claimed, empty) < 0.6


def test_invalid_masks_neither_count_nor_pull() -> None:
    logits = torch.randn(1, 2, 8, 8, 8, requires_grad=True)
    target = torch.cat([cube(), torch.ones_like(cube())], dim=1)
    only_first = torch.tensor([[True, False]])
    losses = mask_losses(logits, target, only_first)
    losses.total.backward()
    assert logits.grad is not None
    assert not logits.grad[:, 1].any()
    alone = mask_losses(logits[:, :1].detach(), target[:, :1], only_first[:, :1])
    torch.testing.assert_close(losses.total.detach(), alone.total)


def test_a_batch_without_valid_masks_is_zero_and_finite() -> None:
    logits = torch.randn(1, 1, 8, 8, 8, requires_grad=True)
    mask_losses(logits, cube(), torch.zeros(1, 1, dtype=torch.bool)).total.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_hard_dice_ignores_empty_masks() -> None:
    target = torch.cat([cube(), torch.zeros_like(cube())], dim=1)
    logits = (target * 2 - 1) * SURE
    assert hard_dice(logits, target, torch.ones(1, 2, dtype=torch.bool)) == 1
