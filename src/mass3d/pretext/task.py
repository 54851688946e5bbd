"""One literal table: the views and the step of each kind of network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from mass3d.pretext.matching import match_step
from mass3d.pretext.seen import Shown, shown_matched, shown_tokens
from mass3d.pretext.tokens import pair_step
from mass3d.store.reader import StoredCase
from mass3d.training.step import Step
from mass3d.views.draw import ViewConfig
from mass3d.views.matched import MatchedMaker
from mass3d.views.mates import draw_mates, find_ways
from mass3d.views.pair import PairMaker
from mass3d.views.warp import Crop

ALIGNMENTS: Final = "alignments.npz"

Batches = Callable[[int, torch.device], Any]


@dataclass(frozen=True)
class Cohort:
    """What batches are made of."""

    cases: Sequence[StoredCase]
    crop: Crop
    batch_size: int
    seed: int
    run: Path  # where what takes long to find is kept
    workers: int | None


@dataclass(frozen=True)
class PretextTask:
    """How a kind of network is pretrained."""

    batches: Callable[[Cohort, ViewConfig], Batches]
    step: Step[Any]
    show: Callable[[Any], Shown]  # the views of a batch, for a page
    figure: str  # of the log, that progress shows
    views: Mapping[str, Any]  # settings of the views unless others are given


def _pairs(cohort: Cohort, views: ViewConfig) -> Batches:
    return PairMaker(
        cohort.cases,
        views,
        crop=cohort.crop,
        batch_size=cohort.batch_size,
        seed=cohort.seed,
    )


def _matched(cohort: Cohort, views: ViewConfig) -> Batches:
    wanted = views.alignments if views.across_share > 0 else 0
    pairs = draw_mates(len(cohort.cases), wanted, cohort.seed)
    cache = cohort.run / ALIGNMENTS
    ways = find_ways(cohort.cases, pairs, cache=cache, workers=cohort.workers) if pairs else {}
    return MatchedMaker(cohort.cases, ways, views, cohort.crop, cohort.batch_size, cohort.seed)


# Both views are moved, but gently: what differs between two scans is the task.
MATCHING_VIEWS: Final = {
    "num_masks": 24,
    "min_overlap": 0.95,
    "min_visible_vox": 48,
    "weak": {"p": 1.0, "max_degrees": 8.0, "max_scale": 1.1},
    "strong": {
        "p": 1.0,
        "max_degrees": 12.0,
        "max_scale": 1.2,
        "max_shear": 0.03,
        "bend_p": 1.0,
        "bend": 0.03,
    },
    "weak_intensity": {"p": 0.5, "noise_std": 0.1},
    "strong_intensity": {"p": 0.5, "noise_std": 0.1},
}

TASKS: Final[Mapping[str, PretextTask]] = {
    "incontext": PretextTask(_pairs, pair_step, shown_tokens, "dice", {}),
    "iris": PretextTask(_pairs, pair_step, shown_tokens, "dice", {}),
    "correspondence": PretextTask(_matched, match_step, shown_matched, "accuracy", MATCHING_VIEWS),
}
