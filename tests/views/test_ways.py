from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mass3d.errors import DataError
from mass3d.execution.processes import Processes
from mass3d.store.reader import StoredCase
from mass3d.views import ways
from mass3d.views.mates import draw_mates
from mass3d.views.ways import Way, align_cases, find_ways, tell_if_rare


def test_a_scan_is_aligned_to_itself(cases: list[StoredCase]) -> None:
    way = align_cases((cases[0], cases[0]))
    middle = (np.array(cases[0].shape) - 1) / 2
    points = middle + np.random.default_rng(0).uniform(-4, 4, (50, 3))
    assert np.abs(way(points) - points).max() < 0.5
    assert way.similarity > 0.9


def test_a_way_is_an_affine_map_and_a_smooth_shift() -> None:
    affine = np.array([[1, 0, 0, 2], [0, 2, 0, 0], [0, 0, 1, 0]], np.float32)
    shift = np.zeros((3, 2, 2, 2), np.float16)
    shift[0, 1] = 4  # one cell further along D
    way = Way(affine, shift, np.array([10, 10, 10], np.int32), 1.0)
    first = np.array([11.5, 11.5, 11.5])  # the centre of the first cell
    along = np.array([1.0, 0, 0])
    found = way(np.stack([first, first + 2 * along, first + 40 * along]))
    np.testing.assert_allclose(found[0], [13.5, 23, 11.5])
    np.testing.assert_allclose(found[1], [17.5, 23, 11.5])
    np.testing.assert_allclose(found[2], [57.5, 23, 11.5])


def test_alignments_are_kept_and_the_worst_are_left_out(
    cases: list[StoredCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = draw_mates([""] * len(cases), 12, seed=0)
    pairs = [pair for pair in every if cases[pair[1]].modality == "mr"][:5]
    cache = tmp_path / "alignments.npz"
    found = find_ways(cases, pairs, cache=cache, workers=1)
    assert set(found) < set(pairs)
    assert len(found) == 4

    def refused(scans: object) -> Way:
        raise AssertionError(scans)

    monkeypatch.setattr(ways, "align_cases", refused)
    again = find_ways(cases, pairs, cache=cache, workers=1)
    assert again.keys() == found.keys()
    points = np.random.default_rng(0).uniform(0, 20, (9, 3))
    for pair, way in found.items():
        np.testing.assert_array_equal(again[pair](points), way(points))


def test_a_broken_file_of_alignments_is_made_anew(cases: list[StoredCase], tmp_path: Path) -> None:
    pairs = draw_mates([""] * len(cases), 1, seed=0)
    cache = tmp_path / "alignments.npz"
    whole = find_ways(cases, pairs, cache=cache, workers=1)
    content = cache.read_bytes()
    cache.write_bytes(content[: len(content) // 2])
    assert find_ways(cases, pairs, cache=cache, workers=1).keys() == whole.keys()
    assert cache.read_bytes() == content


def quick(shape: tuple[int, int] = (1, 2)) -> Way:
    """A way that took no time, for tests of what becomes of it."""
    affine = np.eye(3, 4, dtype=np.float32)
    return Way(affine, np.zeros((3, *shape, 2), np.float16), np.zeros(3, np.int32), 0.5)


def test_the_worst_of_each_group_are_left_out_whatever_another_group_is_like(
    cases: list[StoredCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = draw_mates([""] * len(cases), 12, seed=0)
    drawn = iter(np.random.default_rng(0).permutation(12) / 100)

    def align(scans: tuple[StoredCase, StoredCase]) -> Way:
        good = 0.8 if scans[1].modality == "mr" else 0.1
        return replace(quick(), similarity=good + float(next(drawn)))

    monkeypatch.setattr(ways, "align_cases", align)
    found = find_ways(cases, pairs, cache=tmp_path / "alignments.npz", workers=1)
    kept = Counter(cases[query].modality for _, query in found)
    assert kept == {"mr": 5, "ct": 5}


def test_many_scans_of_which_few_are_aligned_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    equal = np.full(5000, 1 / 5000)
    few = {(query + 1, query): quick() for query in range(160)}
    tell_if_rare(few, equal, 0.6)
    told = " ".join(capsys.readouterr().err.split())
    assert "2% of the samples show two scans beside each other instead of 60%" in told
    assert "160 scans of 5000 are aligned to another one. views.alignments=5000 aligns" in told
    tell_if_rare({(0, 1): quick(), (1, 0): quick()}, np.array([0.4, 0.4, 0.2]), 0.6)
    tell_if_rare({}, equal, 0.6)
    assert capsys.readouterr().err == ""


def test_a_pair_that_fails_for_another_reason_is_told_and_tried_again(
    cases: list[StoredCase],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs = draw_mates([""] * len(cases), 6, seed=0)
    cache, tried, healthy = tmp_path / "alignments.npz", list[str](), False

    def align(scans: tuple[StoredCase, StoredCase]) -> Way:
        tried.append(" ".join(scan.case_id for scan in scans))
        if len(tried) == 2:
            raise DataError("scan", found="x", expected="y", fix="z")
        if len(tried) in (3, 4) and not healthy:
            raise MemoryError if len(tried) == 3 else ZeroDivisionError("of ours")
        return quick()

    monkeypatch.setattr(ways, "align_cases", align)
    assert len(find_ways(cases, pairs, cache=cache, workers=1)) == 3
    told = " ".join(capsys.readouterr().err.split())
    names = " and ".join(cases[i].case_id for i in pairs[2])
    assert (
        "2 pairs of scans could not be aligned, for another reason than the scans; the same" in told
    )
    assert f"The first, {names}: not enough memory" in told
    assert "Of 6 pairs of scans 3 are used" in told

    failed, healthy = tried[2:4], True
    tried.clear()
    tried.extend(["", "", "", ""])
    # batches were learned from: another pair now would make others of the same numbers
    assert len(find_ways(cases, pairs, cache=cache, workers=1, begun=True)) == 3
    assert len(tried) == 4
    capsys.readouterr()
    assert len(find_ways(cases, pairs, cache=cache, workers=1)) == 5
    assert tried[4:] == failed  # neither what was found nor what was refused
    assert "could not" not in capsys.readouterr().err
    written = cache.stat().st_mtime_ns
    assert len(find_ways(cases, pairs, cache=cache, workers=1)) == 5
    assert (len(tried), cache.stat().st_mtime_ns) == (6, written)


def test_only_the_first_process_tries_again(
    cases: list[StoredCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, cache = draw_mates([""] * len(cases), 2, seed=0), tmp_path / "alignments.npz"

    def failing(scans: object) -> Way:
        raise MemoryError

    monkeypatch.setattr(ways, "align_cases", failing)
    assert find_ways(cases, pairs, cache=cache, workers=1) == {}
    monkeypatch.setattr(ways, "align_cases", lambda _: quick())
    with monkeypatch.context() as patch:
        patch.setattr(ways, "started_processes", lambda: Processes(1, 2))
        assert find_ways(cases, pairs, cache=cache, workers=1) == {}
    assert find_ways(cases, pairs, cache=cache, workers=1).keys() == set(pairs)


def test_killed_while_aligning_only_what_is_missing_is_aligned(
    cases: list[StoredCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = draw_mates([""] * len(cases), 8, seed=0)
    tried, killed_at, saved = list[tuple[str, ...]](), 5, list[bytes]()
    whole, cache = tmp_path / "whole.npz", tmp_path / "alignments.npz"
    names = [tuple(cases[i].case_id for i in pair) for pair in pairs]

    def align(scans: tuple[StoredCase, StoredCase]) -> Way:
        tried.append(tuple(scan.case_id for scan in scans))
        if len(tried) == killed_at:
            saved.append(cache.read_bytes())  # all that a kill leaves
            raise KeyboardInterrupt
        if tried[-1] == names[0]:
            raise DataError("scan", found="x", expected="y", fix="z")
        return quick((1, 2 + names.index(tried[-1])))

    monkeypatch.setattr(ways, "align_cases", align)
    monkeypatch.setattr(ways, "SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        find_ways(cases, pairs, cache=cache, workers=1)
    asked_to_end = cache.read_bytes()
    killed_at = 0
    find_ways(cases, pairs, cache=whole, workers=1)
    for left in (saved[0], asked_to_end):
        cache.write_bytes(left)
        with np.load(cache) as held:
            done = sum("affine" in name for name in held.files) + len(held["refused"])
        assert done >= 1
        tried.clear()
        find_ways(cases, pairs, cache=cache, workers=1)
        assert tried == names[done:]
        assert cache.read_bytes() == whole.read_bytes()
    assert done == 4  # a signal that asks for the end costs no pair that was finished


def test_a_file_of_an_older_version_is_gone_on_with(
    cases: list[StoredCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, cache = draw_mates([""] * len(cases), 3, seed=0), tmp_path / "alignments.npz"
    monkeypatch.setattr(ways, "align_cases", lambda _: quick())
    find_ways(cases, pairs, cache=cache, workers=1)
    content = cache.read_bytes()
    with np.load(cache) as held:
        name = f"{pairs[1][0]} {pairs[1][1]} "
        older = {key: held[key] for key in held.files if not key.startswith(name)}
    np.savez(cache, **older)  # it said nothing of a pair that had failed
    assert find_ways(cases, pairs, cache=cache, workers=1).keys() == set(pairs)
    assert cache.read_bytes() == content
