"""Small pictures of cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mass3d.pages.pictures import write_jpeg
from mass3d.server.site import Site
from mass3d.server.thumbnails import SIZE
from mass3d.transfer.results import Entry
from server.test_rounds import draw, made, results


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("JPEG", (SIZE, SIZE))
        return np.asarray(picture.convert("RGB")).astype(int)


def coloured(path: Path) -> int:
    """Pixels that are rather red than grey."""
    red, green, blue = np.moveaxis(pixels(path), -1, 0)
    return int(((red - green > 60) & (red - blue > 60)).sum())


def test_a_scan_is_grey_and_what_was_drawn_is_coloured(site: Site) -> None:
    plain = site.thumbnail("a")
    assert coloured(plain) == 0
    assert pixels(plain).max() > 100
    site.set_structures([{"name": "liver", "colour": "#ff0000"}])
    draw(site, "a", 1)
    drawn = site.thumbnail("a")
    assert drawn != plain
    assert coloured(drawn) > 500
    assert site.thumbnail("a") == drawn


def test_a_result_is_the_first_square_of_its_own_picture(site: Site) -> None:
    one = made(site, 1, "a", liver=1)
    results(one, a=Entry(source="s", result="r"), b=Entry(source="s", result="r"))
    picture = np.zeros((220, 660, 3), np.uint8)
    picture[:, :220] = (250, 0, 0)
    write_jpeg(one.found / "pictures" / "a.jpg", picture)
    assert coloured(site.thumbnail("a")) == SIZE * SIZE
    assert coloured(site.thumbnail("b")) == 0  # a result without a picture
    site.set_structures([{"name": "liver", "colour": "#00ff00"}])
    draw(site, "a", 1)
    assert coloured(site.thumbnail("a")) == 0  # what was drawn counts, not what was found


def test_a_result_of_a_scan_that_was_looked_at_is_shown_in_all_of_it(site: Site) -> None:
    one = made(site, 1, "a", liver=1)
    results(one, a=Entry(source="s", result="r"))
    site.set_structures([{"name": "liver", "value": 1, "colour": "#ff0000"}])
    write_jpeg(one.found / "pictures" / "a.jpg", np.full((220, 660, 3), (250, 0, 0), np.uint8))
    assert not site.volumes.has_small("a")
    site.volumes.small("a")
    assert site.volumes.has_small("a")
    draw(site, "a", 1)
    drawn = pixels(site.thumbnail("a"))
    site.project.label("a").rename(one.label_map("a"))
    found = pixels(site.thumbnail("a"))
    np.testing.assert_array_equal(found, drawn)
