"""The weights that a run delivers, chosen by a score on the way, and when it stops for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from mass3d.config import Config

Scored = tuple[int, float]  # updates done, and the score


@dataclass(frozen=True)
class Judge:
    """Who scores, and how often."""

    score: Callable[[nn.Module], float]  # of the averaged model in evaluation mode; more is better
    every: int  # updates between two scorings; the last update is always scored
    patience: int = 0  # scorings without a gain after which the run ends; 0: it goes to its end


class Chosen(Config):
    """What a weights file says of how its weights were chosen."""

    scored: tuple[Scored, ...]
    """Updates and score of each scoring; the best one's weights are delivered, the first of some
    that are equal."""

    @property
    def best(self) -> Scored:
        """Updates and score of what is delivered."""
        return max(self.scored, key=lambda one: one[1])


@dataclass
class Choice:
    """What was scored so far, and the weights that were best."""

    scored: list[Scored] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)  # of the averaged model, on the CPU

    @property
    def best(self) -> Scored:
        """Updates and score of the best so far, of one scoring at least."""
        return Chosen(scored=tuple(self.scored)).best

    def consider(self, judge: Judge | None, model: nn.Module, *, step: int, steps: int) -> None:
        """Score the averaged model where it is due after `step` of at most `steps` updates."""
        if judge is None or (step % judge.every and step < steps):
            return
        self.scored.append((step, judge.score(model)))
        if self.best[0] == step:
            state = model.state_dict()
            self.weights = {name: one.detach().cpu().clone() for name, one in state.items()}

    def put_into(self, model: nn.Module) -> None:
        """Give the averaged model the best weights, where any were scored."""
        if self.scored:
            model.load_state_dict(self.weights)

    def is_over(self, judge: Judge | None) -> bool:
        """Whether so many scorings brought no gain that the run ends."""
        if judge is None or not judge.patience or not self.scored:
            return False
        since = [step for step, _ in self.scored if step > self.best[0]]
        return len(since) >= judge.patience
