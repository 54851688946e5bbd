"""Tasks that become one, and what files of ours say about themselves."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import mass3d
from helpers import pretrain_config, task_config
from mass3d.apps import locate, merge, pretrain, segment, show, task
from mass3d.errors import ConfigError, ModelError
from mass3d.files import file_hash
from mass3d.io.read import read_label, read_volume
from mass3d.io.write import write_label
from mass3d.training import checkpoint
from mass3d.transfer.adaptation.learned import Cohort, CohortFacts, Trusted
from mass3d.transfer.adaptation.network import CohortNetwork
from mass3d.transfer.merging import merge_tasks
from mass3d.transfer.oneshot.carrying import correct
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.task_file import KIND, Task, load_task, save_task
from mass3d.volume.box import whole_box

NAMES = ("ct_000", "mr_001")
SOFT, HARD = {"one": 1, "two": 2}, {"three": 1, "four": 4}


def made(
    cohort: Path, run: Path, output: Path, *names: str, tune: bool = True, **changes: object
) -> Path:
    """A task of some cases of the cohort."""
    return task.run(task_config(cohort, run, output, *names, tune=tune, **changes)).path


def merged(output: Path, *tasks: Path) -> merge.MergeReport:
    return merge.run(merge.MergeConfig(tasks=tasks, output=output))


@pytest.fixture(scope="module")
def tasks(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A tuned task of each of two references, both of all structures."""
    folder = tmp_path_factory.mktemp("tasks")
    return [made(cohort, trained, folder / f"{name}.task", name) for name in NAMES]


def labels_with(cohort: Path, folder: Path, name: str, values: dict[int, int]) -> Path:
    """A label map with some of the values only, renumbered."""
    label = read_label(cohort / "labelsTr" / f"{name}.nii.gz")
    kept = np.zeros_like(label.voxels)
    for old, new in values.items():
        kept[label.voxels == old] = new
    write_label(folder / f"{name}.nii.gz", kept, label.source)
    return folder / f"{name}.nii.gz"


def test_equal_structures_give_the_task_of_all_references(
    cohort: Path, trained: Path, tasks: list[Path], tmp_path: Path
) -> None:
    report = merged(tmp_path / "both.task", *tasks)
    assert (report.references, report.renumbered) == (NAMES, {})
    direct = made(cohort, trained, tmp_path / "direct.task", *NAMES)
    ours, facts, _ = checkpoint.load(report.path, kind=KIND)
    theirs, wanted, _ = checkpoint.load(direct, kind=KIND)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():  # whose heads are used is what references say of each other
        assert name.endswith("used") or torch.equal(tensor, theirs[name]), name
    for key in ("structures", "references", "model", "ranges"):
        assert facts[key] == wanted[key], key
    alone = [load_task(path) for path in tasks]
    assert load_task(report.path).merged == tuple(one.fingerprint for one in alone)


def test_a_merged_task_tells_the_files_of_each_reference(
    cohort: Path, trained: Path, tasks: list[Path], tmp_path: Path
) -> None:
    report = merged(tmp_path / "both.task", *tasks)
    paths = [
        (cohort / "imagesTr" / f"{name}_0000.nii.gz", cohort / "labelsTr" / f"{name}.nii.gz")
        for name in NAMES
    ]
    assert shown(report.path)["files"] == [
        {"reference": name, "part": part, "file": path.name, "sha256": file_hash(path)}
        for name, pair in zip(NAMES, paths, strict=True)
        for part, path in zip(("scan", "label"), pair, strict=True)
    ]
    text = show.run(show.ShowConfig(paths=(report.path,))).summary()
    assert all(file_hash(path) in text and path.name in text for pair in paths for path in pair)
    facts = json.dumps(checkpoint.read_facts(report.path, kind=KIND))
    assert str(cohort) not in facts  # a file that is passed on tells no folder of the cohort
    assert cohort.name not in facts
    scans, labels = zip(*paths, strict=True)
    model = Segmenter.load(trained, device="cpu")
    direct = model.task(scans, labels, SOFT, tuning=None)  # in Python, by paths
    kept = [one.made_of for one in direct.references]
    assert kept == [one.made_of for one in load_task(report.path).references]
    volumes = model.task(
        [read_volume(scans[0])], [read_label(labels[0])], {"liver": 1}, tuning=None
    )
    assert volumes.references[0].made_of is None  # their voxels may be others than those on disk


def test_a_merged_task_says_the_mean_of_what_its_references_said(tasks: list[Path]) -> None:
    loaded = {path: load_task(path) for path in tasks}
    found = merge_tasks(loaded).task.oneshot
    assert found is not None
    parts = [one.oneshot for one in loaded.values()]
    said: Any = [part.evidence.itself for part in parts if part is not None]
    means: Any = found.evidence.itself
    np.testing.assert_allclose(means, np.mean(said, axis=0))
    assert (found.evidence.others, found.evidence.affine) == ((), ())


def test_structures_of_two_tasks_are_found_as_by_one_task_of_both(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    """The oracle: one task of both references, each labelled with its own structures only."""
    folder = tmp_path / "labels"
    folder.mkdir()
    soft = labels_with(cohort, folder, NAMES[0], {1: 1, 2: 2})
    hard = labels_with(cohort, folder, NAMES[1], {3: 1, 4: 4})
    of_soft = made(
        cohort, trained, tmp_path / "a.task", NAMES[0], tune=False, labels=[soft], structures=SOFT
    )
    of_hard = made(
        cohort, trained, tmp_path / "b.task", NAMES[1], tune=False, labels=[hard], structures=HARD
    )
    report = merged(tmp_path / "c.task", of_soft, of_hard)
    assert report.structures == {"one": 1, "two": 2, "four": 4, "three": 3}
    assert report.renumbered == {str(of_hard): {"three": (1, 3)}}
    assert f"three of {of_hard} was 1 and is 3." in report.summary()
    kept = labels_with(cohort, folder, NAMES[1], {3: 3, 4: 4})
    both = made(
        *(cohort, trained, tmp_path / "d.task", *NAMES),
        tune=False,
        labels=[soft, kept],
        structures=report.structures,
    )
    segmenter = Segmenter.load(trained, device="cpu")
    scan = read_volume(next((cohort / "imagesTs").glob("*.nii.gz")))
    for alignment in (True, False):
        ours, theirs = (
            segmenter.answer(scan, load_task(path), alignment=alignment)
            for path in (report.path, both)
        )
        assert ours.labels.any()
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        assert ours.method == theirs.method


def test_a_head_among_more_structures_says_what_it_said(tasks: list[Path], tmp_path: Path) -> None:
    one, other = (load_task(path) for path in tasks)
    renamed = {f"other {name}": value for name, value in other.structures.items()}
    found = merge_tasks({tasks[0]: one, tasks[1]: replace(other, structures=renamed)}).task
    save_task(found, tmp_path / "x.task", run=tmp_path)
    found = load_task(tmp_path / "x.task")
    assert other.oneshot is not None
    assert found.oneshot is not None
    before, after = other.oneshot.scans[0], found.oneshot.scans[1]
    assert after.head is not None
    assert after.head.places == tuple(range(4, 8))
    image = torch.randn(20, 20, 20, generator=torch.Generator().manual_seed(0))
    prior = torch.rand(4, 20, 20, 20, generator=torch.Generator().manual_seed(1)) / 4
    wide = torch.cat([torch.zeros_like(prior), prior])
    box = whole_box(image.shape)
    shown = correct(before, image, prior, box, modality=before.modality)
    answer = correct(after, image, wide, box, modality=before.modality)
    torch.testing.assert_close(answer[4:], shown, rtol=0, atol=0)
    assert not answer[:4].any()


def test_what_references_tuned_together_is_of_their_task_alone(tasks: list[Path]) -> None:
    first, second = map(load_task, tasks[:2])
    assert first.oneshot is not None
    together = first.oneshot.scans[0].head
    assert together is not None
    first = replace(first, oneshot=replace(first.oneshot, together=together))
    found = merge_tasks({tasks[0]: first, tasks[1]: second}).task.oneshot
    assert found is not None
    assert len(found.scans) == 2
    assert found.together is None


def test_values_give_way_to_the_first_and_to_none_that_another_has(tasks: list[Path]) -> None:
    one, other = (load_task(path) for path in tasks)
    first = replace(one, structures={"a": 1, "b": 2, "c": 5, "d": 7})
    second = replace(other, structures={"b": 1, "e": 3, "f": 2, "g": 7})
    found = merge_tasks({tasks[0]: first, tasks[1]: second})
    expected = {"a": 1, "b": 2, "c": 5, "d": 7, "e": 3, "f": 4, "g": 6}
    assert dict(found.task.structures) == expected
    assert found.renumbered == {str(tasks[1]): {"b": (1, 2), "f": (2, 4), "g": (7, 6)}}


def test_tasks_of_other_models_are_refused_with_what_differs(
    cohort: Path, store: Path, tasks: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    pretrain.run(pretrain_config(store, run, seed=7))
    other = made(cohort, run, tmp_path / "other.task", NAMES[0], tune=False)
    with pytest.raises(ModelError, match=r"a task made by the model .*; expected one made by that"):
        merged(tmp_path / "x.task", tasks[0], other)
    near = tmp_path / "near.task"
    near.write_bytes(tasks[0].read_bytes())
    first = load_task(tasks[0])
    (tmp_path / "first").symlink_to(tasks[0].parent / first.run)
    save_task(first, near, run=tmp_path / "first")
    told = r"a task made by the model \w+… \(the same network and preparation, .*seed 7, not 0"
    with pytest.raises(ModelError, match=told):
        merged(tmp_path / "x.task", near, other)
    (tmp_path / "first").unlink()  # the task files still tell
    with pytest.raises(ModelError, match=told):
        merged(tmp_path / "x.task", near, other)
    assert not (tmp_path / "x.task").exists()


def changed(path: Path, **facts: object) -> Path:
    tensors, before, _ = checkpoint.load(path, kind=KIND)
    target = path.with_name(f"changed-{len(list(path.parent.iterdir()))}.task")
    checkpoint.save(target, tensors, kind=KIND, facts={**before, **facts})
    return target


def test_what_cannot_be_merged_is_refused(tasks: list[Path], tmp_path: Path) -> None:
    one, other = (load_task(path) for path in tasks)
    assert other.oneshot is not None

    def refusal(second: Task) -> str:
        with pytest.raises(ModelError) as caught:
            merge_tasks({tasks[0]: one, tasks[1]: second})
        return str(caught.value)

    assert "a task that is given twice" in refusal(one)
    both = merge_tasks(dict(zip(tasks, (one, other), strict=True))).task
    assert "a task that is given twice" in refusal(both)  # within another one
    assert "a task without labelled scans" in refusal(replace(other, oneshot=None))
    cohort: Any = object()
    adapted = replace(other.oneshot, cohort=cohort)
    assert "adapted to unlabelled scans" in refusal(replace(other, oneshot=adapted))
    config = other.oneshot.config.model_copy(update={"min_similarity": 0.125})
    odd = replace(other.oneshot, config=config)
    assert "min_similarity (0.125, not " in refusal(replace(other, oneshot=odd))
    many = replace(other, structures={f"s{n}": n for n in range(1, 256)})
    assert "259 structures" in refusal(many)
    assert merge_tasks({tasks[0]: one, tasks[1]: replace(other, ranges=None)}).task.ranges is None
    with pytest.raises(ConfigError, match="found one task"):
        merged(tmp_path / "x.task", tasks[0], tasks[0])
    with pytest.raises(ConfigError, match="which is also an input"):
        merged(tasks[0], *tasks)


@pytest.mark.parametrize("asked", [[[0]], [[0, 0, 1, 2]], [[0, 1, 2, 4]], [[0], [1]]])
def test_places_of_structures_that_there_are_not_are_refused(
    tasks: list[Path], asked: list[list[int]]
) -> None:
    with pytest.raises(ModelError, match="asked for other structures than they show"):
        load_task(changed(tasks[0], asked=asked))


@pytest.mark.parametrize("places", [[0, 0, 1, 2], [0, 1, 2, 4]])
def test_a_head_of_structures_that_there_are_not_is_refused(
    tasks: list[Path], places: list[int]
) -> None:
    facts = checkpoint.read_facts(tasks[0], kind=KIND)
    facts["oneshot"]["scans"][0]["head"]["places"] = places
    with pytest.raises(ModelError, match="a head of structures that there are not"):
        load_task(changed(tasks[0], oneshot=facts["oneshot"]))


def test_licences_of_both_hold(cohort: Path, trained: Path, tmp_path: Path) -> None:
    terms = ("CC-BY-4.0", "CC0-1.0")
    paths = [
        made(cohort, trained, tmp_path / f"{name}.task", name, tune=False, license=term)
        for name, term in zip(NAMES, terms, strict=True)
    ]
    report = merged(tmp_path / "c.task", *paths)
    assert load_task(report.path).license == "CC-BY-4.0 AND CC0-1.0"
    (facts,) = show.run(show.ShowConfig(paths=(report.path,))).facts.values()
    assert facts["license"] == "CC-BY-4.0 AND CC0-1.0"
    assert facts["made"] == "merged"


def test_chosen_colours_of_all_hold_and_those_of_the_first_before_others(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    first, second = ("#010203", "#040506"), ("#070809", "#0a0b0c")
    names = ["liver", "kidneys", "aorta"]
    chosen = [dict(zip(names[:2], first, strict=True)), dict(zip(names[1:], second, strict=True))]
    paths = [
        made(cohort, trained, tmp_path / f"{name}.task", name, tune=False, colours=colours)
        for name, colours in zip(NAMES, chosen, strict=True)
    ]
    report = merged(tmp_path / "c.task", *paths)
    (facts,) = show.run(show.ShowConfig(paths=(report.path,))).facts.values()
    told = {one["name"]: one["colour"] for one in facts["structures"]}
    assert [told[name] for name in names] == [*first, second[1]]


def test_a_licence_that_not_all_have_is_not_kept_and_told(
    cohort: Path, trained: Path, tasks: list[Path], tmp_path: Path
) -> None:
    """Found: a task without a licence came under CC-BY-4.0 by being merged with one of it."""
    term = {"tune": False, "license": "CC-BY-4.0"}
    known = task.run(task_config(cohort, trained, tmp_path / "a.task", NAMES[0], **term)).path
    report = merged(tmp_path / "c.task", known, tasks[1])
    assert load_task(report.path).license == ""
    (told,) = report.warnings
    assert told == f"the merged task has no licence, as {tasks[1]} has none beside CC-BY-4.0"
    assert f"Warning: {told}." in report.summary()
    assert merged(tmp_path / "d.task", *tasks).warnings == ()  # none of them has one


def test_a_scan_votes_once_for_a_structure_whatever_its_name(
    cohort: Path, trained: Path, tasks: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    scan = folder / "other_0000.nii.gz"
    scan.write_bytes((cohort / "imagesTr" / f"{NAMES[0]}_0000.nii.gz").read_bytes())
    copy = made(
        *(cohort, trained, tmp_path / "copy.task"),
        tune=False,
        images=[scan],
        labels=[cohort / "labelsTr" / f"{NAMES[0]}.nii.gz"],
    )
    told = f"the scan other as a reference of liver, which is {NAMES[0]} of {tasks[0]}"
    with pytest.raises(ModelError, match=re.escape(told)):
        merged(tmp_path / "x.task", *tasks, copy)
    spleen = made(
        *(cohort, trained, tmp_path / "spleen.task"),
        tune=False,
        images=[scan],
        labels=[labels_with(cohort, folder, NAMES[0], {2: 1})],
        structures={"spleen": 1},
    )
    assert merged(tmp_path / "y.task", tasks[0], spleen).references == (NAMES[0], "other")


# --- show -----------------------------------------------------------------------------------


def test_what_is_not_ours_is_told_beside_the_json(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    report = show.run(show.ShowConfig(paths=(trained, tmp_path / "notes.txt"), as_json=True))
    report.show(Console(width=40))
    out, err = capsys.readouterr()
    assert list(json.loads(out)) == [str(trained)]
    assert "notes.txt: found an unreadable file" in err
    assert not report.ok


def shown(path: Path) -> Any:
    report = show.run(show.ShowConfig(paths=(path,), as_json=True))
    stream = io.StringIO()
    report.show(Console(file=stream, width=40))  # no line is broken
    return json.loads(stream.getvalue())[str(path)]


def test_a_task_says_what_it_is(cohort: Path, tasks: list[Path]) -> None:
    facts, loaded = shown(tasks[0]), load_task(tasks[0])
    assert (facts["kind"], facts["fingerprint"]) == ("task", loaded.fingerprint)
    assert {one["name"]: one["value"] for one in facts["structures"]} == loaded.structures
    assert loaded.oneshot is not None
    dice, said = (
        [one["dice_redrawn"] for one in facts["structures"]],
        loaded.oneshot.evidence.itself,
    )
    assert dice == [None if one is None else round(one, 4) for one in said]
    assert {one["dice_by_others"] for one in facts["structures"]} == {None}
    assert facts["structures"][0]["colour"] == "#f2913d"
    (reference,) = facts["references"]
    assert (reference["name"], reference["modality"], reference["tuned"]) == (NAMES[0], "ct", True)
    assert facts["model"]["fingerprint"] == loaded.model
    assert facts["made"] == "of labelled scans"
    assert facts["bytes"] == tasks[0].stat().st_size


def test_what_is_asked_of_labelled_scans_is_refused_of_a_task_without(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    path = made(cohort, trained, tmp_path / "x.task", NAMES[0], tune=False)
    save_task(replace(load_task(path), oneshot=None), path, run=trained)
    asked = {"inputs": [cohort / "imagesTs"], "task": path, "model": trained, "device": "cpu"}
    asked["output"] = tmp_path / "out"
    with pytest.raises(ModelError, match="a task without labelled scans"):
        locate.run(locate.LocateConfig.model_validate(asked))
    with pytest.raises(ModelError, match="a task without labelled scans"):
        segment.run(segment.SegmentConfig.model_validate({**asked, "prior": cohort / "labelsTs"}))
    assert not (tmp_path / "out").exists()


def test_a_task_knows_its_model_while_that_is_beside_it(
    cohort: Path, trained: Path, store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.symlink_to(trained)
    path = made(cohort, run, tmp_path / "x.task", NAMES[0], tune=False)
    loaded = load_task(path)
    save_task(loaded, path, run=tmp_path / "gone")
    assert shown(path)["model"]["found"] is False
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    save_task(loaded, path, run=copy)
    model = shown(path)["model"]
    assert (model["found"], model["spacing_mm"], model["steps"]) == (True, 7.0, 4)
    pretrain.run(pretrain_config(store, tmp_path / "another", seed=9))
    save_task(loaded, path, run=tmp_path / "another")
    assert shown(path)["model"]["found"] is False


def test_an_old_and_an_adapted_task_say_so(tasks: list[Path], tmp_path: Path) -> None:
    old = tmp_path / "old.task"
    save_task(replace(load_task(tasks[0]), oneshot=None, ranges=None), old, run=tmp_path)
    facts = shown(old)
    assert facts["made"] == "without alignments, by an older version"
    assert facts["references"][0]["tuned"] is False
    assert (facts["scans"], facts["modalities"], facts["adapted"]) == (None, None, None)


def test_models_and_stores_say_what_they_are(store: Path, trained: Path) -> None:
    model, cases = shown(trained), shown(store)
    assert (model["kind"], model["steps"]) == ("pretrained model", 4)
    assert model["preparation"]["spacing_mm"] == cases["spacing_mm"] == 7.0
    assert model["fingerprint"] == shown(trained / "model.safetensors")["fingerprint"]
    assert (cases["kind"], cases["cases"], cases["engines"]) == ("store", 4, ["hierarchy"])
    assert model["store"] == cases["fingerprint"]


def test_a_finetuned_model_names_its_structures(trained: Path, tmp_path: Path) -> None:
    tensors, facts, digest = checkpoint.load(trained / "model.safetensors", kind="weights")
    own = {"structures": [["liver", 3]], "start": "pretrained", "model": digest, "scans": ""}
    del facts["store"]
    checkpoint.save(tmp_path / "model.safetensors", tensors, kind="weights", facts=facts | own)
    found = shown(tmp_path)
    assert (found["kind"], found["model"], found["start"]) == (
        "finetuned model",
        digest,
        "pretrained",
    )
    assert [(one["name"], one["value"]) for one in found["structures"]] == [("liver", 3)]


def test_an_adapted_task_says_for_what(tasks: list[Path], tmp_path: Path) -> None:
    loaded = load_task(tasks[0])
    assert loaded.oneshot is not None
    facts = CohortFacts(
        channels=(4, 4, 4),
        window_vox=16,
        modalities=("ct",),
        trusted=(Trusted(name="x", similarity=0.5),),
        aligned=(0.5,) * 4,
        learned=(0.6,) * 4,
    )
    used = torch.tensor([True, False, True, False])
    cohort = Cohort(CohortNetwork(4, facts.channels), used, facts)
    adapted = replace(loaded, oneshot=replace(loaded.oneshot, cohort=cohort))
    save_task(adapted, tmp_path / "x.task", run=tmp_path)
    found = shown(tmp_path / "x.task")
    assert found["made"] == "adapted to unlabelled scans"
    names = list(loaded.structures)[::2]
    assert found["adapted"] == {"structures": names, "trusted": 1, "left_out": 0}


def test_words_name_everything_and_faults_follow(
    tasks: list[Path], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = mass3d.show(paths=[tasks[0], tmp_path / "nothing", trained])
    assert not report.ok
    assert report.faults[0].where.startswith(str(tmp_path / "nothing"))
    report.show(Console())
    told = capsys.readouterr().out
    assert f"{tasks[0]}: task\n" in told
    assert f"{trained}: pretrained model\n" in told
    for name in load_task(tasks[0]).structures:
        assert f"    {name} " in told
    assert "dice_redrawn" in told
    (tmp_path / "text").write_text("a text")
    (fault,) = show.run(show.ShowConfig(paths=(tmp_path / "text",))).faults
    assert "an unreadable file" in fault.message


def test_a_file_to_go_on_with_is_no_model(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x", {"a": torch.zeros(1)}, kind="resume", facts={})
    (fault,) = show.run(show.ShowConfig(paths=(tmp_path / "x",))).faults
    assert fault.message.startswith("found a resume file")
