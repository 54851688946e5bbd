"""Two views of each scan: of the same place, changed in two ways."""

from __future__ import annotations

import numpy as np
import torch

from mass3d.store.reader import StoredCase
from mass3d.views.draw import ViewConfig
from mass3d.views.twice import TwiceMaker

CPU = torch.device("cpu")
CROP = (16, 16, 24)
STILL = ViewConfig.model_validate(
    {
        "min_overlap": 1.0,
        "weak": {"p": 0.0},
        "strong": {"p": 0.0, "bend_p": 0.0},
        "weak_intensity": {"p": 0.0},
        "strong_intensity": {"p": 1.0},
    }
)


def test_a_batch_is_a_function_of_seed_and_step(cases: list[StoredCase]) -> None:
    make = TwiceMaker(cases, ViewConfig(), CROP, 3, 0)
    views, again = make(5, CPU), make(5, CPU)
    assert views.first.shape == views.second.shape == (3, 1, *CROP)
    assert torch.equal(views.first, again.first)
    assert torch.equal(views.second, again.second)
    assert [cases[number].case_id for number in views.owners] == list(views.case_ids)
    assert not torch.equal(views.first, make(6, CPU).first)
    other = TwiceMaker(cases, ViewConfig(), CROP, 3, 1)(5, CPU)
    assert not torch.equal(views.first, other.first)


def test_both_views_show_the_same_place(cases: list[StoredCase]) -> None:
    views = TwiceMaker(cases, STILL, CROP, 4, 0)(0, CPU)
    for one, two in zip(views.first, views.second, strict=True):
        assert not torch.equal(one, two)  # brightness is changed in the second alone
        assert np.corrcoef(one.flatten().numpy(), two.flatten().numpy())[0, 1] > 0.8
