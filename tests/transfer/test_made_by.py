"""In what two models differ, in words."""

from __future__ import annotations

from typing import Any

import pytest

from mass3d.model.presets import PRESETS
from mass3d.transfer.made_by import MadeBy, in_brackets, what_differs

TINY = PRESETS["tiny"].plain()
FACTS: dict[str, Any] = {
    "preset": TINY,
    "crop_vox": [32, 32, 32],
    "preparation": {"spacing_mm": 1.5},
    "objective": "masks",
    "step": 600,
    "seed": 0,
    "store": "ab" * 32,
}
SAME = "the same network and preparation, but other weights"


def plain(**changes: Any) -> dict[str, Any]:
    made = MadeBy.of({**FACTS, **changes})
    assert made is not None
    return made.plain()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, SAME),
        ({"preparation": {"spacing_mm": 3.0}}, "spacing 3.0 mm, not 1.5 mm"),
        (
            {"preparation": {"spacing_mm": 1.5, "statistics": "box"}},
            "intensities measured in the box, not the body",
        ),
        (
            {"preparation": {"spacing_mm": 1.5, "ct_clip_hu": [-200, 300]}, "step": 5},
            "CT clipped to -200.0, 300.0 HU, not -991.0, 500.0 HU; 5 steps of training, not 600",
        ),
        ({"preset": PRESETS["small"].plain()}, "network small, not tiny"),
        ({"preset": {**TINY, "keys": 7}}, "network correspondence, not tiny"),
        ({"preset": {**TINY, "recipe": {"steps": 9}}}, SAME),  # what it usually is, not was
        (
            {"store": "cd" * 32, "step": 300},
            f"{SAME}: 300 steps of training, not 600; trained on another store",
        ),
        (
            {"objective": "correspondence", "seed": 3, "crop_vox": [48, 32, 32]},
            f"{SAME}: crops of 48, 32, 32 voxels, not 32, 32, 32; "
            "objective correspondence, not masks; seed 3, not 0",
        ),
    ],
)
def test_what_differs_is_told_in_words(changes: dict[str, Any], told: str) -> None:
    assert what_differs(plain(**changes), plain()) == told


def test_statistics_of_the_wanted_model_are_told_as_well() -> None:
    box = plain(preparation={"spacing_mm": 1.5, "statistics": "box"})
    assert what_differs(plain(), box) == "intensities measured in the body, not the box"


def test_sizes_are_told_of_networks_of_no_name() -> None:
    one, other = (plain(preset={**TINY, "keys": keys}) for keys in (7, 8))
    assert what_differs(one, other) == "keys of the network 7, not 8"


def test_what_only_one_says_is_not_told() -> None:
    kept = {name: plain()[name] for name in ("preset", "preparation")}
    assert what_differs(plain(step=3, seed=4), kept) == SAME
    more = {**plain(), "fit": {"lr": 0.1}}
    assert what_differs(plain(), more) == SAME
    assert what_differs({**plain(), "fit": {"lr": 0.2}}, more) == f"{SAME}: fit.lr 0.2, not 0.1"


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert MadeBy.of({}) is None
    assert MadeBy.of({**FACTS, "step": -1}) is None
    assert in_brackets(None, plain()) == in_brackets(plain(), None) == ""
    assert in_brackets({"x": 1}, {"y": 1}) == ""
    assert in_brackets(plain(), plain()) == f" ({SAME})"
