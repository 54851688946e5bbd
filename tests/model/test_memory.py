import torch
import torch.nn.functional as F

from mass3d.model.memory import QUERY_CELLS, keep_cells, read_out


def plain_read_out(
    keys: torch.Tensor, memory: torch.Tensor, values: torch.Tensor, count: torch.Tensor, tau: float
) -> torch.Tensor:
    """Cell by cell."""
    out = torch.zeros(values.shape[0], keys.shape[1])
    for n in range(keys.shape[1]):
        weight = count * torch.exp(tau * (keys[:, n : n + 1] * memory).sum(0))
        out[:, n] = (values * weight).sum(1) / weight.sum()
    return out


def test_readouts_are_means_weighted_by_likeness() -> None:
    generator = torch.Generator().manual_seed(1)
    keys = F.normalize(torch.randn(2, 6, 30, generator=generator), dim=1)
    memory = F.normalize(torch.randn(2, 6, 17, generator=generator), dim=1)
    values, count = torch.rand(2, 3, 17), torch.rand(2, 17) + 1
    found = read_out(keys, memory, values, count.log(), torch.tensor(9.0))
    for b in range(2):
        wanted = plain_read_out(keys[b], memory[b], values[b], count[b], 9.0)
        torch.testing.assert_close(found[b], wanted)


def test_parts_of_a_large_query_are_read_alike() -> None:
    keys = F.normalize(torch.randn(1, 4, QUERY_CELLS + 5), dim=1)
    memory, values = F.normalize(torch.randn(1, 4, 9), dim=1), torch.rand(1, 2, 9)
    found = read_out(keys, memory, values, torch.zeros(1, 9), torch.tensor(5.0))
    last = read_out(keys[..., -7:], memory, values, torch.zeros(1, 9), torch.tensor(5.0))
    torch.testing.assert_close(found[..., -7:], last)


def test_all_cells_are_kept_where_there_are_few() -> None:
    kept = keep_cells(torch.rand(2, 3, 40), 64)
    assert torch.equal(kept.cells, torch.arange(40).expand(2, 40))
    assert not kept.log_count.any()


def test_small_masks_keep_their_cells_and_the_others_stand_for_the_rest() -> None:
    shares = torch.zeros(1, 2, 1000)
    shares[0, 1, 333:340] = 1
    kept = keep_cells(shares.clone(), 50)
    assert kept.cells.shape == (1, 50)
    assert len(kept.cells.unique()) == 50
    assert set(range(333, 340)) <= set(kept.cells[0].tolist())
    torch.testing.assert_close(kept.log_count.exp().sum(), torch.tensor(1000.0), rtol=1e-4, atol=0)
    assert torch.equal(kept.of(shares)[0, 1], shares[0, 1, kept.cells[0]])


def test_what_thinning_out_changes_is_small() -> None:
    """A smooth map of keys is read out alike by all of its cells and by some of them."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.randn(1, 8, 40, generator=generator)
    keys = F.normalize(F.interpolate(coarse, size=800, mode="linear"), dim=1)
    shares = torch.zeros(1, 1, 800)
    shares[..., 200:320] = 1
    kept = keep_cells(shares.clone(), 200)
    every = read_out(keys, keys, shares, torch.zeros(1, 800), torch.tensor(20.0))
    some = read_out(keys, kept.of(keys), kept.of(shares), kept.log_count, torch.tensor(20.0))
    assert (every - some).abs().mean() < 0.03
