"""From maps and tokens to logits, against loops that say the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.model.decoder import Decoder, DynamicClassifier, Fusion

CHANNELS = (2, 4, 8)


def maps(batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(batch, c, 8 >> n, 8 >> n, 8 >> n) for n, c in enumerate(CHANNELS)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(CHANNELS, dim=8, fusions=1, heads=2).eval()


def test_features_come_at_half_and_full_resolution() -> None:
    half, full, tokens = decoder()(maps(), torch.randn(2, 5, 3, 8))
    assert half.shape == (2, 4, 4, 4, 4)
    assert full.shape == (2, 4, 8, 8, 8)
    assert tokens.shape == (2, 5, 3, 8)


def test_scans_of_a_batch_do_not_see_each_other() -> None:
    net, shown, tokens = decoder(), maps(), torch.randn(2, 5, 3, 8)
    alone = net([one[1:] for one in shown], tokens[1:])
    for found, wanted in zip(alone, net(shown, tokens), strict=True):
        torch.testing.assert_close(found, wanted[1:], atol=1e-5, rtol=1e-4)


def test_what_a_token_gathers_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    fusion = Fusion(8, 6, heads=2).eval()
    features, tokens = torch.randn(1, 8, 2, 2, 2), torch.randn(1, 7, 6)
    _, together = fusion(features, tokens)
    _, alone = fusion(features, tokens[:, 2:3])
    torch.testing.assert_close(together[:, 2:3], alone)


def test_a_fusion_tells_the_map_of_the_tokens() -> None:
    torch.manual_seed(0)
    fusion, features = Fusion(8, 6, heads=2).eval(), torch.randn(1, 8, 2, 2, 2)
    one, _ = fusion(features, torch.zeros(1, 2, 6))
    other, _ = fusion(features, torch.randn(1, 2, 6))
    assert one.shape == features.shape
    assert not torch.allclose(one, other)


def test_the_classifier_of_a_mask_is_a_small_network_that_its_tokens_write() -> None:
    torch.manual_seed(0)
    net = DynamicClassifier(4, 3, features=5, hidden=2).eval()
    half, full, tokens = (
        torch.randn(2, 4, 2, 2, 2),
        torch.randn(2, 3, 4, 4, 4),
        torch.randn(2, 6, 5),
    )
    found = net(half, full, tokens)
    assert found.shape == (2, 6, 4, 4, 4)
    written = net.write(tokens)
    for b in range(2):
        for k in range(6):
            first, shift, second, bias, edge = written[b, k].split([8, 2, 2, 1, 3])
            coarse = torch.zeros(2, 2, 2)
            for d, h, w in torch.cartesian_prod(*[torch.arange(2)] * 3).tolist():
                seen = half[b, :, d, h, w]
                hidden = F.relu(first.view(2, 4) @ seen / 2 + shift)
                coarse[d, h, w] = second @ hidden + bias[0]
            large = F.interpolate(coarse[None, None], size=(4, 4, 4), mode="trilinear")[0, 0]
            sharp = torch.einsum("c,cdhw->dhw", edge, full[b]) / 3**0.5
            torch.testing.assert_close(found[b, k], large + sharp, atol=1e-5, rtol=1e-4)


def test_an_untrained_classifier_says_that_nothing_is_there() -> None:
    torch.manual_seed(0)
    net = DynamicClassifier(4, 3, features=5, hidden=2)
    logits = net(torch.zeros(1, 4, 2, 2, 2), torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 1, 5))
    assert (logits < 0).all()
