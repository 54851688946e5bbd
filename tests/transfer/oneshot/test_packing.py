"""A reference comes back from its bytes, and bytes that were changed are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from heads import SHAPE, head
from mass3d.transfer.oneshot.carrying import find
from mass3d.transfer.oneshot.packing import ScanFacts, pack, unpack
from mass3d.transfer.oneshot.reference import LabelledScan, labelled_scan, tuned_head
from mass3d.transfer.tuning.settings import TuningConfig

FEW = TuningConfig(views=2, held_out=1, voxels_per_view=500, steps=5, batch=256)


@pytest.fixture(scope="module")
def scan() -> LabelledScan:
    image = head()
    label = torch.zeros(SHAPE, dtype=torch.long)
    label[20:30, 20:34, 20:31], label[31:35, 20:34, 20:31] = 1, 2
    return replace(labelled_scan(image, label, 2), head=tuned_head(image, label, 2, FEW))


@pytest.fixture
def packed(scan: LabelledScan) -> tuple[dict[str, Tensor], ScanFacts]:
    return pack(scan)


def test_a_reference_finds_the_same_after_packing(scan: LabelledScan) -> None:
    tensors, facts = pack(scan)
    back = unpack(tensors, ScanFacts.model_validate_json(facts.model_dump_json()))
    assert back.label.equal(scan.label)
    assert back.present.equal(scan.present)
    for stride, level in scan.features.levels.items():
        other = back.features.levels[stride]
        assert (other.features - level.features).abs().max() <= 1 / 6 + 1e-6
        assert other.known.equal(level.known)
    query = head().roll((2, -1, 1), (0, 1, 2))
    one, other_votes = find([scan], query), find([back], query)
    shared = [float(votes.votes[0, 0].sum()) for votes in (one, other_votes)]
    assert shared[1] == pytest.approx(shared[0], rel=0.03)


def test_no_intensity_is_kept(scan: LabelledScan) -> None:
    tensors, facts = pack(scan)
    assert {level.channels for level in facts.levels} == {12}
    assert min(level.stride for level in facts.levels) == 2
    names = {"label", "used", "head"} | {
        f"{kind}.{s}" for kind in ("features", "known") for s in (2, 4)
    }
    assert {name if name in names else name.split(".")[0] for name in tensors} == names


def test_a_reference_is_small(packed: tuple[dict[str, Tensor], ScanFacts]) -> None:
    tensors, facts = packed
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert size + len(facts.model_dump_json()) < 200_000


@pytest.mark.parametrize("name", ["label", "features.4", "known.2", "head.strength", "used"])
def test_what_is_missing_is_named(packed: tuple[dict[str, Tensor], ScanFacts], name: str) -> None:
    tensors, facts = packed
    del tensors[name]
    with pytest.raises(ValueError, match=name):
        unpack(tensors, facts)


@pytest.mark.parametrize("name", ["label", "features.2", "known.4"])
def test_bytes_that_are_no_content_are_refused(
    packed: tuple[dict[str, Tensor], ScanFacts], name: str
) -> None:
    tensors, facts = packed
    for wrong in (tensors[name][:-20], torch.zeros(50, dtype=torch.uint8), torch.zeros(9)):
        with pytest.raises(ValueError, match="bytes"):
            unpack(tensors | {name: wrong}, facts)


def test_a_head_of_another_shape_is_refused(packed: tuple[dict[str, Tensor], ScanFacts]) -> None:
    tensors, facts = packed
    for name in ("head.mean", "used"):
        with pytest.raises(ValueError, match="shape"):
            unpack(tensors | {name: tensors[name][:-1]}, facts)


def test_a_label_value_beyond_the_structures_is_refused(
    packed: tuple[dict[str, Tensor], ScanFacts],
) -> None:
    tensors, facts = packed
    with pytest.raises(ValueError, match="structures"):
        unpack(tensors, facts.model_copy(update={"structures": 1, "head": None}))
