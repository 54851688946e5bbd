"""A task adapted to a cohort, and what decides."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from heads import SHAPE, head, prepared_head
from mass3d.errors import DataError, Interrupted
from mass3d.transfer.adaptation.adapt import Outcome, ScanToRead, adapt
from mass3d.transfer.adaptation.learned import pack_cohort
from mass3d.transfer.adaptation.settings import AdaptationConfig
from mass3d.transfer.oneshot.part import OneShotPart
from mass3d.volume.preparation import PreparationConfig, Prepared, prepare_volume
from mass3d.volume.volume import Volume

FEW = AdaptationConfig(channels=(4, 8), window_vox=16, steps=3, further_steps=2, judges=1)
REFERENCE = "shown"


class Scans:
    """A reference and bent heads, which are counted when they are read."""

    def __init__(self, count: int = 4) -> None:
        self.read: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.makers: dict[str, Callable[[], Prepared]] = {REFERENCE: prepared_head}
        for number in range(count):
            self.makers[f"scan{number}"] = self._bent(number)

    @staticmethod
    def _bent(number: int) -> Callable[[], Prepared]:
        return lambda: prepared_head(0.5 + 0.3 * number, 10 + number)

    def _read(self, name: str) -> Prepared:
        self.read.append(name)
        if name in self.fail:
            raise self.fail[name]
        return self.makers[name]()

    def __call__(self) -> dict[str, ScanToRead]:
        return {
            name: ScanToRead(partial(str, name), partial(self._read, name)) for name in self.makers
        }


def adapted(
    part: OneShotPart, scans: Scans, folder: Path, config: AdaptationConfig = FEW
) -> Outcome:
    return adapt(part, [REFERENCE], scans(), folder, config)


def tensors(outcome: Outcome) -> dict[str, torch.Tensor]:
    assert outcome.part.cohort is not None
    return pack_cohort(outcome.part.cohort)[0]


def other_head() -> Prepared:
    volume = Volume.from_array(head(9).numpy(), spacing_mm=(1.0, 1.0, 1.0))
    return prepare_volume(volume, PreparationConfig(spacing_mm=1.0, modality="mr"))


def noise() -> Prepared:
    draw = torch.Generator().manual_seed(0)
    volume = Volume.from_array(torch.randn(SHAPE, generator=draw).numpy(), spacing_mm=(1, 1, 1))
    return prepare_volume(volume, PreparationConfig(spacing_mm=1.0, modality="mr"))


def test_what_three_steps_taught_is_not_used(part: OneShotPart, tmp_path: Path) -> None:
    outcome = adapted(part, Scans(), tmp_path)
    cohort = outcome.part.cohort
    assert cohort is not None
    assert not outcome.faults
    assert {one.name for one in cohort.facts.trusted} == {f"scan{n}" for n in range(4)}
    for aligned, learned in zip(cohort.facts.aligned, cohort.facts.learned, strict=True):
        assert aligned
        assert learned is not None
        assert aligned > 0.7 > learned
    assert cohort.used.tolist() == [False, False]
    image = torch.from_numpy(prepared_head(0.8, 30).image)
    before, after = (one.find(image, modality="mr") for one in (part, outcome.part))
    assert torch.equal(before.probabilities, after.probabilities)


@pytest.mark.slow
def test_what_redraws_the_reference_better_is_used(part: OneShotPart, tmp_path: Path) -> None:
    changes = {"steps": 150, "further_steps": 30, "window_vox": 24, "learning_rate": 0.01}
    config = FEW.model_copy(update=changes)
    outcome = adapted(part, Scans(6), tmp_path, config)
    cohort = outcome.part.cohort
    assert cohort is not None
    verdicts = zip(cohort.facts.aligned, cohort.facts.learned, strict=True)
    assert cohort.used.tolist() == [(b or 0) > (a or 0) for a, b in verdicts]
    assert min(dice or 0 for dice in cohort.facts.learned) > 0.5, cohort.facts
    image = torch.from_numpy(prepared_head(0.8, 30).image)
    before, after = (one.find(image, modality="mr") for one in (part, outcome.part))
    for number, used in enumerate(cohort.used.tolist()):
        same = torch.equal(before.probabilities[number], after.probabilities[number])
        assert same != used
    foreign = outcome.part.find(image, modality="ct")
    assert foreign.adapted is None


def test_a_stopped_run_goes_on_to_the_same_bytes(part: OneShotPart, tmp_path: Path) -> None:
    whole = adapted(part, Scans(), tmp_path / "whole")
    scans = Scans()
    scans.fail["scan2"] = Interrupted("adapt", found="SIGTERM", expected="-", fix="-", number=15)
    with pytest.raises(Interrupted):
        adapted(part, scans, tmp_path / "stopped")
    assert scans.read == [REFERENCE, "scan0", "scan1", "scan2"]
    scans.fail.clear()
    scans.read.clear()
    stopped = adapted(part, scans, tmp_path / "stopped")
    assert scans.read[:3] == [REFERENCE, "scan2", "scan3"]
    ours, theirs = tensors(whole), tensors(stopped)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert whole.part.cohort is not None
    assert stopped.part.cohort is not None
    assert whole.part.cohort.facts == stopped.part.cohort.facts


def test_a_scan_that_cannot_be_read_is_a_fault(part: OneShotPart, tmp_path: Path) -> None:
    scans = Scans()
    scans.fail["scan1"] = DataError("scan1", found="rubbish", expected="a scan", fix="Mend it.")
    outcome = adapted(part, scans, tmp_path)
    assert [fault.where for fault in outcome.faults] == ["scan1"]
    assert outcome.part.cohort is not None
    assert len(outcome.part.cohort.facts.trusted) == 3


def test_scans_that_are_not_like_the_reference_are_left_out(
    part: OneShotPart, tmp_path: Path
) -> None:
    scans = Scans()
    scans.makers["stranger"] = noise
    volume = Volume.from_array(head().numpy(), spacing_mm=(1.0, 1.0, 1.0))
    scans.makers["foreign"] = lambda: prepare_volume(
        volume, PreparationConfig(spacing_mm=1.0, modality="ct")
    )
    outcome = adapted(part, scans, tmp_path)
    assert outcome.part.cohort is not None
    why = {one.name: one.reason for one in outcome.part.cohort.facts.left_out}
    assert "no alignment is accepted" in why["stranger"]
    assert why["foreign"] == "ct, where the references are mr"
    assert why.keys() == {"stranger", "foreign"}


def test_the_fifth_that_is_least_alike_is_left_out(part: OneShotPart, tmp_path: Path) -> None:
    outcome = adapted(part, Scans(5), tmp_path)
    assert outcome.part.cohort is not None
    (one,) = outcome.part.cohort.facts.left_out
    assert one.reason.startswith("among the least like the references: 0.")
    alike = [one.similarity for one in outcome.part.cohort.facts.trusted]
    assert float(one.reason.split()[-1]) <= min(alike) + 0.005


def test_so_many_scans_are_asked_for_and_no_more(part: OneShotPart, tmp_path: Path) -> None:
    scans = Scans(5)
    outcome = adapted(part, scans, tmp_path, FEW.model_copy(update={"max_scans": 3}))
    assert outcome.part.cohort is not None
    assert len(outcome.part.cohort.facts.trusted) == 3


def test_too_few_scans_are_refused(part: OneShotPart, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 unlabelled scans that can be learned from"):
        adapted(part, Scans(2), tmp_path)


@pytest.mark.parametrize("maker", [None, other_head, lambda: prepared_head(3.0)])
def test_a_reference_must_be_among_the_scans(
    part: OneShotPart, tmp_path: Path, maker: Callable[[], Prepared] | None
) -> None:
    scans = Scans(3)
    if maker is None:
        del scans.makers[REFERENCE]
    else:
        scans.makers[REFERENCE] = maker
    with pytest.raises(DataError, match="shown: found no scan of this reference"):
        adapted(part, scans, tmp_path)
