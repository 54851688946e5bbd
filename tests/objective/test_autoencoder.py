"""The masked autoencoder: what is hidden, and what is asked."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from mass3d.errors import ConfigError
from mass3d.model.build import build_network
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.presets import CorrespondencePreset, Recipe
from mass3d.objective.autoencoder import HIDDEN_SHARE, Autoencoder, draw_kept, hidden_error
from mass3d.training.optimizers import make_optimizer

PRESET = CorrespondencePreset(channels=(8, 16, 24), keys=4)


def test_of_every_sample_as_many_cells_are_hidden_and_the_generator_says_which() -> None:
    image = torch.zeros(3, 1, 32, 40, 32)
    keep = draw_kept(image, 8, torch.Generator().manual_seed(0))
    assert keep.shape == (3, 1, 4, 5, 4)
    assert keep.flatten(1).sum(1).tolist() == [round((1 - HIDDEN_SHARE) * 80)] * 3
    assert torch.equal(keep, draw_kept(image, 8, torch.Generator().manual_seed(0)))
    assert not torch.equal(keep, draw_kept(image, 8, torch.Generator().manual_seed(1)))
    assert not torch.equal(keep[0], keep[1])
    assert draw_kept(image[:, :, :16, :8, :8], 8, torch.Generator()).sum() == 3  # one at least


def test_of_one_cell_nothing_can_be_hidden() -> None:
    with pytest.raises(ConfigError, match=r"one cell of 16 voxels.*Try \[32, 32, 32\]"):
        draw_kept(torch.randn(2, 1, 16, 16, 16), 16, torch.Generator())


def test_what_stands_for_hidden_cells_is_not_decayed() -> None:
    model = Autoencoder(cast("CorrespondenceNet", build_network(PRESET, seed=0)))
    decayed, spared = make_optimizer(model, Recipe(weight_decay=3.0)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (3.0, 0.0)
    assert {id(one) for one in model.hidden} <= {id(one) for one in spared["params"]}


def test_only_hidden_voxels_count() -> None:
    image = torch.randn(2, 1, 16, 16, 16)
    keep = (torch.arange(8).view(1, 1, 2, 2, 2) % 2).float().repeat(2, 1, 1, 1, 1)
    drawn = image.clone()
    drawn[:, :, :8, :8, 8:] += 50  # of a cell that is kept
    assert float(hidden_error(drawn, image, keep)) == 0
    drawn[:, :, :8, :8, :8] += 2  # one of four that are hidden
    assert float(hidden_error(drawn, image, keep)) == 4 / 4


def test_what_is_drawn_depends_on_what_is_seen_alone() -> None:
    network = cast("CorrespondenceNet", build_network(PRESET, seed=0))
    model = Autoencoder(network).eval()
    image = torch.randn(1, 1, 16, 16, 16)
    keep = (torch.arange(8).view(1, 1, 2, 2, 2) < 3).float()
    drawn = model(image, keep)
    assert drawn.shape == image.shape
    changed = image.clone()
    changed[:, :, 8:, 8:] = 9.0  # hidden
    assert torch.equal(drawn, model(changed, keep))
    changed[:, :, 0, 0, 0] = 9.0
    assert not torch.equal(drawn, model(changed, keep))
