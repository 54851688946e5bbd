"""A run for several processes, each of which runs this file."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mass3d.errors import Mass3dError, OutputError
from mass3d.execution.processes import started_processes
from mass3d.model.build import build_network
from mass3d.model.correspondence import CorrespondenceNet
from mass3d.model.presets import CorrespondencePreset
from mass3d.objective.contrastive import Contrastive
from mass3d.pretext.contrastive import contrast_step
from mass3d.pretext.correspondence import Matcher, correspondence_step
from mass3d.training import checkpoint
from mass3d.training.fit import FitConfig, Progress, StepContext, StepOutcome, fit
from mass3d.training.step import Hook, Step
from mass3d.views.correspondence import Matches
from mass3d.views.matched_images import MatchedImages
from mass3d.views.twice import TwoViews

CONFIG = FitConfig(
    steps=7,
    optimizer="adamw",  # Muon's library takes a second and a half to import, in every process
    lr=0.03,
    batch_size=12,
    log_every=3,
    save_every=2,
    precision="32-true",
    prefetch=1,
)
FACTS = {"of": "two"}
RANK = "RANK"  # in the name of a folder: that of the process
DISK = "MASS3D_TEST_DISK"  # of the first process: "slow", or "full" for the weights


class Pair(nn.Module):
    """Two layers in one, whose weights it reads itself."""

    reads_weights_of_parts = True

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(256, 150), nn.Linear(256, 151)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 256) -> (B, 301)."""
        weight = torch.cat([self.left.weight, self.right.weight])
        return F.linear(x, weight, torch.cat([self.left.bias, self.right.bias]))


class Wide(nn.Module):
    """A network of which parts are brought together on their own: a layer, and two read as one.

    Also of a row that cannot be cut, a number that the step reads, and weights that are not
    trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, 256), nn.LayerNorm(256)
        self.wide, self.pair = nn.Linear(256, 256), Pair()
        self.row, self.fixed = nn.Linear(301, 1), nn.Linear(4, 2).requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 4) -> (B, 2)."""
        self.seen += 1
        y = torch.tanh(self.wide(torch.tanh(self.norm(self.first(x)))))
        found: Tensor = self.row(torch.tanh(self.pair(y))) + self.fixed(x)
        return found


def network(name: str = "narrow") -> nn.Module:
    torch.manual_seed(8)
    if name == "wide":
        return Wide()
    if name in ("contrast", "match"):
        net = build_network(CorrespondencePreset(channels=(8, 16), keys=4), seed=1)
        kind = Contrastive if name == "contrast" else Matcher
        return kind(cast("CorrespondenceNet", net))
    return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2))


def batches(number: int, device: torch.device) -> tuple[Tensor, int]:
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(40 + number))
    return x.to(device), number


def views(number: int, device: torch.device) -> TwoViews:
    """Two views of three scans each, of which there are seven."""
    draws = torch.Generator().manual_seed(60 + number)
    first, second = torch.randn(2, 3, 1, 16, 16, 16, generator=draws).to(device)
    owners = (torch.arange(3, device=device) + 3 * number) % 7
    return TwoViews(first, (first + second) / 2, owners, ("a", "b", "c"))


def matches(number: int, device: torch.device) -> MatchedImages:
    """A pair that lies in place; nothing is known of odd batches: those of the second process."""
    draws = torch.Generator().manual_seed(80 + number)
    first, other = torch.randn(2, 1, 1, 16, 16, 16, generator=draws).to(device)
    place = torch.cartesian_prod(*[torch.arange(8.0)] * 3)[None].to(device)
    inside = torch.full((1, 512), number % 2 == 0, device=device)
    within = torch.zeros(1, dtype=torch.bool, device=device)
    return MatchedImages(first, first + other / 4, Matches(place, inside), within, ("a",))


def step(model: nn.Module, batch: tuple[Tensor, int], context: StepContext) -> StepOutcome:
    x, number = batch
    target = torch.stack([x.sum(1), x.prod(1)], dim=1)
    loss = (model(x) * getattr(model, "scale", 1) - target).square().mean()
    return StepOutcome(loss, {"number": torch.tensor(float(number))}, (f"case_{number}",))


def look(averaged: nn.Module, now: Progress) -> None:
    """What a hook may do with the averaged model, which is whole in the first process."""
    assert all(type(p) is nn.Parameter for p in averaged.parameters())
    assert averaged(next(averaged.parameters()).new_zeros(1, 4)).isfinite().all(), now


JOBS: dict[str, tuple[Callable[[int, torch.device], Any], Step[Any], tuple[Hook, ...]]] = {
    "narrow": (batches, step, (look,)),
    "wide": (batches, step, (look,)),
    "contrast": (views, contrast_step, ()),
    "match": (matches, correspondence_step, ()),
}


def bad_step(model: nn.Module, batch: tuple[Tensor, int], context: StepContext) -> StepOutcome:
    """As `step`, but for a loss that is no number, in the second process of two at step 5."""
    found = step(model, batch, context)
    return found._replace(loss=found.loss * torch.nan) if batch[1] == 9 else found


JOBS["bad"] = (batches, bad_step, ())


def settings(**given: Any) -> FitConfig:
    return FitConfig.model_validate(CONFIG.model_dump() | given)


def trouble(kind: str, run: Path) -> Callable[..., str]:
    """Writing on a disk that takes its time, or that is full in the end."""
    usual = checkpoint.save

    def save(path: Path, tensors: Any, *, kind: str, facts: Any) -> str:
        time.sleep(2)
        return usual(path, tensors, kind=kind, facts=facts)

    def refuse(path: Path, tensors: Any, *, kind: str, facts: Any) -> str:
        if kind != "weights":
            return usual(path, tensors, kind=kind, facts=facts)
        raise OutputError(run, found="no space left", expected="some", fix="Make space.")

    return {"": usual, "slow": save, "full": refuse}[kind]


def main(run: Path, dies: int, name: str, device: str, config: FitConfig) -> None:
    """What each of the processes does; `dies` is the batch at which its process is killed."""

    make, taken, hooks = JOBS[name]

    def dangerous(number: int, device: torch.device) -> Any:
        if number == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(number, device)

    torch.set_num_threads(1)
    processes = started_processes()
    run = Path(str(run).replace(RANK, str(processes.rank)))
    where = torch.device(device)
    if processes.first:
        checkpoint.save = trouble(os.environ.get(DISK, ""), run)
    begin = partial(fit, network(name), dangerous, taken, config, run=run, facts=FACTS)
    try:
        begin(hooks=hooks, processes=processes, device=where)
    except Mass3dError as error:
        found = sorted(path.name for path in run.glob("*.safetensors"))
        sys.stderr.write(f"{processes.rank}: {error}\n{processes.rank} leaves {found}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    folder, batch, which, place, given = sys.argv[1:]
    main(Path(folder), int(batch), which, place, settings(**json.loads(given)))
