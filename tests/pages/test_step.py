"""The page about one step: every mask, its size and what was found of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mass3d.pages.step import write_step_page
from mass3d.pretext.seen import Mask, SeenMask, SeenPair


def cube(edge: int) -> Mask:
    mask = np.zeros((24, 24, 24), bool)
    mask[2 : 2 + edge, 3 : 3 + edge, 4 : 4 + edge] = True
    return mask


def pair(edges: list[int], *, across: bool) -> SeenPair:
    image = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    masks = tuple(SeenMask(cube(edge), cube(edge), cube(edge - 1)) for edge in edges)
    return SeenPair(image, image, across, masks)


def test_masks_are_told_by_octave_and_pictured_from_small_to_large(tmp_path: Path) -> None:
    pairs = [pair([4, 5, 6, 7, 8, 9, 10, 11], across=True), pair([16], across=False)]
    text = write_step_page(tmp_path / "step.html", pairs, steps=12).read_text()
    assert "9 masks" in text
    assert "after 12 steps" in text
    for octave in ("64–127", "128–255", "256–511", "512–1023", "1024–2047", "4096–8191"):
        assert octave in text
    assert "2048–4095" not in text
    assert text.index("two scans") < text.index("two views of one scan")
    assert text.count("<img") == 2 * (6 + 1)
    assert text.index("64 voxels") < text.index("1331 voxels")
    assert f"Dice {2 * 3375 / (3375 + 4096):.2f}" in text


def test_a_batch_without_masks_still_has_a_page(tmp_path: Path) -> None:
    text = write_step_page(tmp_path / "step.html", [pair([], across=False)], steps=1).read_text()
    assert "0 masks" in text
    assert "<img" not in text
