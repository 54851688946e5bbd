from __future__ import annotations

from typing import Any

import pytest

from mass3d.config import build
from mass3d.errors import ConfigError
from mass3d.transfer.finetuned.settings import LearningConfig


@pytest.mark.parametrize(
    ("given", "channels"),
    [
        ("T1,FLAIR", ("T1", "FLAIR")),
        ("[T1, 1]", ("T1", "1")),
        (["T1, native", 1], ("T1, native", "1")),
        (0, ("0",)),
        ([], ()),
    ],
)
def test_channels_may_be_typed_in_a_row(given: Any, channels: tuple[str, ...]) -> None:
    assert LearningConfig(channels=given).channels == channels


@pytest.mark.parametrize("given", ["", [""], 1.5, [None]])
def test_what_is_no_channel_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="channels"):
        build(LearningConfig, {"channels": given})
