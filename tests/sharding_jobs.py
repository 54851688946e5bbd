"""What two processes find of weights that they share; each runs this file and fails by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from mass3d.execution.processes import started_processes
from mass3d.model.build import build_network
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.plan import ResEncPlan
from mass3d.model.presets import (
    CorrespondencePreset,
    InContextPreset,
    IrisPreset,
    OptimizerName,
    Recipe,
    ResEncPreset,
)
from mass3d.objective.autoencoder import Autoencoder
from mass3d.objective.contrastive import Contrastive
from mass3d.pretext.correspondence import Matcher
from mass3d.training import sharding
from mass3d.training.fabric import average_gradients, make_fabric, mesh_of, wrap
from mass3d.training.optimizers import OPTIMIZERS, make_optimizer
from mass3d.training.sharding import Blank, clip_gradients, local, together, whole
from training_jobs import Wide

CPU = torch.device("cpu")
SHAPES = ((6, 4, 3, 3, 3), (5, 7), (1, 9), (5,), ())


class Weights(nn.Module):
    """Kernels and matrices, one of which has a single row, a bias and a number."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(5)
        self.all = nn.ParameterList(torch.randn(shape, generator=draws) for shape in SHAPES)


def gradients(step: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=draws) for shape in SHAPES]


def fabric() -> Fabric:
    return make_fabric(CPU, started_processes(), "full")


def mesh() -> DeviceMesh:
    found = mesh_of(fabric())
    assert found is not None
    return found


def updates(name: OptimizerName) -> None:
    """Four updates of shares come out as those of whole tensors."""
    plain, shared = Weights(), Weights()
    sharding.shard(shared, mesh())
    assert [isinstance(p, DTensor) for p in shared.parameters()] == [True] * 3 + [False] * 2
    recipe = Recipe(optimizer=name, lr=0.03, weight_decay=0.4)
    optimizers = [make_optimizer(model, recipe) for model in (plain, shared)]
    for step in range(4):
        for model, optimizer in zip((plain, shared), optimizers, strict=True):
            for parameter, gradient in zip(model.parameters(), gradients(step), strict=True):
                parameter.grad = sharding.share_of(gradient, parameter)
            norm = clip_gradients(model.parameters(), 7.0)
            expected = torch.cat([one.flatten() for one in gradients(step)]).norm()
            torch.testing.assert_close(norm, expected)
            optimizer.step()
    for ours, theirs in zip(shared.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(whole(ours), theirs, rtol=1e-5, atol=1e-6)


def networks() -> Iterator[tuple[str, Callable[[], nn.Module], tuple[Tensor, ...]]]:
    """Every network and objective, small, with what it is called with."""
    small = CorrespondencePreset(channels=(8, 16, 24), keys=4)
    tokens = InContextPreset(
        channels=(8, 16, 16), blocks=(1, 1), dim=16, tokens=2, fusions=1, heads=4, hidden=4
    )
    plan = ResEncPlan(
        n_stages=2,
        features_per_stage=(8, 16),
        n_blocks_per_stage=(1, 1),
        strides=((1, 1, 1), (2, 2, 2)),
        kernel_sizes=((3, 3, 3), (3, 3, 3)),
        n_conv_per_stage_decoder=(1,),
    )
    stacks = ResEncPreset(plan=plan, width=8, keys=4, max_crop_voxels=1000)
    iris = IrisPreset(channels=(8, 16, 32, 32, 32), position_edge=32)
    draws = torch.Generator().manual_seed(3)
    image, other = (torch.randn(2, 1, 32, 32, 32, generator=draws) for _ in range(2))
    masks = (torch.rand(2, 3, 32, 32, 32, generator=draws) > 0.5).float()
    keep = (torch.rand(2, 1, 4, 4, 4, generator=draws) > 0.5).float()

    def net(preset: Any) -> Any:
        return build_network(preset, seed=1)

    def seeded(make: Callable[[CorrespondenceNet], nn.Module]) -> nn.Module:
        torch.manual_seed(2)
        return make(cast("CorrespondenceNet", net(small)))

    yield "correspondence", lambda: net(small), (image,)
    yield "incontext", lambda: net(tokens), (image, masks, other)
    yield "iris", lambda: net(iris), (image, masks, other)
    yield "resenc", lambda: net(stacks), (image,)
    yield "autoencoder", lambda: seeded(Autoencoder), (image, keep)
    yield "contrastive", lambda: seeded(Contrastive), (image,)
    yield "matcher", lambda: seeded(Matcher), (image,)


def loss_of(found: Any) -> Tensor:
    parts = [found] if isinstance(found, Tensor) else list(found)
    return torch.stack([part.float().square().mean() for part in parts]).sum()


def network_gradients() -> None:
    """Loss and gradients of each network are those of the whole one, wherever weights are read."""
    together_from = sharding.FEWEST
    sharding.FEWEST = 1  # type: ignore[misc]  # every layer by itself
    for name, make, given in networks():
        plain, shared, where = make(), make(), fabric()
        wrapped = wrap(where, shared)
        assert any(isinstance(p, DTensor) for p in shared.parameters()), name
        losses = [loss_of(model(*given)) for model in (plain, wrapped)]
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0, msg=name)
        losses[0].backward()
        where.backward(losses[1])
        average_gradients(where, shared.parameters())
        norms = [clip_gradients(model.parameters(), 1e9) for model in (plain, shared)]
        torch.testing.assert_close(norms[1], norms[0], rtol=1e-4, atol=0, msg=name)
        pairs = zip(plain.named_parameters(), shared.parameters(), strict=True)
        for (weight, theirs), ours in pairs:
            assert (theirs.grad is None) == (ours.grad is None), (name, weight)
            if theirs.grad is not None and ours.grad is not None:
                off = (whole(ours.grad) - theirs.grad).norm() / norms[0]
                assert off < 1e-5, (name, weight, float(off))
    sharding.FEWEST = together_from  # type: ignore[misc]


def shares() -> None:
    """A process keeps half; together they are the whole again, in the first or in each."""
    torch.manual_seed(4)
    model, alike = Wide(), Wide()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    blank = Blank(model)
    where = fabric()
    sharding.shard(model, mesh())
    sharding.shard(alike, mesh())
    counts = [(local(p).numel(), p.numel()) for p in model.parameters() if p.ndim > 1]
    assert (
        sum(mine for mine, _ in counts) <= sum(every for _, every in counts) / 2 + 301
    )  # the one row
    found = together(model.state_dict(), kept=where.is_global_zero)
    assert found.keys() == (state.keys() if where.is_global_zero else set())
    sharding.fill(alike, state)
    for kept in (found, together(alike.state_dict(), kept=True), blank.filled(model).state_dict()):
        assert all(torch.equal(tensor, state[name]) for name, tensor in kept.items())
    assert type(blank.filled(model)) is Wide


if __name__ == "__main__":
    torch.set_num_threads(1)
    for optimizer in OPTIMIZERS:
        updates(optimizer)
    shares()
    network_gradients()
    sys.stdout.write("all well\n")
