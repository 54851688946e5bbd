"""The cost of every shift against a plain loop, and the equations of an update against a solver."""

from __future__ import annotations

import numpy as np
import torch

from mass3d.alignment.affine import MIN_OVERLAP, shift_costs


def test_the_cost_of_every_shift_is_that_of_a_plain_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    moving, fixed = (torch.randn(3, *shape, generator=draw) for shape in ((3, 4, 2), (5, 4, 6)))
    known, fixed_known = (
        (torch.rand(x.shape[1:], generator=draw) > 0.2).float() for x in (moving, fixed)
    )
    found = shift_costs(moving, known, fixed, fixed_known)
    assert found.shape == (7, 7, 7)
    smaller = min(float(known.sum()), float(fixed_known.sum()))
    counted = 0
    for index in np.ndindex(*found.shape):
        shift = np.array(index) - np.array(known.shape) + 1
        total = cells = 0.0
        for cell in np.ndindex(*known.shape):
            there = tuple(np.array(cell) + shift)
            if any(t < 0 or t >= n for t, n in zip(there, fixed_known.shape, strict=True)):
                continue
            both = float(known[cell] * fixed_known[there])
            apart = moving[(slice(None), *cell)] - fixed[(slice(None), *there)]
            total += both * float((apart**2).sum())
            cells += both
        if cells / smaller < MIN_OVERLAP - 1e-4:
            assert found[index] == 1e9
        elif cells / smaller > MIN_OVERLAP + 1e-4:
            counted += 1
            expected = total / cells / np.sqrt(np.clip(cells / smaller, 0.05, 1))
            np.testing.assert_allclose(found[index], expected, rtol=1e-3)
    assert counted > 20
