import numpy as np
import pytest

from mass3d.masks.hierarchy.engine import propose, windowed
from mass3d.masks.hierarchy.merging import merge
from mass3d.masks.hierarchy.regions import build_graph
from mass3d.masks.hierarchy.select import select_nodes
from mass3d.masks.hierarchy.settings import HierarchyConfig, SelectionConfig, TreeConfig
from mass3d.masks.layers import MaskSet
from mass3d.masks.quality import best_dice
from mass3d.phantom import draw_phantom
from oracles.masks import laminar

SIDE = 24


def balls() -> tuple[np.ndarray, np.ndarray]:
    """An image of a bright ball in a grey ball in air, and the label of the two."""
    axes = np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij")
    distance = np.sqrt(sum((axis - 11.5) ** 2 for axis in axes))
    label = (distance < 10).astype(int) + (distance < 5)
    rng = np.random.default_rng(0)
    image = np.array([-1000.0, 40.0, 160.0])[label] + 4 * rng.standard_normal(label.shape)
    return image.astype(np.float32), label


def masks_of(image: np.ndarray, modality: str = "ct", **settings: object) -> MaskSet:
    return propose(
        image,
        spacing_mm=2.0,
        modality=modality,  # type: ignore[arg-type]
        mean=0.0,
        std=1.0,
        config=HierarchyConfig.model_validate(settings),
    )


@pytest.mark.parametrize("modality", ["ct", "mr", "pet"])
def test_shapes_that_edges_show_are_found_in_every_modality(modality: str) -> None:
    image, label = balls()
    if modality != "ct":
        image = np.maximum(image, 0)
    found = best_dice(masks_of(image, modality), label)
    assert found[1] > 0.9
    assert found[2] > 0.95


def test_a_phantoms_organs_are_found_without_its_labels() -> None:
    scan = draw_phantom(seed=0, index=0)
    image = scan.image.astype(np.float32)
    found = best_dice(masks_of(image), scan.label.astype(int))
    assert np.mean(list(found.values())) > 0.7


def test_tissue_that_is_nearly_as_dark_as_air_is_found_beside_bright_fat() -> None:
    """As muscle and tumours are in T1; the air lies at the floor that a scan is clipped to."""
    _, label = balls()
    image = np.array([0.0, 0.1, 0.15])[label]
    image[:, :, SIDE // 2 :] += 0.8 * (label[:, :, SIDE // 2 :] == 1)  # one half is fat
    found = best_dice(masks_of(image.astype(np.float32), "mr"), label)
    assert found[2] > 0.95


def test_masks_of_one_layer_are_nested_or_disjoint_and_keep_to_the_limits() -> None:
    image, _ = balls()
    selection = {"min_mm3": 400.0, "max_share": 0.2, "max_masks": 12}
    masks = masks_of(image, selection=selection)
    assert len(masks.ranks) == len(HierarchyConfig().ct)
    assert masks.table.voxels.min() * 8 >= 400
    assert masks.table.voxels.max() <= 0.2 * image.size
    for layer in range(len(masks.ranks)):
        rows = np.flatnonzero(masks.table.layer == layer)
        assert 0 < len(rows) <= 12
        shown = [masks.mask(int(row)) for row in rows]
        assert all(laminar(a, b) for i, a in enumerate(shown) for b in shown[:i])


def test_a_layer_is_made_of_the_unions_of_regions_that_the_tree_says() -> None:
    image, _ = balls()
    fraction = windowed(image, "wide", "ct")
    graph = build_graph(fraction, 0.5)
    assert graph is not None
    parents, altitudes = merge(graph, "volume")
    leaves = len(graph.size)
    below = [{leaf} for leaf in range(leaves)] + [set() for _ in range(len(parents) - leaves)]
    for node, parent in enumerate(parents[:-1]):
        below[parent] |= below[node]
    size = np.array([graph.size[list(found)].sum() for found in below])
    config = SelectionConfig(min_mm3=0, max_masks=40, min_in_body=0)
    nodes, _ = select_nodes(
        parents, altitudes, size=size, in_body=np.ones(len(size)), voxel_mm3=8.0, config=config
    )
    tree = TreeConfig(window="wide", sigma_vox=0.5, merging="volume")
    masks = masks_of(image, ct=(tree,), selection=config)
    wanted = {np.isin(graph.regions, [r + 1 for r in below[n]]).tobytes() for n in nodes}
    assert {masks.mask(row).tobytes() for row in range(len(masks))} == wanted
    assert {0, *np.unique(masks.ranks)} == set(range(masks.ranks.max() + 1))


def test_equal_scans_give_equal_masks() -> None:
    image, _ = balls()
    first, second = masks_of(image), masks_of(image)
    np.testing.assert_array_equal(first.ranks, second.ranks)
    for a, b in zip(first.table.columns().values(), second.table.columns().values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_normalisation_of_the_image_is_undone_before_windows_are_cut() -> None:
    image, _ = balls()
    config = HierarchyConfig()
    normalised = propose(
        ((image + 100) / 2).astype(np.float32),
        spacing_mm=2.0,
        modality="ct",
        mean=-100.0,
        std=2.0,
        config=config,
    )
    np.testing.assert_array_equal(normalised.ranks, masks_of(image).ranks)


def test_a_constant_scan_gives_no_mask() -> None:
    masks = masks_of(np.zeros((8, 9, 10), np.float32))
    assert len(masks) == 0
    assert masks.shape == (8, 9, 10)


def test_trees_are_settings() -> None:
    image, label = balls()
    tree = TreeConfig(window="wide", sigma_vox=1.0, merging="balanced")
    masks = masks_of(image, ct=(tree,), selection=SelectionConfig(min_mm3=100))
    assert len(masks.ranks) == 1
    assert best_dice(masks, label)[2] > 0.9


def test_windows_are_fixed_for_ct_and_relative_for_the_others() -> None:
    raw = np.array([-2000.0, -160.0, 40.0, 240.0, 3000.0], np.float32)
    np.testing.assert_allclose(windowed(raw, "soft", "ct"), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(windowed(raw, "full", "mr"), (raw + 2000) / 5000)
    np.testing.assert_allclose(windowed(raw, "root", "pet"), np.sqrt((raw + 2000) / 5000))
