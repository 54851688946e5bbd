"""The moving picture of the README is made by a script, is small, and moves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "story.webp"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_story", ROOT / "tools/write_story.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_picture_that_is_committed_is_small_and_has_every_frame(script: ModuleType) -> None:
    assert PICTURE.stat().st_size < 400_000
    with Image.open(PICTURE) as picture:
        assert getattr(picture, "n_frames", 1) == len(script.FRAMES)
        assert picture.width == script.WIDTH


def test_frames_are_the_stages_of_screenshots_over_words(
    script: ModuleType, tmp_path: Path
) -> None:
    shades = (40, 120, 200)
    frames = []
    for shade in shades:
        path = tmp_path / f"{shade}.png"
        Image.new("RGB", (1280, 800), (shade,) * 3).save(path)
        frames.append(script.frame(path, "words"))
    made = tmp_path / "made.webp"
    made.write_bytes(script.moving(frames))
    with Image.open(made) as picture:
        for number, shade in enumerate(shades):
            picture.seek(number)
            pixels = np.asarray(picture.convert("RGB"))
            assert abs(int(pixels[: -script.BAR].mean()) - shade) <= 2
            assert pixels[-script.BAR :].max() > 180  # the words
