import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mass3d.masks.layers import MaskSet, concatenate, empty, encode_tree
from mass3d.masks.packing import encode
from oracles import masks as oracle

SHAPE = (5, 6, 4)
Mask = np.ndarray


@st.composite
def some_masks(draw: st.DrawFn) -> list[Mask]:
    """Boxes and scattered voxels: nested, disjoint, crossing and repeated ones."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    masks = []
    for _ in range(draw(st.integers(0, 12))):
        mask = np.zeros(SHAPE, bool)
        if rng.uniform() < 0.7:
            low = rng.integers(0, np.array(SHAPE))
            high = rng.integers(low + 1, np.array(SHAPE) + 1)
            mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
        else:
            mask = rng.uniform(size=SHAPE) < rng.uniform(0.1, 0.9)
        if mask.any():
            masks.append(mask)
    return masks


def as_set(masks: list[Mask]) -> set[bytes]:
    return {np.packbits(mask).tobytes() for mask in masks}


def decoded(masks: MaskSet) -> list[Mask]:
    return [masks.mask(row) for row in range(len(masks))]


@given(some_masks())
def test_the_table_tells_the_truth(masks: list[Mask]) -> None:
    coded = encode(masks, shape=SHAPE)
    table, back = coded.table, decoded(coded)
    for row, mask in enumerate(back):
        assert table.voxels[row] == mask.sum()
        assert table.box[row].tolist() == oracle.box(mask)
        peers = np.flatnonzero(table.layer == table.layer[row])
        here = peers.tolist().index(row)
        around = oracle.smallest_around([back[peer] for peer in peers], here)
        assert table.parent[row] == (-1 if around < 0 else peers[around])
        assert table.parent[row] < row
    assert (np.diff(table.layer) >= 0).all()


@given(some_masks(), st.data())
def test_keeping_some_masks_keeps_exactly_those(masks: list[Mask], data: st.DataObject) -> None:
    coded = encode(masks, shape=SHAPE)
    rows = data.draw(st.lists(st.integers(0, max(0, len(coded) - 1)), unique=True))
    rows = rows if len(coded) else []
    kept = coded.keep(rows)
    assert as_set(decoded(kept)) == as_set([coded.mask(row) for row in rows])
    assert len(kept.ranks) == len(set(coded.table.layer[rows].tolist()))


def test_a_tree_of_regions_needs_no_masks() -> None:
    regions = np.arange(1, 5).reshape(1, 1, 4)  # four voxels, four regions
    parents = np.array([4, 4, 5, 5, 6, 6, 6])  # (1 2) (3 4) and all
    coded = encode_tree(
        regions,
        parents=parents,
        nodes=np.array([0, 5, 4]),
        scores=np.array([0.1, 0.2, 0.3]),
        engine="tree",
    )
    found = {
        tuple(mask.ravel().astype(int)): s
        for mask, s in zip(decoded(coded), coded.table.score, strict=True)
    }
    assert set(found) == {(1, 0, 0, 0), (0, 0, 1, 1), (1, 1, 0, 0)}
    assert found[1, 1, 0, 0] == pytest.approx(0.3)
    assert coded.ranks.max() == 3  # regions 3 and 4, which no mask separates, became one atom


def test_concatenated_sets_keep_masks_parents_and_engines() -> None:
    a, b = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    a[0] = b[0, 0] = True
    both = concatenate([encode([a], engine="one"), encode([a, b], engine="two"), empty(SHAPE)])
    assert both.table.engine.tolist() == ["one", "two", "two"]
    assert both.table.parent.tolist() == [-1, -1, 1]
    assert as_set(decoded(both)) == as_set([a, b])


def test_more_atoms_than_16_bits_need_32() -> None:
    side = 41  # 41 cubed is more than 65536 - a rank per voxel
    regions = np.arange(1, side**3 + 1).reshape(side, side, side)
    count = side**3
    parents = np.concatenate([np.full(count, count), [count]])
    coded = encode_tree(
        regions, parents=parents, nodes=np.arange(count), scores=np.ones(count), engine="x"
    )
    assert coded.ranks.dtype == np.uint32
    assert coded.mask(count - 1).sum() == 1
