"""No verb harms what it was given, or a file that is not its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mass3d.apps import (
    demo,
    embed,
    evaluate,
    extract,
    inspect,
    locate,
    masks,
    prepare,
    pretrain,
    probe,
    segment,
    task,
)
from mass3d.errors import ConfigError, StoreError
from mass3d.training.run_files import WEIGHTS


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def given(
    cohort: Path,
    store: Path,
    trained: Path,
    task_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Everything that a verb can be given, in one folder."""
    top = tmp_path_factory.mktemp("given")
    shutil.copytree(cohort, top / "raw")
    shutil.copytree(store, top / "store")
    shutil.copytree(trained, top / "run")
    shutil.copy(task_file, top / "organs.task")
    (top / "notes").mkdir()
    (top / "notes" / "mine.txt").write_text("mine")
    (top / "link").symlink_to(top / "raw" / "imagesTs", target_is_directory=True)
    return top


VERBS: dict[str, Callable[[Path, Path], object]] = {
    "inspect": lambda at, out: inspect.run(
        inspect.InspectConfig(inputs=(at / "raw" / "imagesTs",), output=out)
    ),
    "prepare": lambda at, out: prepare.run(
        prepare.PrepareConfig(inputs=(at / "raw" / "imagesTs",), output=out, workers=1)
    ),
    "masks": lambda at, out: masks.run(
        masks.MasksConfig(store=at / "store", labels=at / "raw" / "labelsTr", output=out)
    ),
    "extract": lambda at, out: extract.run(extract.ExtractConfig(input=at / "store", output=out)),
    "pretrain": lambda at, out: pretrain.run(
        pretrain.PretrainConfig(store=(at / "store",), output=out)
    ),
    "segment": lambda at, out: segment.run(
        segment.SegmentConfig(
            inputs=tuple(sorted((at / "raw" / "imagesTs").iterdir())),
            task=at / "organs.task",
            model=at / "run",
            output=out,
        )
    ),
    "locate": lambda at, out: locate.run(
        locate.LocateConfig(
            inputs=(at / "raw" / "imagesTs",), task=at / "organs.task", model=at / "run", output=out
        )
    ),
    "embed": lambda at, out: embed.run(
        embed.EmbedConfig(inputs=(at / "raw" / "imagesTs",), model=at / "run", output=out)
    ),
    "probe": lambda at, out: probe.run(
        probe.ProbeConfig(
            inputs=(at / "raw" / "imagesTs",),
            labels=at / "raw" / "dataset.json",
            model=at / "run",
            output=out,
        )
    ),
    "evaluate": lambda at, out: evaluate.run(
        evaluate.EvaluateConfig(
            predictions=at / "raw" / "labelsTs", labels=at / "raw" / "labelsTr", output=out
        )
    ),
    "demo": lambda at, out: demo.run(demo.DemoConfig(data=at / "raw", output=out)),
}
PLACES = (
    *("raw", "raw/imagesTs", "raw/imagesTr", "raw/labelsTr", "raw/labelsTs", "store", "run"),
    *("store/cases", "notes", "notes/mine.txt", "link", "organs.task", "raw/dataset.json", "."),
)


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_of_results_is_never_one_that_holds_anything_else(given: Path, verb: str) -> None:
    before = contents(given)
    own = {"prepare": "store", "pretrain": "run"}
    for place in PLACES:
        if own.get(verb) == place:
            continue  # it goes on there, or refuses other settings
        with pytest.raises((ConfigError, StoreError)) as caught:
            VERBS[verb](given, given / place)
        assert caught.value.setting == "output", (place, caught.value)
        assert contents(given) == before, place


@pytest.mark.parametrize(
    "place", ["raw", "run", f"run/{WEIGHTS}", "store", "notes/mine.txt", "raw/dataset.json", "."]
)
def test_a_task_replaces_nothing_but_a_task(given: Path, place: str) -> None:
    before = contents(given)
    scan, label = (next((given / "raw" / part).iterdir()) for part in ("imagesTr", "labelsTr"))
    for output in (given / place, scan, label):
        config = task.TaskConfig(
            images=(scan,), labels=(label,), model=given / "run", output=output
        )
        with pytest.raises(ConfigError) as caught:
            task.run(config)
        assert caught.value.setting == "output"
    assert contents(given) == before


def test_a_prior_and_the_folders_of_masks_are_inputs_like_all_others(given: Path) -> None:
    before = contents(given)
    labels = given / "raw" / "labelsTs"
    config = segment.SegmentConfig(
        inputs=(given / "raw" / "imagesTs",),
        task=given / "organs.task",
        model=given / "run",
        prior=labels,
        output=labels,
    )
    with pytest.raises(ConfigError, match="output"):
        segment.run(config)
    with pytest.raises((ConfigError, StoreError)):
        prepare.run(
            prepare.PrepareConfig.model_validate(
                {
                    "inputs": [given / "raw" / "imagesTs"],
                    "output": labels,
                    "masks": {"engines": ["external"], "external": {"folders": [labels]}},
                }
            )
        )
    assert contents(given) == before
