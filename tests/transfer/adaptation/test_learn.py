"""A network learns answers, window by window."""

from __future__ import annotations

import numpy as np
import torch

from mass3d.transfer.adaptation.learn import SHADES, Answered, Lesson, learn, new_network
from mass3d.transfer.adaptation.network import CohortNetwork, seen_by
from mass3d.transfer.adaptation.settings import AdaptationConfig

SMALL = AdaptationConfig(channels=(4, 8), window_vox=16, learning_rate=1e-2)


def ball(seed: int, *, wrong: int = 0) -> Answered:
    """A bright ball in noise, and an answer about it that may be `wrong` voxels beside it."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(7, 12, 3)
    places = np.stack(np.meshgrid(*[np.arange(20)] * 3, indexing="ij"), -1)
    inside = ((places - centre) ** 2).sum(-1) < 5**2
    image = 2.0 * inside + 0.3 * rng.normal(size=inside.shape)
    votes = np.roll(inside, wrong, axis=seed % 3)[None].astype(np.uint8) * np.uint8(SHADES)
    return Answered(image.astype(np.float32), votes)


def dice(net: CohortNetwork, case: Answered) -> float:
    found = seen_by(net, torch.from_numpy(case.image), 16)[0].numpy() > 0.5
    truth = case.votes[0] > 0
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def same(one: CohortNetwork, other: CohortNetwork) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_what_single_answers_get_wrong_averages_out() -> None:
    answers = [ball(seed, wrong=2 if seed % 2 else -2) for seed in range(8)]
    net = learn(new_network(1, SMALL), Lesson(answers, 150), SMALL)
    unseen = ball(100)
    shifted = Answered(unseen.image, np.roll(unseen.votes, 2, axis=1))
    as_answered = 2 * (shifted.votes & unseen.votes > 0).sum() / (2 * (unseen.votes > 0).sum())
    assert dice(net, unseen) > as_answered + 0.05


def test_equal_lessons_give_equal_bits_and_leave_the_network_as_it_was() -> None:
    begin = new_network(1, SMALL)
    lesson = Lesson([ball(0), ball(1)], 3)
    one, other = learn(begin, lesson, SMALL), learn(begin, lesson, SMALL)
    assert same(one, other)
    assert same(begin, new_network(1, SMALL))
    assert not same(one, begin)


def test_other_seeds_give_other_networks() -> None:
    other = SMALL.model_copy(update={"seed": 1})
    assert not same(new_network(1, SMALL), new_network(1, other))


def test_every_step_is_told() -> None:
    told: list[int] = []
    learn(new_network(1, SMALL), Lesson([ball(0)], 3), SMALL, told.append)
    assert told == [1, 2, 3]


def test_references_are_shown_as_often_as_asked() -> None:
    scan, reference = ball(0), ball(1)
    rng = np.random.default_rng(0)
    lesson = Lesson([scan], 1, [reference], 0.25)
    drawn = [lesson.draw(rng) is reference for _ in range(2000)]
    assert 0.2 < np.mean(drawn) < 0.3
    assert all(Lesson([scan], 1).draw(rng) is scan for _ in range(20))


def test_scans_smaller_than_a_window_are_learned_from() -> None:
    tiny = Answered(np.ones((9, 12, 5), np.float32), np.zeros((1, 9, 12, 5), np.uint8))
    net = learn(new_network(1, SMALL), Lesson([tiny], 2), SMALL)
    assert all(bool(torch.isfinite(weight).all()) for weight in net.parameters())
