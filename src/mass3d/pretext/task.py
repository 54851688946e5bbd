"""One literal table: the views and the step of each objective and kind of network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import nn

from mass3d.errors import ConfigError
from mass3d.objective.autoencoder import Autoencoder
from mass3d.objective.contrastive import Contrastive
from mass3d.pretext.autoencoder import draw_step
from mass3d.pretext.contrastive import contrast_step
from mass3d.pretext.correspondence import Matcher, correspondence_step
from mass3d.pretext.matching import match_step
from mass3d.pretext.seen import Shown, shown_matched, shown_tokens
from mass3d.pretext.tokens import pair_step
from mass3d.store.reader import StoredCase
from mass3d.training.run_files import RESUME
from mass3d.training.step import Step
from mass3d.views.balance import Balance
from mass3d.views.draw import ViewConfig
from mass3d.views.matched import MatchedMaker
from mass3d.views.matched_images import MatchedImageMaker
from mass3d.views.mates import draw_mates, group_of
from mass3d.views.pair import PairMaker
from mass3d.views.single import SingleMaker
from mass3d.views.twice import TwiceMaker
from mass3d.views.warp import Crop
from mass3d.views.ways import find_ways, tell_if_rare

ObjectiveName = Literal["masks", "autoencoder", "contrastive", "correspondence"]
MASKS: Final = "masks"  # the objective whose networks segment by a task
MATCHING_KINDS: Final = ("correspondence", "resenc")  # of networks
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
    balance: Balance | None = None  # None: each case is drawn as often


@dataclass(frozen=True)
class PretextTask:
    """How a kind of network is pretrained with an objective."""

    batches: Callable[[Cohort, ViewConfig], Batches]
    step: Step[Any]
    show: Callable[[Any], Shown] | None  # the views of a batch, for a page; None: no masks
    figure: str  # of the log, that progress shows
    views: Mapping[str, Any]  # settings of the views unless others are given
    uses: tuple[str, ...]  # settings of the views that decide anything
    extend: Callable[[Any], nn.Module] | None = None  # by parts that only the objective needs

    def model(self, network: nn.Module, *, seed: int) -> nn.Module:
        """What is trained: the network, or an `Extended` one whose new weights the seed decides."""
        if self.extend is None:
            return network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.extend(network)


def _pairs(cohort: Cohort, views: ViewConfig) -> Batches:
    return PairMaker(
        cohort.cases,
        views,
        crop=cohort.crop,
        batch_size=cohort.batch_size,
        seed=cohort.seed,
        balance=cohort.balance,
    )


def _single(cohort: Cohort, views: ViewConfig) -> Batches:
    return SingleMaker(
        cohort.cases,
        cohort.crop,
        cohort.batch_size,
        cohort.seed,
        views.weak,
        views.weak_intensity,
        cohort.balance,
    )


def _twice(cohort: Cohort, views: ViewConfig) -> Batches:
    least = min(len(cohort.cases), cohort.batch_size)
    if least < 2:
        raise ConfigError(
            "objective",
            found=f"{len(cohort.cases)} scans, {cohort.batch_size} in a batch",
            expected="at least two of both, which the contrastive objective can tell apart",
            fix="Give more scans and a larger batch, or choose another objective.",
            setting="objective",
        )
    size, seed = cohort.batch_size, cohort.seed
    return TwiceMaker(cohort.cases, views, cohort.crop, size, seed, cohort.balance)


def _matched_images(cohort: Cohort, views: ViewConfig) -> Batches:
    return MatchedImageMaker(_matched(cohort, views))


def _matched(cohort: Cohort, views: ViewConfig) -> MatchedMaker:
    wanted = views.alignments if views.across_share > 0 else 0
    balance, cases = cohort.balance, cohort.cases
    shares = None if balance is None else balance.of_cases(len(cases))
    pairs = draw_mates([group_of(case) for case in cases], wanted, cohort.seed, shares=shares)
    cache, begun = cohort.run / ALIGNMENTS, (cohort.run / RESUME).exists()
    ways = (
        find_ways(cases, pairs, cache=cache, workers=cohort.workers, begun=begun) if pairs else {}
    )
    equal = np.full(len(cases), 1 / len(cases))
    tell_if_rare(ways, equal if shares is None else shares, views.across_share)
    return MatchedMaker(cases, ways, views, cohort.crop, cohort.batch_size, cohort.seed, balance)


# What the makers of batches look at.
ONE_VIEW: Final = ("crop_vox", "weak", "weak_intensity")
TWO_VIEWS: Final = (*ONE_VIEW, "strong", "strong_intensity", "min_overlap")
WITH_MASKS: Final = (*TWO_VIEWS, "num_masks", "min_visible_vox")
IN_ONE_SCAN: Final = (*WITH_MASKS, "far_share", "negative_share")
ACROSS: Final = ("across_share", "alignments")
IN_TWO_SCANS: Final = (*WITH_MASKS, *ACROSS, "prior_error_vox")
PLACES: Final = (*TWO_VIEWS, *ACROSS)

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

# What is drawn must not be blurred or noisy; the objective is hard enough as it is.
DRAWN_VIEWS: Final = {
    "weak": {"p": 1.0, "max_degrees": 12.0, "max_scale": 1.2},
    "weak_intensity": {"p": 0.5, "blur_vox": (0.0, 0.0), "noise_std": 0.0},
}

# Scans are too easily told apart by their brightness: both views are changed much.
CONTRASTED_LIGHT: Final = {
    "p": 0.8,
    "gain": (0.7, 1.4),
    "shift_std": 0.3,
    "gamma": (0.6, 1.6),
    "contrast": (0.7, 1.4),
    "noise_std": 0.1,
}
CONTRASTED_VIEWS: Final = {
    "min_overlap": 0.5,
    "weak": {"p": 1.0, "max_degrees": 20.0, "max_scale": 1.3},
    "strong": {"p": 1.0, "max_degrees": 20.0, "max_scale": 1.3, "bend_p": 0.5},
    "weak_intensity": CONTRASTED_LIGHT,
    "strong_intensity": CONTRASTED_LIGHT,
}

TASKS: Final[Mapping[str, PretextTask]] = {
    **dict.fromkeys(
        ("incontext", "iris"),
        PretextTask(_pairs, pair_step, shown_tokens, "dice", {}, IN_ONE_SCAN),
    ),
    **dict.fromkeys(
        MATCHING_KINDS,
        PretextTask(_matched, match_step, shown_matched, "accuracy", MATCHING_VIEWS, IN_TWO_SCANS),
    ),
}

# Objective -> kind of network -> how. Comparisons are for networks with one dense feature map; the
# autoencoder's masked convolutions are those of our own trunk.
OBJECTIVES: Final[Mapping[str, Mapping[str, PretextTask]]] = {
    MASKS: TASKS,
    "autoencoder": {
        "correspondence": PretextTask(
            _single, draw_step, None, "share", DRAWN_VIEWS, ONE_VIEW, Autoencoder
        )
    },
    "contrastive": dict.fromkeys(
        MATCHING_KINDS,
        PretextTask(
            _twice, contrast_step, None, "accuracy", CONTRASTED_VIEWS, TWO_VIEWS, Contrastive
        ),
    ),
    "correspondence": dict.fromkeys(
        MATCHING_KINDS,
        PretextTask(
            _matched_images,
            correspondence_step,
            None,
            "match",
            MATCHING_VIEWS,
            PLACES,
            Matcher,
        ),
    ),
}


def usual_views(objective: Any, kind: str) -> Mapping[str, Any]:
    """Settings of the views unless others are given; none where there is no such pretraining."""
    task = OBJECTIVES.get(objective, {}).get(kind)
    return task.views if task else {}


def task_of(objective: ObjectiveName, kind: str, views: ViewConfig | None = None) -> PretextTask:
    """How a kind of network is pretrained.

    Raises `ConfigError` where it cannot be, and for settings of the views that were changed and
    decide nothing there.
    """
    if kind not in OBJECTIVES[objective]:
        raise ConfigError(
            "objective",
            found=f"the objective {objective} for a network of the kind {kind}",
            expected="a network with a dense feature map, such as the preset tiny",
            fix="Choose another preset, or the objective masks.",
            setting="objective",
        )
    task = OBJECTIVES[objective][kind]
    if views is not None:
        _require_used(views, task)
    return task


def _require_used(views: ViewConfig, task: PretextTask) -> None:
    """Raise `ConfigError` for a setting that was changed and decides nothing here."""
    usual = ViewConfig.model_validate(task.views)
    for name in ViewConfig.model_fields:
        if name not in task.uses and getattr(views, name) != getattr(usual, name):
            raise ConfigError(
                f"views.{name}",
                found="a setting that this network and objective do not use",
                expected=f"some of {', '.join(sorted(task.uses))}",
                fix="Leave it out, or choose another preset or objective.",
                setting=f"views.{name}",
            )
