from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mass3d.transfer.finetuned.mixing import mixed
from mass3d.transfer.oneshot.carrying import Found

SHAPE = (6, 5, 4)
BOX = (slice(1, 5), slice(0, 5), slice(1, 4))


def found(votes: Tensor, voting: list[list[bool]]) -> Found:
    """What references say in the box, votes (R, S, *BOX)."""
    return Found(BOX, votes, votes, (0.5,) * len(voting), torch.tensor(voting))


def in_slabs(p: Tensor) -> list[tuple[int, Tensor]]:
    return [(0, p[:, :2]), (2, p[:, 2:5]), (5, p[:, 5:])]


def whole(parts: list[tuple[int, Tensor]]) -> Tensor:
    return torch.cat([part for _, part in parts], 1)


def test_who_is_surer_counts_more() -> None:
    p = torch.full((1, *SHAPE), 0.9)
    votes = torch.full((1, 1, 4, 5, 3), 0.6)
    answer = whole(list(mixed(in_slabs(p), found(votes, [[True]]))))
    # all is found by both: 2p / (1 + p), and the box is the world of the references
    ours, theirs = (2 * x / (1 + x) for x in (0.9, 0.6))
    share = theirs**2 / (ours**2 + theirs**2)
    inside = answer[(0, *BOX)]
    assert inside.flatten().tolist() == pytest.approx([0.9 + share * (0.6 - 0.9)] * 60, abs=1e-3)
    assert float(answer[0, 0, 0, 0]) == pytest.approx(0.9 * (1 - share), abs=1e-3)


def test_an_answer_that_finds_nothing_does_not_count_beside_one_that_does() -> None:
    p = torch.zeros(1, *SHAPE)
    votes = torch.rand((1, 1, 4, 5, 3), generator=torch.Generator().manual_seed(1))
    answer = whole(list(mixed(in_slabs(p), found(votes, [[True]]))))
    torch.testing.assert_close(answer[(0, *BOX)], votes[0, 0])
    silent = whole(list(mixed(in_slabs(p + 0.3), found(votes * 0.4, [[True]]))))
    torch.testing.assert_close(silent[(0, *BOX)], 0.15 + 0.2 * votes[0, 0], atol=1e-3, rtol=0)


def test_what_no_reference_votes_for_is_what_the_network_says() -> None:
    p = torch.rand((2, *SHAPE), generator=torch.Generator().manual_seed(2))
    votes = torch.ones(2, 2, 4, 5, 3)
    answer = whole(list(mixed(in_slabs(p), found(votes, [[True, False], [False, False]]))))
    torch.testing.assert_close(answer[1], p[1], atol=1e-3, rtol=0)
    assert (answer[(0, *BOX)] > p[(0, *BOX)]).all()
