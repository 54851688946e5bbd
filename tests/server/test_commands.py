"""The commands behind the buttons."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from dicoms import series
from mass3d import cli
from mass3d.apps.segment import SegmentConfig
from mass3d.apps.task import TaskConfig
from mass3d.cli.verbs import VERBS, names_of
from mass3d.config import resolve
from mass3d.io.read import read_volume
from mass3d.server.commands import Further, typed
from mass3d.server.project import State, Structure
from servers import site_of, write_scan


def state_of(tmp_path: Path, *references: str, **structures: int) -> State:
    return State(
        model=Path("run"),
        inputs=(tmp_path / "scans", Path("-more")),
        references=references,
        structures=tuple(
            Structure(name=name, value=value, colour="#000000")
            for name, value in structures.items()
        ),
    )


def parsed(words: tuple[str, ...]) -> dict[str, list[str]]:
    """Option -> values, as the command line takes them apart."""
    spread = shlex.split(typed(words))[1:]
    found: dict[str, list[str]] = {"": []}
    name = ""
    for word in spread[1:]:
        if word.startswith("-"):
            name = word
            found.setdefault(name, [])
        else:
            found[name].append(word)
    known = {one for given in VERBS[spread[0]].given.values() for one in names_of(given)[0]}
    assert found.keys() - {"", "--set"} <= known
    return found


def test_the_command_of_a_task_names_all_that_it_is_made_of(tmp_path: Path) -> None:
    for name in ("a", "it's <b>"):
        write_scan(tmp_path / "scans" / f"{name}.nii.gz")
    site = site_of(tmp_path / "project", tmp_path / "scans")
    names = {"liver": 1, 'x "y" = 2': 5}
    state = state_of(tmp_path, "it's <b>", "a", **names)
    found = parsed(site.commands.task(state, Path("rounds/1")))
    scans = [str(tmp_path / "scans" / f"{name}.nii.gz") for name in ("it's <b>", "a")]
    assert found["-i"] == scans
    assert found["-l"] == [str(site.project.label(name)) for name in ("it's <b>", "a")]
    assert (found["-m"], found["-o"]) == (["run"], ["rounds/1/task.task"])
    flags = {"images": found["-i"], "labels": found["-l"], "model": "run", "output": "x"}
    config = resolve(TaskConfig, assignments=found["--set"], flags=flags)
    assert config.structures == names
    assert [site.commands.case_of(path) for path in found["-i"]] == ["it's <b>", "a"]
    assert site.commands.case_of("elsewhere.nii.gz") == "elsewhere.nii.gz"


def test_the_command_of_a_cohort_takes_the_scans_as_they_were_given(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a.nii.gz")
    site = site_of(tmp_path / "project", tmp_path / "scans")
    found = parsed(site.commands.segment(state_of(tmp_path, "a"), Path("rounds/1")))
    assert found[""] == [str(tmp_path / "scans"), "./-more"]
    assert (found["--task"], found["-o"]) == (["rounds/1/task.task"], ["rounds/1/found"])


def test_settings_of_the_page_are_handed_on(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a.nii.gz")
    further = Further(device="cpu", label_maps=True, tune=False)
    site = site_of(tmp_path / "project", tmp_path / "scans", further=further)
    state = state_of(tmp_path, "a", liver=1)
    task = parsed(site.commands.task(state, Path("r")))
    segment = parsed(site.commands.segment(state, Path("r")))
    assert (task["--tune"], task["--device"], segment["--device"]) == (["0"], ["cpu"], ["cpu"])
    given = {"inputs": ["x"], "task": "x", "output": "x"}
    assert resolve(SegmentConfig, assignments=segment["--set"], flags=given).label_maps
    assert cli.spread(["task", "-i", "a", "b"]) == ["task", "-i", "a", "-i", "b"]


def test_of_several_series_in_a_folder_one_becomes_a_file_of_its_own(tmp_path: Path) -> None:
    series(tmp_path / "scans" / "both", modality="MR", seed=1)
    more = series(tmp_path / "other", modality="MR", seed=2)
    for path in more:
        path.rename(tmp_path / "scans" / "both" / f"second-{path.name}")
    series(tmp_path / "scans" / "lone", seed=3)
    site = site_of(tmp_path / "project", tmp_path / "scans")
    lone, first, second = sorted(
        site.scans.cases, key=lambda name: site.scans.case(name).path.name, reverse=True
    )
    assert site.commands.image(lone) == tmp_path / "scans" / "lone"
    site.commands.provide(lone)
    assert not (site.project.folder / "scans").exists()
    site.set_structures([{"name": "liver"}])
    scan = read_volume(site.scans.case(first).scan)
    site.project.label(first).parent.mkdir()
    scan.with_voxels((scan.voxels > 1000).astype(np.uint8)).save(site.project.label(first))
    site.use_reference(first, use=True)
    copy = site.commands.image(first)
    assert copy == site.project.folder / "scans" / "mr" / f"{first}.nii.gz"
    np.testing.assert_array_equal(read_volume(copy).voxels, scan.voxels)
    assert site.commands.case_of(str(copy)) == first
    assert not site.commands.image(second).exists()
    before = copy.stat().st_mtime_ns
    site.use_reference(first, use=True)
    assert copy.stat().st_mtime_ns == before
