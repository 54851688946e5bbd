"""What settings of pretraining come to where they are not given, by what decides them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, Final

from mass3d.config import merged
from mass3d.model.presets import PRESETS, PresetName
from mass3d.pretext.task import MASKS, OBJECTIVES, ObjectiveName, usual_views
from mass3d.training.config import FitConfig, usual_fit
from mass3d.views.draw import ViewConfig

# All that differs between presets, objectives and optimisers.
DECIDED: Final[Mapping[str, Mapping[str, Any]]] = {
    "fit": reduce(merged, (preset.recipe.model_dump() for preset in PRESETS.values())),
    "views": reduce(
        merged, (task.views for kinds in OBJECTIVES.values() for task in kinds.values())
    ),
}


def with_recipe(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings with what is not given of `fit` and `views`: as preset and objective have it."""
    preset = PRESETS.get(values.get("preset", "tiny"))
    if preset is None:
        return values  # refused for what they are
    views = usual_views(values.get("objective", MASKS), preset.kind)
    recipe = {"fit": usual_fit(preset.recipe, values.get("fit", {})), "views": views}
    return {**values, **{name: merged(part, values.get(name, {})) for name, part in recipe.items()}}


def of_recipe(
    preset: PresetName, objective: ObjectiveName, fit: FitConfig, views: ViewConfig
) -> dict[str, Any]:
    """Of the settings those that are as `with_recipe` gives them, and others for another choice."""
    chosen = PRESETS[preset]
    usual = {
        "fit": FitConfig.model_validate(usual_fit(chosen.recipe, {"optimizer": fit.optimizer})),
        "views": ViewConfig.model_validate(usual_views(objective, chosen.kind)),
    }
    return {
        name: _same(given.plain(), usual[name].plain(), DECIDED[name])
        for name, given in (("fit", fit), ("views", views))
    }


def _same(given: Mapping[str, Any], usual: Mapping[str, Any], names: Mapping[str, Any]) -> Any:
    """Of the named settings those that are as usual."""
    groups = {name for name, inner in names.items() if isinstance(inner, Mapping)}
    return {name: _same(given[name], usual[name], names[name]) for name in groups} | {
        name: given[name] for name in names.keys() - groups if given[name] == usual[name]
    }
