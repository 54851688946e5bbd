"""The released network: its published numbers, and a plain version at other sizes and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mass3d.errors import ConfigError
from mass3d.model.iris import TOKENS, IrisNet
from mass3d.model.iris_blocks import BLOCK_EPS, Attention, activated
from mass3d.model.iris_task import foreground_mean, shuffle, unshuffle
from mass3d.model.presets import PRESETS, IrisPreset
from mass3d.model.protocol import FeatureNetworkModule, segment_pair
from mass3d.model.released import renamed
from mass3d.model.segmentation import add_head
from oracles.iris import (
    PlainIris,
    made_inputs,
    made_state,
    released_shapes,
    shuffled,
    unshuffled,
)

SMALL = (4, 8, 32, 32, 64)
EDGE = 48


def net_of(state: dict[str, Tensor], preset: IrisPreset) -> IrisNet:
    """Our network with released weights, in evaluation mode."""
    with torch.device("meta"):
        net = IrisNet(preset)
    named = {renamed(key) or "": value for key, value in state.items() if "task_prior" not in key}
    net.load_state_dict(named, assign=True)
    # as runs have it; torch's stubs do not know the argument
    net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return net.eval().requires_grad_(False)


def pair(seed: int, channels: tuple[int, ...] = SMALL) -> tuple[IrisNet, PlainIris]:
    """Ours and the plain network, of the same weights."""
    state = made_state(released_shapes(channels, edge=EDGE), seed)
    preset = IrisPreset.model_validate({"channels": channels, "position_edge": EDGE})
    return net_of(state, preset), PlainIris(state)


@pytest.fixture(scope="module")
def net() -> IrisNet:
    return pair(seed=0)[0]


def error(ours: Tensor, theirs: Tensor | np.ndarray) -> float:
    """Relative, in the norm of all numbers."""
    theirs = torch.as_tensor(theirs)
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "channels", "shown"),
    [
        ("small_48", (8, 16, 32, 64, 96), made_inputs((32, 48, 32), 3, 1)),
        ("base_32", (32, 64, 128, 256, 512), made_inputs((32, 32, 32), 2, 2)),
    ],
    ids=["small_48", "base_32"],
)
def test_the_released_numbers_are_ours(
    parity_dir: Path, file: str, channels: tuple[int, ...], shown: tuple[Tensor, Tensor, Tensor]
) -> None:
    seed = {"small_48": 1, "base_32": 2}[file]
    wanted = np.load(parity_dir / f"{file}.npz")
    preset = IrisPreset.model_validate({"channels": channels})
    net = net_of(made_state(released_shapes(channels, prior_rows=3), seed), preset)
    target, reference, spheres = shown
    maps = net.encode(target)
    task = net.encode_task(net.encode(reference), spheres)
    dense = net.features(target)
    ours = {
        "logits": net.decode(maps, task),
        "encoder_deepest": maps[-1],
        "encoder_shallowest_mean": maps[0].mean((2, 3, 4)),
        "dense_feature_mean": dense.mean((2, 3, 4)),
        "dense_feature_std": dense.std((2, 3, 4)),
        **{f"task_{name}": task[name] for name in TOKENS},
    }
    assert ours.keys() == set(wanted)
    errors = {name: error(ours[name], wanted[name]) for name in ours}
    assert max(errors.values()) <= 1e-4, errors


@pytest.mark.data
def test_the_keys_and_shapes_of_the_plain_network_are_the_released_ones(parity_dir: Path) -> None:
    rows = (parity_dir / "iris_base_state_dict.tsv").read_text().splitlines()[1:]
    cells = (row.split("\t") for row in rows)
    told = {key: tuple(map(int, shape.strip("[]").split(","))) for key, shape, *_ in cells}
    assert told == released_shapes((32, 64, 128, 256, 512))


@pytest.mark.parametrize(
    ("reference", "target", "masks", "seed"),
    [
        ((32, 32, 32), (32, 32, 32), 1, 3),
        ((48, 32, 16), (16, 48, 32), 4, 4),
        ((16, 32, 48), (40, 36, 50), 2, 5),  # a target need not be of whole strides
    ],
)
def test_it_computes_what_the_plain_network_does(
    reference: tuple[int, int, int], target: tuple[int, int, int], masks: int, seed: int
) -> None:
    ours, plain = pair(seed)
    query, _, _ = made_inputs(target, 1, seed)
    _, shown, spheres = made_inputs(reference, masks, seed)
    with torch.no_grad():
        maps = plain.encode(query)
        tokens = plain.encode_task(plain.encode(shown), spheres)
        found = plain.decode(maps, tokens)
        task = ours.encode_task(ours.encode(shown), spheres)
        logits = ours.decode(ours.encode(query), task)
    assert all(error(a, b) < 1e-5 for a, b in zip(ours.encode(query), maps, strict=True))
    assert all(error(task[name], b) < 1e-5 for name, b in zip(TOKENS, tokens, strict=True))
    assert error(logits, found) < 5e-5


def test_with_gradients_it_computes_the_same(net: IrisNet) -> None:
    target, reference, masks = made_inputs((32, 32, 16), 2, 1)
    with torch.no_grad():
        without = net(reference, masks, target)
    with torch.enable_grad():
        found = net(reference, masks, target.requires_grad_())
    assert error(found.detach(), without) < 1e-5
    found.square().sum().backward()
    assert target.grad is not None
    assert target.grad.isfinite().all()


def test_samples_of_a_batch_do_not_see_each_other(net: IrisNet) -> None:
    shown = [made_inputs((32, 32, 32), 2, seed) for seed in (1, 2)]
    target, reference, masks = (torch.cat(parts) for parts in zip(*shown, strict=True))
    both = segment_pair(net, reference, masks, target)
    alone = segment_pair(net, reference[1:], masks[1:], target[1:])
    assert error(both[1:], alone) < 1e-5


def test_tokens_of_a_mask_do_not_depend_on_the_others(net: IrisNet) -> None:
    _, reference, masks = made_inputs((32, 32, 32), 3, 1)
    maps = net.encode(reference)
    three, one = net.encode_task(maps, masks), net.encode_task(maps, masks[:, 1:2])
    assert all(error(three[name][:, 1:2], one[name]) < 1e-5 for name in TOKENS)


def test_logits_of_a_mask_depend_on_what_is_asked_besides(net: IrisNet) -> None:
    target, reference, masks = made_inputs((32, 32, 32), 3, 1)
    three = net(reference, masks, target)[:, :1]
    assert error(three, net(reference, masks[:, :1], target)) > 1e-4


def test_features_pooled_by_the_transposed_interpolation_are_the_upsampled_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 5, 2, 3, 4, generator=generator)
    masks = torch.rand(2, 3, 32, 48, 64, generator=generator)
    masks[1, 2] = 0
    up = torch.nn.functional.interpolate(
        features, masks.shape[2:], mode="trilinear", align_corners=True
    )
    sums = torch.einsum("bcdhw,bkdhw->bkc", up, masks)
    wanted = sums / masks.sum((2, 3, 4)).clamp_min(1)[..., None]
    torch.testing.assert_close(foreground_mean(features, masks), wanted, rtol=1e-4, atol=1e-5)


def test_channels_become_voxels_and_back() -> None:
    x = torch.randn(2, 64, 2, 3, 5)
    assert shuffle(x, 4).equal(shuffled(x, 4))
    assert unshuffle(shuffle(x, 4), 4).equal(x)
    assert unshuffled(shuffled(x, 4), 4).equal(x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_norms_stay_exact_where_voxels_are_many_and_far_from_zero(
    layout: torch.memory_format,
) -> None:
    x = torch.randn(1, 4, 64, 64, 64, generator=torch.Generator().manual_seed(0)) + 10
    exact = x.double() - x.double().mean((2, 3, 4), keepdim=True)
    scale = (exact.square().mean((2, 3, 4), keepdim=True) + BLOCK_EPS).rsqrt()
    x = x.contiguous(memory_format=layout)
    for found in (activated(x, BLOCK_EPS), activated(x.requires_grad_(), BLOCK_EPS).detach()):
        assert error(found.double(), (exact * scale).relu()) < 2e-6
        assert found.is_contiguous(memory_format=layout)


def test_attention_of_few_queries_is_attention() -> None:
    torch.manual_seed(0)
    attention = Attention(96, over_context=True)
    tokens, cells = torch.randn(2, 50, 96), torch.randn(2, 40, 96)
    many = attention(tokens, cells)  # by keys and values, as heads times queries exceed the width
    few = torch.cat([attention(part, cells) for part in tokens.split(5, 1)], 1)
    torch.testing.assert_close(few, many, rtol=1e-4, atol=1e-5)


def test_norms_of_16_bits_are_those_of_32_but_for_rounding() -> None:
    x = torch.randn(2, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    found = activated(x.bfloat16(), BLOCK_EPS)
    assert found.dtype == torch.bfloat16
    assert error(found.float(), activated(x, BLOCK_EPS)) < 5e-3


def test_what_is_written_over_is_only_what_nobody_needs() -> None:
    x = torch.randn(1, 4, 8, 8, 8)
    before = x.clone()
    with torch.no_grad():
        kept = activated(x, BLOCK_EPS)
        assert x.equal(before)
        assert activated(x, BLOCK_EPS, own=True).equal(kept)


def test_the_smallest_image_and_constant_ones_stay_finite(net: IrisNet) -> None:
    masks = torch.zeros(1, 2, 16, 16, 16)
    masks[0, 1] = 1
    for image in (torch.randn(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)):
        assert net(image, masks, image).isfinite().all()


def test_a_reference_beyond_the_learned_positions_is_refused(net: IrisNet) -> None:
    image = torch.zeros(1, 1, 16, 64, 16)
    with pytest.raises(ConfigError) as caught:
        net.encode_task(net.encode(image), torch.ones_like(image))
    assert "16 x 64 x 16" in caught.value.found
    assert str(EDGE) in caught.value.expected


@pytest.mark.parametrize("shape", [(40, 40, 40), (32, 40, 48)])
def test_edges_that_are_no_multiples_of_the_stride_are_refused_in_words(
    net: IrisNet, shape: tuple[int, int, int]
) -> None:
    image = torch.zeros(1, 1, *shape)
    for where, asked in (
        ("a reference", lambda: net(image, torch.ones_like(image), image)),
        ("a window", lambda: net.features(image)),
    ):
        with pytest.raises(ConfigError) as caught:
            asked()
        told = caught.value
        assert (told.where, told.setting) == (where, "views.crop_vox")
        assert " x ".join(map(str, shape)) in told.found
        assert "multiples of the stride of the network, 16" in told.expected
        assert f"{-(-shape[0] // 16) * 16} x 48 x 48" in told.fix


def test_an_image_below_one_stride_is_refused_in_words(net: IrisNet) -> None:
    with pytest.raises(ConfigError, match="12 x 40 x 32 voxels; expected at least the stride"):
        net.encode(torch.zeros(1, 1, 12, 40, 32))


def test_features_of_a_large_image_take_its_middle_for_a_task(net: IrisNet) -> None:
    image = made_inputs((16, 64, 32), 1, 0)[0]
    maps = net.encode(image)
    inside = [one[:, :, :, (8 >> i) : (56 >> i)] for i, one in enumerate(maps[:4])]
    inside.append(maps[4][:, :, :, :3])  # of four cells; their middle begins between two
    task = net.encode_task(inside, torch.ones(1, 1, 16, 48, 32))
    wanted = net.decoder(maps, [task[name] for name in TOKENS])[0]
    assert error(net.features(image), wanted) < 1e-5


def test_a_head_for_structures_is_trained_on_its_features() -> None:
    torch.manual_seed(0)
    trunk = IrisNet(IrisPreset(channels=(4, 8, 32, 32, 32), position_edge=32))
    net = add_head(cast("FeatureNetworkModule", trunk), 2, seed=0)
    nn.init.normal_(net.out.weight)  # it starts at zero, which hides gradients
    image = made_inputs((16, 32, 48), 1, 0)[0]
    logits = net(image)
    assert logits.shape == (1, 3, 16, 32, 48)
    logits.square().mean().backward()
    trained = {name.split(".")[0] for name, p in trunk.named_parameters() if p.grad is not None}
    assert trained == {"encoder", "tasks", "decoder"}


def test_joined_tasks_are_means_by_what_windows_show(net: IrisNet) -> None:
    parts = []
    for seed in (1, 2):
        _, reference, masks = made_inputs((16, 16, 16), 3, seed)
        parts.append(net.encode_task(net.encode(reference), masks))
    weights = torch.tensor([[1.0, 0.0, 0.0], [3.0, 2.0, 0.0]])
    joined = net.join_tasks(parts, weights)
    for name in TOKENS:
        first, second = (part[name] for part in parts)
        torch.testing.assert_close(joined[name][:, 0], (first[:, 0] + 3 * second[:, 0]) / 4)
        torch.testing.assert_close(joined[name][:, 1], second[:, 1])
        torch.testing.assert_close(joined[name][:, 2], (first[:, 2] + second[:, 2]) / 2)


def test_every_parameter_is_trained() -> None:
    torch.manual_seed(0)
    net = IrisNet(IrisPreset(channels=(4, 8, 32, 32, 32), position_edge=32))
    target, reference, masks = made_inputs((32, 32, 32), 2, 0)
    net(reference, masks, target).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_released_sizes_are_those_of_base() -> None:
    preset = PRESETS["base"]
    assert isinstance(preset, IrisPreset)
    with torch.device("meta"):
        net = IrisNet(preset)
    assert sum(p.numel() for p in net.parameters()) == 120_126_373
    parts = {
        "encoder": net.encoder,
        "decoder": net.decoder,
        "tasks": net.tasks,
        "classifier": net.classifier,
    }
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    assert counts == {
        "encoder": 37_657_440,
        "decoder": 46_000_384,
        "tasks": 35_632_229,
        "classifier": 836_320,
    }


def test_widths_without_whole_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        IrisPreset(channels=(4, 8, 16, 32, 32))
