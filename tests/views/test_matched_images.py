"""Pairs without masks are those with masks, but for these."""

from __future__ import annotations

import torch

from mass3d.store.reader import StoredCase
from mass3d.views.draw import ViewConfig
from mass3d.views.matched import MatchedMaker
from mass3d.views.matched_images import MatchedImageMaker
from mass3d.views.mates import Pair
from mass3d.views.ways import Way


def test_images_and_places_are_those_of_the_pairs_with_masks(cases: list[StoredCase]) -> None:
    ways: dict[Pair, Way] = {}
    maker = MatchedMaker(cases, ways, ViewConfig(num_masks=2), (32, 32, 32), 2, 0)
    whole = maker(3, torch.device("cpu"))
    alone = MatchedImageMaker(maker)(3, torch.device("cpu"))
    assert torch.equal(alone.reference, whole.reference.image)
    assert torch.equal(alone.query, whole.query.image)
    assert torch.equal(alone.matches.place, whole.matches.place)
    assert torch.equal(alone.matches.inside, whole.matches.inside)
    assert torch.equal(alone.across, whole.across)
    assert alone.case_ids == whole.case_ids
