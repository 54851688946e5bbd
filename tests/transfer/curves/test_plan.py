"""Which scans and starts a curve is made of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from mass3d.errors import ConfigError, DataError, ModelError
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.curves.plan import (
    Numbers,
    Plan,
    PlanConfig,
    Starts,
    find_starts,
    make_plan,
    odd_plan,
    odd_starts,
)


def plan(dataset: Path, run: Path, *labels: int | str, held_out: int | None = None) -> Plan:
    config = PlanConfig(
        dataset=dataset, model=run, output=run, labels=labels, draws=2, held_out=held_out
    )
    return make_plan(config, seed=5)


def test_numbers_and_starts_are_typed_with_commas() -> None:
    numbers = TypeAdapter(Numbers)
    assert numbers.validate_python("1,20%,all") == (1, "20%", "all")
    assert numbers.validate_python(["1,5", 7]) == (1, 5, 7)
    assert TypeAdapter(Starts).validate_python("scratch,runs/other") == ("scratch", "runs/other")
    with pytest.raises(ValueError, match="a number of scans"):
        numbers.validate_python("1,many")


def test_draws_are_nested_and_the_same_for_every_start(cohort: Path, trained: Path) -> None:
    made = plan(cohort, trained, "all", 1, "50%", 2)
    assert made.labels == (1, 2, 4)  # half of four is two
    assert [case.case_id for case in made.tests] == ["ct_test_000", "mr_test_001"]
    points = list(made.points())
    assert len(points) == 2 * 3 * 2
    chosen: dict[tuple[int, int], set[str]] = {}
    for point in points:
        parts = made.scans(point)
        ids = {case.case_id for case in parts.training}
        assert len(ids) == point.labels
        assert parts.validation == made.tests
        assert chosen.setdefault((point.draw, point.labels), ids) == ids
    for draw in (0, 1):
        assert chosen[draw, 1] < chosen[draw, 2] < chosen[draw, 4]
    assert len({point.folder for point in points}) == len(points)


def test_scans_are_held_out_where_there_is_no_test_part(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    for made in (plan(cohort, trained, "all", held_out=2), plan(cohort, trained, 1, held_out=1)):
        ids = [{case.case_id for case in part} for part in (made.training, made.tests)]
        assert not ids[0] & ids[1]
        assert not any("test" in case_id for case_id in ids[0] | ids[1])
        assert len(ids[0]) + len(ids[1]) == 4
    whole = tmp_path / "whole"
    shutil.copytree(cohort, whole, ignore=shutil.ignore_patterns("*Ts"))
    assert len(plan(whole, trained, "all").tests) == 1  # a fifth, and one at least
    with pytest.raises(ConfigError, match="at most 3"):
        plan(whole, trained, 4)
    with pytest.raises(DataError):
        plan(tmp_path / "nowhere", trained, 1)


def test_numbers_of_the_default_that_are_too_large_are_left_out_and_told(
    cohort: Path, trained: Path
) -> None:
    usual = PlanConfig(dataset=cohort, model=trained, output=trained)
    again = usual.model_validate(usual.plain())  # as config.toml gives it back
    for config in (usual, again):
        made = make_plan(config, seed=5)
        assert made.labels == (1, 2, 4)  # 20% and 40% of four are one and two
        assert made.left_out == (5, 10)
        (told,) = odd_plan(made)
        assert told == "5 and 10 labels are left out, as there are 4 labelled scans to learn from"
    with pytest.raises(ConfigError, match=r"5 labels.*at most 4"):
        plan(cohort, trained, 1, 2, 5)
    assert list(odd_plan(plan(cohort, trained, 1, "all"))) == []


def test_starts_are_called_as_their_folders(
    trained: Path, objective_runs: dict[str, Path], tmp_path: Path
) -> None:
    for place in ("a/run", "b/run"):
        shutil.copytree(trained, tmp_path / place)
    others = [str(tmp_path / "a" / "run"), "scratch", str(objective_runs["autoencoder"])]
    found = find_starts(tmp_path / "b" / "run", others)
    assert [start.name for start in found] == ["b-run", "a-run", "autoencoder", "scratch"]
    assert found[-1].run == found[0].run
    assert list(odd_starts(found)) == []
    shutil.copytree(trained, tmp_path / "b" / "scratch")
    found = find_starts(trained, [str(tmp_path / "b" / "scratch"), "scratch"])
    assert [start.name for start in found] == ["run", "b-scratch", "scratch"]
    with pytest.raises(ConfigError, match="two starts called"):
        find_starts(trained, [str(trained)])
    with pytest.raises(ModelError, match="no file"):
        find_starts(trained, ["sctarch"])


def test_no_start_is_called_as_a_way_out_of_the_folder_of_the_curve(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("a/run", "b/run"):
        shutil.copytree(trained, tmp_path / place)
    (tmp_path / "a/run/inside").mkdir()
    monkeypatch.chdir(tmp_path / "a/run/inside")
    assert [start.name for start in find_starts(Path(".."), [])] == ["run"]
    both = find_starts(Path("../../run"), ["../../../b/run"])
    assert [start.name for start in both] == ["a-run", "b-run"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"crop_vox": [48, 48, 48]}, "other has another network or crop"),
        ({"preparation": 9.0}, "other has another preparation"),
    ],
)
def test_what_differs_beside_the_start_is_told(
    changes: dict[str, Any], told: str, trained: Path, tmp_path: Path
) -> None:
    tensors, facts, _ = checkpoint.load(trained / WEIGHTS, kind="weights")
    if "preparation" in changes:
        changes = {"preparation": {**facts["preparation"], "spacing_mm": changes["preparation"]}}
    checkpoint.save(tmp_path / "other" / WEIGHTS, tensors, kind="weights", facts=facts | changes)
    (sentence,) = odd_starts(find_starts(trained, [str(tmp_path / "other")]))
    assert sentence.startswith(told)
