from __future__ import annotations

import torch
from torch import Tensor

from mass3d.transfer.expectation import Expectation


def expectation(*parts: Tensor) -> Expectation:
    found = Expectation()
    for part in parts:
        found.add(part)
    return found


def test_it_is_the_dice_of_many_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.rand((2, 20, 20, 20), generator=generator)
    p[1] **= 5
    drawn = torch.rand((50, *p.shape), generator=generator) < p
    among = p > 0.5
    dice = 2 * (drawn & among).sum((2, 3, 4)) / (drawn.sum((2, 3, 4)) + among.sum((1, 2, 3)))
    found = expectation(p[:, :7], p[:, 7:]).dice
    torch.testing.assert_close(found, dice.mean(0), rtol=0.01, atol=0)


def test_sure_is_one_and_what_is_not_found_has_none() -> None:
    p = torch.zeros(3, 4, 4, 4)
    p[0, :2], p[1] = 1.0, 0.4
    assert expectation(p).dice.tolist() == [1.0, 0.0, 0.0]
    assert expectation(p).by_name("abc") == {"a": 1.0}


def test_slabs_are_counted_as_they_pass() -> None:
    p = torch.rand((2, 6, 5, 4), generator=torch.Generator().manual_seed(1))
    found = Expectation()
    passed = list(found.counted([(0, p[:, :2]), (2, p[:, 2:])]))
    assert [first for first, _ in passed] == [0, 2]
    torch.testing.assert_close(torch.cat([slab for _, slab in passed], 1), p)
    torch.testing.assert_close(found.dice, expectation(p).dice)
