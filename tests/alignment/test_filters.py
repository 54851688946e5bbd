"""Means and slopes of maps against the same, cell by cell."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from mass3d.alignment.filters import box_mean, gradient, halve, local_contrast, wide_mean

SHAPES = [(6, 7, 5), (1, 4, 3), (9, 2, 1)]


def noise(shape: tuple[int, int, int], channels: int = 2) -> torch.Tensor:
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_box_mean_is_that_of_27_cells_with_edges_repeated(shape: tuple[int, int, int]) -> None:
    x = noise(shape)
    padded = np.pad(x.numpy(), ((0, 0), (1, 1), (1, 1), (1, 1)), mode="edge")
    expected = np.zeros_like(x.numpy())
    for d, h, w in np.ndindex(shape):
        expected[:, d, h, w] = padded[:, d : d + 3, h : h + 3, w : w + 3].mean((1, 2, 3))
    np.testing.assert_allclose(box_mean(x), expected, atol=1e-6)
    torch.testing.assert_close(box_mean(x, 3), box_mean(box_mean(box_mean(x))))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [1, 4])
def test_a_wide_mean_is_that_of_the_cells_in_the_map(
    shape: tuple[int, int, int], radius: int
) -> None:
    x = noise(shape)
    expected = torch.zeros_like(x)
    for cell in np.ndindex(shape):
        near = tuple(slice(max(0, c - radius), c + radius + 1) for c in cell)
        expected[(slice(None), *cell)] = x[(slice(None), *near)].mean((1, 2, 3))
    torch.testing.assert_close(wide_mean(x, radius), expected, atol=1e-5, rtol=1e-4)


def test_contrast_is_relative_to_its_surroundings() -> None:
    x = noise((9, 9, 9), channels=1)
    expected = (x[0, 4, 4, 4] - x.mean()) / x.var(correction=0).sqrt()
    torch.testing.assert_close(local_contrast(x)[0, 4, 4, 4], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(local_contrast(5 * x + 30), local_contrast(x), atol=1e-3, rtol=1e-3)
    assert not local_contrast(torch.full((1, 5, 5, 5), 7.0)).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_halving_repeats_an_odd_last_slice(shape: tuple[int, int, int]) -> None:
    x = noise(shape)
    odd = [(0, 0), *((0, n % 2) for n in shape)]
    padded = np.pad(x.numpy(), odd, mode="edge")
    parts = [padded[:, a::2, b::2, c::2] for a, b, c in product((0, 1), repeat=3)]
    np.testing.assert_allclose(halve(x), np.mean(parts, axis=0), atol=1e-6)


def test_slopes_are_central_differences() -> None:
    x = noise((6, 7, 5))
    for axis, found in enumerate(gradient(x), 1):
        inner = tuple(slice(1, -1) if a == axis else slice(None) for a in range(4))
        expected = np.gradient(x.numpy(), axis=axis)
        np.testing.assert_allclose(found[inner], expected[inner], atol=1e-6)
        # one-sided and halved at the ends, where the edge is repeated
        first = tuple(slice(0, 1) if a == axis else slice(None) for a in range(4))
        np.testing.assert_allclose(found[first], expected[first] / 2, atol=1e-6)
