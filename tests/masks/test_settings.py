from __future__ import annotations

import pytest

from mass3d.config import build
from mass3d.errors import ConfigError
from mass3d.masks.engines import identities
from mass3d.masks.hierarchy.settings import HierarchyConfig
from mass3d.masks.settings import MaskConfig

FEW = HierarchyConfig(mr=HierarchyConfig().mr[:1])


def test_an_engine_that_is_not_known_or_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engines.*'hierarchy'"):
        build(MaskConfig, {"engines": ["trees"]})
    with pytest.raises(ConfigError, match="each engine once"):
        build(MaskConfig, {"engines": ["hierarchy", "hierarchy"]})
    with pytest.raises(ConfigError, match="at least 1 item"):
        build(MaskConfig, {"engines": []})


def test_only_engines_that_are_used_are_written_and_read_back() -> None:
    config = MaskConfig(hierarchy=FEW)
    assert config.plain().keys() == {"engines", "hierarchy"}
    assert config.content().keys() == {"engines", "hierarchy"}
    assert MaskConfig.model_validate(config.plain()) == config


def test_a_place_is_no_part_of_the_content() -> None:
    here, there = (
        build(MaskConfig, {"engines": ["external"], "external": {"folders": [name]}})
        for name in ("here", "there")
    )
    assert here.content() == there.content()
    assert here.plain() != there.plain()
    assert identities(here, files="x") == identities(there, files="x")
