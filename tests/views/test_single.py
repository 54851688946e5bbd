"""Single views: a function of seed and step, of all scans alike."""

from __future__ import annotations

import torch

from mass3d.store.reader import StoredCase
from mass3d.views.draw import IntensityConfig, WarpConfig
from mass3d.views.single import SingleMaker

CPU = torch.device("cpu")
CROP = (16, 24, 32)


def maker(cases: list[StoredCase], *, seed: int = 0, batch_size: int = 3) -> SingleMaker:
    return SingleMaker(cases, CROP, batch_size, seed, WarpConfig(p=1.0), IntensityConfig())


def test_a_batch_is_a_function_of_seed_and_step(cases: list[StoredCase]) -> None:
    first, again = maker(cases)(5, CPU), maker(cases)(5, CPU)
    assert first.image.shape == (3, 1, *CROP)
    assert torch.equal(first.image, again.image)
    assert first.case_ids == again.case_ids
    assert not torch.equal(first.image, maker(cases)(6, CPU).image)
    assert not torch.equal(first.image, maker(cases, seed=1)(5, CPU).image)


def test_every_scan_is_shown_before_any_is_shown_again(cases: list[StoredCase]) -> None:
    make = maker(cases, batch_size=2)
    steps = len(cases)  # two passes
    shown = [case_id for step in range(steps) for case_id in make(step, CPU).case_ids]
    for start in (0, len(cases)):
        assert sorted(shown[start : start + len(cases)]) == sorted(c.case_id for c in cases)


def test_without_changes_a_view_as_large_as_a_scan_is_the_scan(cases: list[StoredCase]) -> None:
    case = cases[0]
    still = SingleMaker([case], case.shape, 1, 0, WarpConfig(p=0.0), IntensityConfig(p=0.0))
    image = torch.from_numpy(case.read_image().astype("float32"))
    torch.testing.assert_close(still(0, CPU).image[0, 0], image, atol=1e-3, rtol=0)
