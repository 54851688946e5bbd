"""Answers about unlabelled scans, kept in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heads import prepared_head
from mass3d.transfer.adaptation.answers import Answers, box_of, label_of, true_answer
from mass3d.transfer.adaptation.learn import SHADES
from mass3d.transfer.oneshot.part import OneShotPart
from mass3d.volume.preparation import Prepared


class Reader:
    """Gives a scan, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Prepared:
        self.times += 1
        return prepared_head(1.0, 7)


def test_an_answer_is_what_the_task_finds(part: OneShotPart, tmp_path: Path) -> None:
    reader = Reader()
    answers = Answers(tmp_path, part)
    facts = answers.ask("a", "hash", reader)
    assert (facts.name, facts.modality, facts.believed) == ("a", "mr", True)
    assert 0.3 < facts.similarity <= 1
    kept = answers.load("a")
    box = box_of(facts)
    np.testing.assert_array_equal(kept.image, reader().image[box])
    label = label_of(kept, facts)
    assert label.shape == tuple(facts.shape)
    inside = label[box]
    for number in (1, 2):
        share = kept.votes[number - 1].astype(float) / SHADES
        assert share[inside == number].min() >= 1 / 3
        assert share[inside != number].max() <= 0.5 + 1 / SHADES
    label[box] = 0
    assert not label.any()


def test_an_answer_is_not_asked_for_twice(part: OneShotPart, tmp_path: Path) -> None:
    reader = Reader()
    first = Answers(tmp_path, part).ask("a", "hash", reader)
    assert Answers(tmp_path, part).ask("a", "hash", reader) == first
    assert reader.times == 1


def test_an_answer_to_a_scan_that_has_changed_is_asked_for_again(
    part: OneShotPart, tmp_path: Path
) -> None:
    reader = Reader()
    Answers(tmp_path, part).ask("a", "hash", reader)
    Answers(tmp_path, part).ask("a", "other", reader)
    assert reader.times == 2


@pytest.mark.parametrize("name", ["facts.json", "image.npy", "votes.npy"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"[" * 100_000])
def test_a_damaged_answer_is_asked_for_again(
    part: OneShotPart, tmp_path: Path, name: str, content: bytes | None
) -> None:
    reader = Reader()
    first = Answers(tmp_path, part).ask("a", "hash", reader)
    (path,) = tmp_path.rglob(name)
    before = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert Answers(tmp_path, part).ask("a", "hash", reader) == first
    assert reader.times == 2
    assert path.read_bytes() == before


def test_names_are_no_paths(part: OneShotPart, tmp_path: Path) -> None:
    Answers(tmp_path / "in", part).ask("../out", "hash", Reader())
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_label_map_is_an_answer_that_is_sure() -> None:
    label = np.zeros((3, 4, 5), np.uint8)
    label[1], label[2] = 1, 3
    answer = true_answer(np.zeros(label.shape, np.float32), label, 3)
    assert answer.votes.shape == (3, 3, 4, 5)
    assert [int(votes.sum()) for votes in answer.votes] == [20 * SHADES, 0, 20 * SHADES]
    assert (answer.votes[0][1] == SHADES).all()
