from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib import image as png

from mass3d.masks.packing import encode
from mass3d.pages.pictures import (
    Overlay,
    Plane,
    best_plane,
    best_slices,
    covering_planes,
    css,
    draw,
    grey_range,
    mask_overlays,
    png_uri,
    three_views,
)


def test_an_axial_slice_shows_the_front_up_and_the_patients_right_on_the_left() -> None:
    volume = np.zeros((2, 3, 4))
    volume[1, -1, -1] = 1  # front, right
    shown = Plane(0, 1).cut(volume)
    assert shown.shape == (3, 4)
    assert shown[0, 0] == 1


def test_the_best_plane_shows_most_structures() -> None:
    label = np.zeros((6, 5, 5), np.uint8)
    label[1, :4, :4] = 1  # larger, but alone
    label[4, :2, :3] = 1
    label[4, 3:, :3] = 2
    assert best_plane(label, (1, 1, 1)) == Plane(0, 4)


def test_thick_slices_are_shown_as_acquired_and_an_empty_label_shows_the_middle() -> None:
    assert best_plane(np.zeros((6, 8, 5), np.uint8), (1, 3, 1)) == Plane(1, 4)


def test_the_best_slices_show_most_structures_along_every_axis() -> None:
    label = np.random.default_rng(0).integers(0, 3, (7, 6, 5)).astype(np.uint16)
    label[:, 2] = 0
    for axis, found in enumerate(best_slices(label)):
        sections = np.moveaxis(label, axis, 0)
        areas = np.array([[(section == v).sum() for section in sections] for v in (1, 2)])
        scores = np.sqrt(areas / areas.max(axis=1, keepdims=True)).sum(axis=0)
        assert scores[found] == scores.max()
    assert best_slices(np.zeros((7, 6, 5), np.uint8)) == (3, 3, 2)


def test_three_views_lie_side_by_side_in_squares_and_in_proportion() -> None:
    image = np.ones((10, 20, 40), np.float32)
    label = np.zeros(image.shape, np.uint8)
    label[4, 10, :] = 1  # seen from above and from the front, a point from the side
    views = three_views(
        image,
        slices=(4, 10, 20),
        spacing_mm=(4.0, 1.0, 1.0),
        grey=(0, 1),
        label=label,
        colours={1: (255, 0, 0), 2: (0, 255, 0)},
        size=40,
    )
    assert views.shape == (40, 120, 3)
    axial, coronal, sagittal = np.split(views, 3, axis=1)
    filled = [np.asarray(view.any(axis=2)) for view in (axial, coronal, sagittal)]
    assert [(int(f.any(1).sum()), int(f.any(0).sum())) for f in filled] == [
        (20, 40),  # 20 x 40 mm
        (40, 40),  # 40 x 40 mm
        (40, 20),  # 40 x 20 mm
    ]
    red = [int((view[..., 0] > view[..., 1]).any(0).sum()) for view in (axial, coronal)]
    assert red == [40, 40]
    assert (views[..., 2] <= views[..., 0]).all()


def test_a_drawing_is_square_in_millimetres_and_grey_without_overlays() -> None:
    picture = draw(np.ones((10, 20)), pixel_mm=(2.0, 1.0), grey=(0, 1), width=100)
    assert picture.shape == (100, 100, 3)
    assert (picture == 255).all()


def test_an_overlay_colours_its_inside_and_leaves_the_rest_grey() -> None:
    region = np.zeros((10, 10), bool)
    region[:, :5] = True
    overlay = Overlay(region, (255, 0, 0), fill=0.5)
    picture = draw(np.ones((10, 10)), pixel_mm=(1, 1), grey=(0, 2), overlays=[overlay], width=80)
    assert tuple(picture[40, 10]) == (191, 63, 63)
    assert tuple(picture[40, 70]) == (127, 127, 127)


def test_later_overlays_lie_on_top() -> None:
    below = Overlay(np.ones((8, 8), bool), (255, 0, 0), fill=1, line=0)
    above = Overlay(np.ones((8, 8), bool), (0, 0, 255), fill=1, line=0)
    picture = draw(np.zeros((8, 8)), pixel_mm=(1, 1), grey=(0, 1), overlays=[below, above])
    assert tuple(picture[50, 50]) == (0, 0, 255)


def test_mask_overlays_are_the_largest_masks_on_the_slice_that_do_not_cover_each_other() -> None:
    large, inside, beside, elsewhere = np.zeros((4, 4, 6, 6), bool)
    large[1:3, :5, :5] = True
    inside[1, 1:3, 1:3] = True
    beside[1, 5, 2:5] = True
    elsewhere[3, 5, 5] = True
    masks = encode([inside, beside, large, elsewhere])
    overlays = mask_overlays(masks, range(len(masks)), Plane(0, 1))
    assert [int(o.region.sum()) for o in overlays] == [25, 3]
    assert overlays[0].colour != overlays[1].colour
    assert len(mask_overlays(masks, [], Plane(0, 1))) == 0


def test_computed_tomography_is_shown_in_a_soft_tissue_window() -> None:
    assert grey_range(np.array([-1000.0, 0, 100])) == (-150.0, 260.0)
    low, high = grey_range(np.linspace(0, 700, 50))
    assert 0 <= low < high <= 700


def test_a_constant_image_has_a_grey_range() -> None:
    low, high = grey_range(np.zeros((3, 3)))
    assert low < high


def test_a_picture_survives_the_way_into_the_page() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    kind, text = png_uri(picture).split(",")
    assert kind == "data:image/png;base64"
    back = png.imread(io.BytesIO(base64.b64decode(text)))[..., :3]
    np.testing.assert_array_equal(np.round(back * 255).astype(np.uint8), picture)


def test_a_colour_is_written_as_css() -> None:
    assert css((255, 0, 16)) == "#ff0010"


def test_one_slice_is_shown_where_one_along_any_axis_shows_every_structure() -> None:
    label = np.zeros((20, 12, 14), np.uint8)
    label[2:6, 4:8, 2:5], label[12:18, 5:9, 8:12] = 1, 2
    (plane,) = covering_planes(label, (1, 1, 1))
    assert plane.axis == 1
    assert set(np.unique(plane.cut(label))) == {0, 1, 2}
    label[2:6] = 0
    (plane,) = covering_planes(label, (1, 1, 1))  # of one that is left: an axial slice
    assert plane.axis == 0


def test_several_slices_are_shown_where_none_shows_every_structure() -> None:
    label = np.zeros((20, 12, 14), np.uint8)
    label[2:6, 1:3, 2:5], label[12:18, 8:11, 8:12], label[8:10, 5:6, 6:7] = 1, 2, 3
    planes = covering_planes(label, (1, 1, 1))
    assert [plane.axis for plane in planes] == [0, 0, 0]
    assert [plane.index for plane in planes] == sorted((p.index for p in planes), reverse=True)
    shown = [set(np.unique(plane.cut(label))) for plane in planes]
    assert set.union(*shown) == {0, 1, 2, 3}
    label[8:10, 5:6, 6:7] = 0
    planes = covering_planes(label, (1, 1, 4))  # slices as acquired, which are sagittal
    assert {plane.axis for plane in planes} == {2}
    assert covering_planes(np.zeros((6, 8, 5), np.uint8), (1, 1, 1)) == (Plane(0, 3),)
