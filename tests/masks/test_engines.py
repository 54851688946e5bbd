from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from mass3d.config import build
from mass3d.errors import ConfigError
from mass3d.masks import hierarchy
from mass3d.masks.engines import MaskConfig, propose
from mass3d.masks.hierarchy import HierarchyConfig


def test_an_engine_that_is_not_known_or_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engines.*'hierarchy'"):
        build(MaskConfig, {"engines": ["trees"]})
    with pytest.raises(ConfigError, match="each engine once"):
        build(MaskConfig, {"engines": ["hierarchy", "hierarchy"]})
    with pytest.raises(ConfigError, match="at least 1 item"):
        build(MaskConfig, {"engines": []})


def test_settings_are_read_back_from_what_is_written_of_them() -> None:
    config = MaskConfig(hierarchy=HierarchyConfig(ct=HierarchyConfig().ct[:2]))
    assert MaskConfig.model_validate(config.plain()) == config


def test_one_engine_gives_its_own_masks() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((16, 18, 20)), 2)
    image = (image / image.std()).astype(np.float32)
    facts: dict[str, Any] = {"spacing_mm": 2.0, "modality": "mr", "mean": 100.0, "std": 20.0}
    ours = propose(image, config=MaskConfig(), **facts)
    theirs = hierarchy.propose(image, config=HierarchyConfig(), **facts)
    assert len(ours)
    np.testing.assert_array_equal(ours.ranks, theirs.ranks)
    assert ours.table.columns().keys() == theirs.table.columns().keys()
