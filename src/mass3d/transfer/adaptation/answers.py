"""What a task says of unlabelled scans, kept in a folder until a cohort has been learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mass3d.files import file_hash, read_json, text_hash, whole_file, write_json
from mass3d.transfer.adaptation.learn import SHADES, Answered
from mass3d.transfer.oneshot.part import OneShotPart
from mass3d.transfer.tuning.voxels import Encoder
from mass3d.volume.box import Box, whole_box
from mass3d.volume.preparation import Prepared


@dataclass(frozen=True)
class Facts:
    """What is known of an answer beside its voxels."""

    name: str
    similarity: float  # to the reference that is most like it
    modality: str
    believed: bool  # an alignment to a reference that may vote
    box: list[list[int]]  # first and stop of each axis, in the prepared scan
    shape: list[int]  # of the prepared scan


@dataclass(frozen=True)
class Answers:
    """A folder of answers of one task; what is there is not done again."""

    folder: Path
    part: OneShotPart = field(repr=False)
    encoder: Encoder | None = None

    def ask(self, name: str, source: str, read: Callable[[], Prepared]) -> Facts:
        """Answer a scan with the hash `source`, unless that is done."""
        place = self._place(name)
        try:
            found = read_json(place / "facts.json")
            if found.pop("source") == source and found.pop("hashes") == _hashes(place):
                return Facts(**found)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass  # never written, or not to its end
        return self._asked(place, name, source, read())

    def _asked(self, place: Path, name: str, source: str, scan: Prepared) -> Facts:
        image = torch.from_numpy(scan.image)
        found = self.part.find(image, self.encoder, modality=scan.modality)
        box = found.box
        facts = Facts(
            name,
            round(max(found.similarity), 4),
            scan.modality,
            bool(found.voting.any()),
            [[axis.start, axis.stop] for axis in box],
            list(image.shape),
        )
        place.mkdir(parents=True, exist_ok=True)
        _save(place / "image.npy", image[box].numpy())
        votes = (found.probabilities * SHADES).round().byte().numpy()
        _save(place / "votes.npy", votes)
        write_json(
            place / "facts.json", {**vars(facts), "source": source, "hashes": _hashes(place)}
        )
        return facts

    def load(self, name: str) -> Answered:
        """An answer, whose voxels are read when they are looked at."""
        place = self._place(name)
        image, votes = (np.load(place / f"{one}.npy", mmap_mode="r") for one in ("image", "votes"))
        return Answered(image, votes)

    def _place(self, name: str) -> Path:
        return self.folder / text_hash(name)[:16]


def label_of(answered: Answered, facts: Facts) -> NDArray[np.uint8]:
    """Numbers of structures in the whole prepared scan (D, H, W) as answered."""
    out = np.zeros(facts.shape, np.uint8)
    votes = np.asarray(answered.votes).astype(np.int32)
    background = np.maximum(SHADES - votes.sum(0, keepdims=True), 0)
    out[box_of(facts)] = np.concatenate([background, votes]).argmax(0)
    return out


def box_of(facts: Facts) -> Box:
    """The box of an answer in the prepared scan."""
    d, h, w = (slice(*axis) for axis in facts.box)
    return d, h, w


def true_answer(image: NDArray[np.float32], label: NDArray[Any], structures: int) -> Answered:
    """A labelled scan (D, H, W) as if the task had been sure of every voxel."""
    assert image.shape == label.shape, whole_box(label.shape)
    masks = [label == number for number in range(1, structures + 1)]
    return Answered(image, np.stack(masks).astype(np.uint8) * np.uint8(SHADES))


def _save(path: Path, values: NDArray[Any]) -> None:
    with whole_file(path) as partial, partial.open("wb") as stream:
        np.save(stream, values)


def _hashes(place: Path) -> list[str]:
    return [file_hash(place / f"{name}.npy") for name in ("image", "votes")]
