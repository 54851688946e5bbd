"""Pictures of results: which slices, how large, and what is filled."""

from __future__ import annotations

import numpy as np

from mass3d.io.colours import PALETTE, value_colours
from mass3d.pages.pictures import Rgb
from mass3d.pages.result_pictures import SIZE, compared_picture, found_picture
from mass3d.volume.volume import Volume

ORANGE, BLUE = PALETTE[:2]
COLOURS = value_colours((1, 2))
EDGES = (1.0, 1.0, 1.0)


def coloured(picture: Rgb) -> np.ndarray:
    """Pixels that are no shade of grey."""
    return np.ptp(picture.astype(int), axis=2) > 30


def near(picture: Rgb, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels of a hue, however dark."""
    shade, wanted = picture.astype(float) + 1e-9, np.array(colour, float)
    unit = shade / np.linalg.norm(shade, axis=2, keepdims=True)
    return coloured(picture) & ((unit @ (wanted / np.linalg.norm(wanted))) > 0.97)


def volume(shape: tuple[int, int, int], edges: tuple[float, float, float]) -> Volume:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Volume.from_array(image, spacing_mm=edges)


def test_a_small_structure_fills_a_good_part_of_the_picture() -> None:
    scan = volume((40, 300, 400), (5.0, 1.0, 1.0))
    label = np.zeros(scan.grid.shape, np.uint8)
    label[20:24, 100:120, 300:330] = 1
    picture = found_picture(scan, label, COLOURS)
    assert picture.shape == (SIZE, 3 * SIZE, 3)
    for view in np.split(picture, 3, axis=1):
        assert 0.02 < coloured(view).mean() < 0.6


def test_a_scan_in_which_nothing_was_found_is_shown_whole() -> None:
    scan = volume((20, 30, 40), EDGES)
    picture = found_picture(scan, np.zeros(scan.grid.shape, np.uint8), COLOURS)
    assert not coloured(picture).any()
    assert (picture > 0).any()


def test_a_large_scan_is_thinned() -> None:
    scan = volume((30, 600, 500), (2.0, 0.5, 0.5))
    label = np.ones(scan.grid.shape, np.uint8)
    assert found_picture(scan, label, COLOURS).shape == (SIZE, 3 * SIZE, 3)


def test_the_slices_are_those_that_differ_most() -> None:
    truth = np.zeros((30, 30, 30), np.uint8)
    truth[5:25, 5:25, 5:25] = 1
    found = truth.copy()
    assert near(compared_picture(found, truth, EDGES, COLOURS), ORANGE).any()
    found[6:9, 7:10, 8:11] = 2
    picture = compared_picture(found, truth, EDGES, COLOURS)
    for view in np.split(picture, 3, axis=1):
        assert near(view, BLUE).any()


def test_the_prediction_is_filled_and_the_truth_a_line() -> None:
    cube = np.zeros((20, 20, 20), np.uint8)
    cube[4:16, 4:16, 4:16] = 1
    nothing = np.zeros_like(cube)
    filled = coloured(compared_picture(cube, nothing, EDGES, COLOURS)).mean()
    line = coloured(compared_picture(nothing, cube, EDGES, COLOURS)).mean()
    assert 0 < line < filled / 4


def test_what_nobody_has_annotated_is_not_compared() -> None:
    truth, found = np.zeros((2, 12, 12, 12), np.uint8)
    truth[:6] = 9
    found[2:4, 2:8, 2:8] = 1
    assert not coloured(compared_picture(found, truth, EDGES, COLOURS, ignored=9)).any()
