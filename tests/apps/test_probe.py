"""Labels of scans by their features: what is written, what is told, what is refused."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pages
from helpers import untrained_run
from mass3d.apps import embed, probe, task
from mass3d.errors import ConfigError, DataError, ModelError
from mass3d.io.write import write_file_order
from mass3d.training.run_files import RESUME, WEIGHTS
from mass3d.transfer.frozen.folder import EmbeddingsFolder
from mass3d.transfer.frozen.probing.results import FILE, HEADER, TABLE
from mass3d.transfer.frozen.region import load_region
from mass3d.transfer.task_file import load_task, save_task

LABELS = (
    "case,kind,level\n"
    "ct_000,ct,1.5\nct_002,ct,2.5\nct_copy,ct,3\nmr_001,mr,4\nmr_003,mr,\nmr_copy,mr,6\n"
    "mr_broken,mr,1\nmr_lost,mr,2\n"
)


def config(
    inputs: Path, labels: Path, output: Path, model: Path | None = None, **changes: object
) -> probe.ProbeConfig:
    values = {
        "inputs": [inputs],
        "labels": labels,
        "output": output,
        "model": model,
        "folds": 2,
        "kinds": {"level": "number"},
        "device": "cpu",
    }
    return probe.ProbeConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def scans(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scans, two of them twice (once in another format), one in no row, one that is none."""
    folder = tmp_path_factory.mktemp("scans")
    for path in sorted((cohort / "imagesTr").iterdir()):
        shutil.copy(path, folder / path.name.replace("_0000", ""))
    shutil.copy(folder / "ct_002.nii.gz", folder / "ct_copy.nii.gz")
    with gzip.open(folder / "mr_003.nii.gz") as packed:
        (folder / "mr_copy.nii").write_bytes(packed.read())
    (folder / "mr_broken.nii.gz").write_bytes(b"no scan")
    shutil.copy(sorted((cohort / "imagesTs").iterdir())[0], folder / "ct_more.nii.gz")
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    path.write_text(LABELS)
    return path


@pytest.fixture(scope="module")
def probed(
    scans: Path, labels: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, probe.ProbeReport]:
    """Probed from scans."""
    output = tmp_path_factory.mktemp("probed")
    return output, probe.run(config(scans, labels, output, trained))


def test_every_target_is_scored_for_all_features_and_heads(
    probed: tuple[Path, probe.ProbeReport],
) -> None:
    told = json.loads((probed[0] / FILE).read_text())
    assert set(told["targets"]) == {"kind", "level"}
    for target in told["targets"].values():
        heads = {source: set(found) for source, found in target["features"].items()}
        assert heads == {
            "pretrained": {"linear", "knn", "attentive"},
            "untrained": {"linear", "knn", "attentive"},
            "histogram": {"linear", "knn"},
            "size": {"linear", "knn"},
        }
    kind = told["targets"]["kind"]
    assert kind["classes"] == {"ct": 3, "mr": 3}
    assert (kind["cases"], kind["patients"]) == (6, 4)
    assert told["targets"]["level"]["missing"] == ["mr_003"]
    with (probed[0] / TABLE).open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == HEADER
    assert len(rows) == 6 * 10 * 2 + 5 * 10
    folds = {row["case"]: row["fold"] for row in rows if row["target"] == "kind"}
    assert folds["ct_002"] == folds["ct_copy"]
    assert folds["mr_003"] == folds["mr_copy"]


def test_what_took_no_part_is_told(probed: tuple[Path, probe.ProbeReport]) -> None:
    output, report = probed
    assert [fault.where for fault in report.faults] == ["mr_broken"]
    assert report.warnings == (
        "ct_copy is the same scan as ct_002, so both are kept in one fold",
        "mr_copy is the same scan as mr_003, so both are kept in one fold",
        "1 row without a scan: mr_lost",
        "1 scan without a row: ct_more",
        "1 scan without a value of level: mr_003",
    )
    told = json.loads((output / FILE).read_text())
    assert told["without_scan"] == ["mr_lost"]
    assert told["without_row"] == ["ct_more"]
    assert told["warnings"] == list(report.warnings)
    assert [fault["where"] for fault in told["faults"]] == ["mr_broken"]
    summary = report.summary()
    assert summary.startswith(
        "Probed 2 targets. Every scan counted as a patient of its own. Warning: ct_copy is"
    )
    assert told["patients"] == {"by": "scans", "column": None}
    assert " kind: Too few patients to tell what is better (4 patients, " in summary
    assert " level: Too few patients to tell what is better (4 patients, " in summary
    assert "Warning: 1 row without a scan: mr_lost." in summary


def test_the_page_needs_no_other_file(probed: tuple[Path, probe.ProbeReport]) -> None:
    text = (probed[0] / "probe.html").read_text()
    pages.require_whole(text)
    assert "6 scans of 4 patients: 3 ct, 3 mr." in text
    assert text.count("<svg") == 2 * 3
    assert "mr_broken" in text


def test_the_same_again_embeds_nothing_and_gives_the_same_bytes(
    probed: tuple[Path, probe.ProbeReport], scans: Path, labels: Path, trained: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(probed[0], again)
    cases = again / "embeddings" / "cases"
    before = {path: path.stat().st_mtime_ns for path in cases.iterdir()}
    probe.run(config(scans, labels, again, trained))
    assert {path: path.stat().st_mtime_ns for path in cases.iterdir()} == before
    for name in (FILE, TABLE, "probe.html", "record.json"):
        assert (again / name).read_bytes() == (probed[0] / name).read_bytes()


def test_embeddings_made_before_give_the_same(
    probed: tuple[Path, probe.ProbeReport], scans: Path, labels: Path, trained: Path, tmp_path: Path
) -> None:
    at = tmp_path / "embedded"
    wanted = {"inputs": [scans], "model": trained, "output": at, "device": "cpu"}
    embed.run(embed.EmbedConfig.model_validate(wanted | {"untrained": True}))
    report = probe.run(config(at, labels, tmp_path / "out"))
    assert report.faults == ()
    assert (tmp_path / "out" / TABLE).read_bytes() == (probed[0] / TABLE).read_bytes()
    next((at / "cases").iterdir()).write_bytes(b"damaged")
    with pytest.raises(DataError, match="missing or damaged"):
        probe.run(config(at, labels, tmp_path / "out"))
    embed.run(embed.EmbedConfig.model_validate(wanted | {"output": tmp_path / "alone"}))
    with pytest.raises(ConfigError, match="without those of the untrained network"):
        probe.run(config(tmp_path / "alone", labels, tmp_path / "other"))


def test_chosen_targets_and_patients(
    probed: tuple[Path, probe.ProbeReport], tmp_path: Path
) -> None:
    labels = tmp_path / "x.tsv"
    who = {"ct_000": "p0", "ct_more": "p0", "ct_002": "p1", "mr_001": "p2", "mr_003": "p3"}
    rows = (f"{case}\t{case[:2]}\t{name}\tx\n" for case, name in who.items())
    labels.write_text("id\tkind\twho\tsame\n" + "".join(rows))
    changes: dict[str, Any] = {
        "targets": ["kind"],
        "kinds": {},
        "case_column": "id",
        "patient_column": "who",
    }
    report = probe.run(config(probed[0] / "embeddings", labels, tmp_path / "out", **changes))
    assert list(report.results) == ["kind"]
    assert report.results["kind"].patients == 4
    chosen = changes | {"targets": ["same"]}
    with pytest.raises(DataError, match="same = 'x' for all cases"):
        probe.run(config(probed[0] / "embeddings", labels, tmp_path / "o", **chosen))
    report = probe.run(
        config(probed[0] / "embeddings", labels, tmp_path / "o", **changes | {"targets": []})
    )
    assert list(report.results) == ["kind"]
    assert [fault.where for fault in report.faults] == ["same"]
    told = json.loads((tmp_path / "o" / FILE).read_text())
    assert told["faults"][0]["where"] == "same"
    assert list(told["targets"]) == ["kind"]


def test_a_column_that_is_called_as_patients_keeps_scans_together(
    probed: tuple[Path, probe.ProbeReport], tmp_path: Path
) -> None:
    labels, features = tmp_path / "labels.csv", probed[0] / "embeddings"
    names = ("ct_000", "ct_002", "ct_more", "mr_001", "mr_003")
    rows = [f"{case},{case[:2]},{number % 4}" for number, case in enumerate(names)]
    labels.write_text("case,kind,Patient_ID\n" + "\n".join(rows))
    report = probe.run(config(features, labels, tmp_path / "out", kinds=None))
    assert list(report.results) == ["kind"]
    assert report.results["kind"].patients == 4
    assert "Patients are those of the column 'Patient_ID'." in report.summary()
    assert "of the column &#39;Patient_ID&#39;" in (tmp_path / "out" / "probe.html").read_text()
    told = json.loads((tmp_path / "out" / FILE).read_text())
    assert told["patients"] == {"by": "column", "column": "Patient_ID"}
    with (tmp_path / "out" / TABLE).open() as stream:
        folds = {row["case"]: row["fold"] for row in csv.DictReader(stream)}
    assert folds["ct_000"] == folds["mr_003"]
    rows = [f"{row},{case}" for row, case in zip(rows, names, strict=True)]
    labels.write_text("case,kind,Patient_ID,subject\n" + "\n".join(rows))
    with pytest.raises(ConfigError, match="columns 'Patient_ID' and 'subject'"):
        probe.run(config(features, labels, tmp_path / "other", kinds=None))
    assert not (tmp_path / "other").exists()


def test_classes_that_may_be_one_are_told(
    probed: tuple[Path, probe.ProbeReport], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("case,kind\nct_000,Ct\nct_002,ct\nct_more,ct\nmr_001,Ct\n")
    report = probe.run(config(probed[0] / "embeddings", labels, tmp_path / "out", kinds=None))
    told = "classes of kind differ in capitals only, each counts by itself: 'Ct', 'ct'"
    assert told in report.warnings
    assert told in json.loads((tmp_path / "out" / FILE).read_text())["warnings"]


def test_wrong_use_is_told_before_the_work(
    scans: Path, labels: Path, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="a column 'age'") as caught:
        probe.run(config(scans, labels, tmp_path / "out", trained, targets=["age"]))
    assert caught.value.setting == "targets"
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="a column 'who'") as caught:
        probe.run(config(scans, labels, tmp_path / "out", trained, patient_column="who"))
    assert caught.value.setting == "patient_column"
    with pytest.raises(ConfigError, match="the structure 'liver' without a task") as caught:
        probe.run(config(scans, labels, tmp_path / "out", trained, structure="liver"))
    assert caught.value.setting == "structure"
    bad = tmp_path / "bad.csv"
    bad.write_text("case,kind\nct_000,ct\nct_002,ct\n")
    with pytest.raises(DataError, match="kind = 'ct' for all cases"):
        probe.run(config(scans, bad, tmp_path / "out", trained, kinds={}))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="scans without a model"):
        probe.run(config(scans, labels, tmp_path / "out"))
    bad.write_text("case,kind\nsub-1,a\nsub-2,b\n")
    with pytest.raises(DataError, match="scans such as ct_000"):
        probe.run(config(scans, bad, tmp_path / "out", trained, kinds={}))
    assert not (tmp_path / "out" / "embeddings").exists()


def test_too_few_patients_of_a_class_are_told_before_the_work(
    scans: Path, labels: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="3 patients with a scan and kind = 'ct'"):
        probe.run(config(scans, labels, tmp_path / "out", trained, folds=5, targets=["kind"]))
    assert not (tmp_path / "out" / "embeddings").exists()
    more = tmp_path / "more.csv"
    rows = LABELS.splitlines()
    rare = ["rare", *("yes" if row.startswith("ct_000") else "no" for row in rows[1:])]
    more.write_text("\n".join(f"{row},{one}" for row, one in zip(rows, rare, strict=True)))
    wanted = {"targets": ["kind", "rare"], "kinds": {}}
    report = probe.run(config(scans, more, tmp_path / "out", trained, **wanted))
    lines = capsys.readouterr().err.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("rare: "))
    assert "1 patient with a scan and rare = 'yes'" in lines[first]
    assert any(line.startswith("embed ") for line in lines[first:])
    assert {fault.where for fault in report.faults} == {"mr_broken", "rare"}


def test_a_failed_command_leaves_results_and_their_record(
    probed: tuple[Path, probe.ProbeReport], labels: Path, tmp_path: Path
) -> None:
    features, output = probed[0] / "embeddings", tmp_path / "out"
    probe.run(config(features, labels, output))
    files = (FILE, TABLE, "probe.html", "record.json", "config.toml")
    before = {name: (output / name).read_bytes() for name in files}
    with pytest.raises(DataError, match="kind = 'ct'"):
        probe.run(config(features, labels, output, folds=3, seed=5, targets=["kind"]))
    assert {name: (output / name).read_bytes() for name in files} == before


def test_a_model_beside_features_must_be_theirs(
    probed: tuple[Path, probe.ProbeReport],
    labels: Path,
    trained: Path,
    objective_runs: dict[str, Path],
    tmp_path: Path,
) -> None:
    features = probed[0] / "embeddings"
    probe.run(config(features, labels, tmp_path / "out", trained, targets=["kind"]))
    other = next(iter(objective_runs.values()))
    with pytest.raises(ConfigError, match="another model than that of the features") as caught:
        probe.run(config(features, labels, tmp_path / "out", other))
    assert caught.value.setting == "model"


def test_a_run_that_has_not_ended_is_told(
    probed: tuple[Path, probe.ProbeReport], labels: Path, trained: Path, tmp_path: Path
) -> None:
    half = Path(shutil.copytree(trained, tmp_path / "half"))
    shutil.copy(half / WEIGHTS, half / RESUME)
    wanted = config(probed[0] / "embeddings", labels, tmp_path / "out", half, targets=["kind"])
    report = probe.run(wanted)
    assert "half has not ended: its weights are those after" in report.warnings[0]
    assert json.loads((tmp_path / "out" / FILE).read_text())["warnings"] == list(report.warnings)


def in_folds(output: Path) -> dict[str, tuple[str, str]]:
    """Scan -> patient and fold."""
    with (output / TABLE).open() as stream:
        return {row["case"]: (row["patient"], row["fold"]) for row in csv.DictReader(stream)}


def test_channels_of_a_case_are_in_one_fold_and_have_its_row(tmp_path: Path) -> None:
    """Found: of names of cases none was known, and of those of scans a patient was in two folds."""
    rng, data = np.random.default_rng(0), tmp_path / "data"
    untrained_run(tmp_path / "run", crop=16, spacing_mm=7.0)
    for patient in range(4):
        for channel in range(2):
            image = rng.normal(100 * patient, 50, (14, 14, 14)).astype(np.float32)
            path = data / "imagesTr" / f"P_{patient}_000{channel}.nii.gz"
            write_file_order(path, image, np.diag([7.0, 7.0, 7.0, 1.0]))
    names = {"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {"background": 0, "x": 1}}
    (data / "dataset.json").write_text(json.dumps(names))
    rows = {
        "cases": [f"P_{n},{n % 2}" for n in range(4)],
        "scans": [f"P_{n}_{channel},{n % 2}" for n in range(4) for channel in ("FLAIR", "T1")],
    }
    features = tmp_path / "cases" / "embeddings"
    for name, lines in rows.items():
        labels = tmp_path / f"{name}.csv"
        labels.write_text("\n".join(["case,y", *lines]))
        at, output = (data, tmp_path / name) if name == "cases" else (features, tmp_path / name)
        report = probe.run(config(at, labels, output, tmp_path / "run", kinds=None))
        assert "Patients are the cases that scans are channels of (P_0, P_1, " in report.summary()
        assert (report.faults, report.warnings) == ((), ())
        found = in_folds(output)
        assert sorted(found) == sorted(f"P_{n}_{end}" for n in range(4) for end in ("T1", "FLAIR"))
        for n in range(4):
            assert found[f"P_{n}_T1"] == found[f"P_{n}_FLAIR"]
            assert found[f"P_{n}_T1"][0] == f"P_{n}"
    assert (tmp_path / "cases" / TABLE).read_bytes() == (tmp_path / "scans" / TABLE).read_bytes()


def test_names_that_do_not_fit_and_too_many_folds_are_told(
    probed: tuple[Path, probe.ProbeReport], labels: Path, tmp_path: Path
) -> None:
    features = probed[0] / "embeddings"
    other = tmp_path / "labels.csv"
    other.write_text("case,kind\nsub-1,a\nsub-2,b\n")
    with pytest.raises(DataError, match=r"cases such as sub-1, sub-2; scans such as ct_000"):
        probe.run(config(features, other, tmp_path / "out", kinds={}))
    with pytest.raises(DataError, match="2 patients with a scan and kind = 'ct'") as caught:
        probe.run(config(features, labels, tmp_path / "out", folds=3, targets=["kind"]))
    assert caught.value.setting == "folds"


@pytest.fixture(scope="module")
def organs(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of the structures of one scan."""
    path = tmp_path_factory.mktemp("tasks") / "organs.task"
    given = {
        "images": [cohort / "imagesTr" / "ct_000_0000.nii.gz"],
        "labels": [cohort / "labelsTr" / "ct_000.nii.gz"],
        "model": trained,
        "output": path,
        "tune": False,
        "device": "cpu",
    }
    task.run(task.TaskConfig.model_validate(given))
    return path


def test_within_a_structure_only_what_a_task_finds_counts(
    probed: tuple[Path, probe.ProbeReport],
    scans: Path,
    trained: Path,
    organs: Path,
    tmp_path: Path,
) -> None:
    labels = tmp_path / "labels.csv"
    names = ("ct_000", "ct_002", "ct_more", "ct_copy", "mr_001", "mr_003", "mr_copy")
    labels.write_text("case,kind\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(names)))
    part: dict[str, Any] = {"within": organs, "structure": "liver", "kinds": None}
    report = probe.run(config(scans, labels, tmp_path / "out", trained, **part))
    told = json.loads((tmp_path / "out" / FILE).read_text())
    assert told["within"].startswith("liver by ")
    features = told["targets"]["kind"]["features"]
    assert set(features["radiomics"]) == {"linear", "knn"}
    assert "radiomics" in features["pretrained"]["linear"]["differences"]
    whole, inside = (
        EmbeddingsFolder.open(at / "embeddings").arrays("ct_000")
        for at in (probed[0], tmp_path / "out")
    )
    assert 0 < inside["size"][0] < 0.3 * whole["size"][0]
    assert "radiomics" not in whole
    assert "mr_broken" in [fault.where for fault in report.faults]
    with pytest.raises(ConfigError, match="embeddings with within = "):
        probe.run(config(scans, labels, tmp_path / "out", trained, kinds=None))
    with pytest.raises(ConfigError, match="a task beside features"):
        probe.run(config(tmp_path / "out" / "embeddings", labels, tmp_path / "x", **part))
    with pytest.raises(ConfigError, match="'spine' among them") as caught:
        probe.run(config(scans, labels, tmp_path / "y", trained, **part | {"structure": "spine"}))
    assert caught.value.setting == "structure"


def test_a_task_that_was_received_is_asked_with_the_model_at_hand_if_that_made_it(
    scans: Path, labels: Path, trained: Path, organs: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "far" / "away" / "received.task"
    moved.parent.mkdir(parents=True)
    shutil.copy(organs, moved)
    found = load_region(moved, "liver", trained, device="cpu")
    beside = load_region(organs, "liver", trained, device="cpu")
    assert found is not None
    assert beside is not None
    assert found.fingerprint == beside.fingerprint
    other = untrained_run(tmp_path / "other", crop=32, spacing_mm=7.0)
    told = "other is another model than the one that made the task.*Take that run as the model here"
    with pytest.raises(ModelError, match=told) as caught:
        probe.run(config(scans, labels, tmp_path / "out", other, within=moved, kinds=None))
    assert caught.value.setting == "within"
    beside_run = save_task(load_task(organs), trained.parent / "beside.task", run=trained)
    assert beside_run.run  # another model is at hand, but the file still tells where its own is
    assert load_region(trained.parent / "beside.task", None, other, device="cpu") is not None
