from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from rich.console import Console

from mass3d.apps import evaluate
from mass3d.apps.evaluate import EvaluateConfig, EvaluateReport
from mass3d.cli import main
from mass3d.config import build, resolve
from mass3d.errors import ConfigError, DataError
from mass3d.files import read_json, write_json
from mass3d.io.formats.label_table import LabelName
from mass3d.io.read import read_label
from mass3d.io.write import write_label
from mass3d.metrics.scores import Seen
from mass3d.metrics.statistics import bootstrap_mean, bootstrap_mean_of_means
from mass3d.pages import evaluate as evaluate_page
from mass3d.pages import result_pictures
from mass3d.pages.result_pictures import compared_picture
from mass3d.transfer.evaluation import counting
from mass3d.volume.volume import Volume

EDGES_MM = (2.0, 1.0, 0.5)
NAMES = {"background": 0, "liver": 1, "[red] cyst": 2}


def write(path: Path, voxels: str, *, spacing_mm: tuple[float, float, float] = EDGES_MM) -> Path:
    """A label map of one line of voxels, one digit each."""
    label = np.array([[[int(digit) for digit in voxels]]], np.uint8)
    write_label(path, label, Volume.from_array(label, spacing_mm=spacing_mm).source)
    return path


class Folders:
    """Predictions and labels in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in (self.predictions, self.labels):
            folder.mkdir(parents=True)

    @property
    def predictions(self) -> Path:
        return self.root / "found"

    @property
    def labels(self) -> Path:
        return self.root / "true" / "labels"

    def add(self, case: str, *, truth: str | None, found: str | None) -> None:
        if truth is not None:
            write(self.labels / f"{case}.nii.gz", truth)
        if found is not None:
            write(self.predictions / f"{case}.nii.gz", found)

    def name_structures(self) -> None:
        write_json(self.labels.parent / "dataset.json", {"labels": NAMES})

    def config(self, **changes: object) -> EvaluateConfig:
        places = {"predictions": self.predictions, "labels": self.labels, "output": self.output}
        return EvaluateConfig.model_validate(places | changes)

    @property
    def output(self) -> Path:
        return self.root / "scores"

    def run(self, **changes: object) -> EvaluateReport:
        return evaluate.run(self.config(**changes))

    def metrics(self) -> dict[str, Any]:
        return read_json(self.output / "metrics.json")

    def rows(self) -> list[dict[str, str]]:
        with (self.output / "cases.csv").open() as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


@pytest.fixture
def cohort(folders: Folders) -> Folders:
    """Three cases of two structures; one structure is absent from one label."""
    folders.name_structures()
    folders.add("a", truth="1110022", found="0111022")
    folders.add("b", truth="1111000", found="1111100")
    folders.add("c", truth="1100222", found="1100000")
    return folders


def test_every_case_and_structure_gets_its_dice(cohort: Folders) -> None:
    report = cohort.run()
    assert report.ok
    assert report.dice == {
        "a": {"liver": 4 / 6, "[red] cyst": 1.0},
        "b": {"liver": 8 / 9},
        "c": {"liver": 1.0, "[red] cyst": 0.0},
    }


def test_metrics_hold_means_intervals_and_counts(cohort: Folders) -> None:
    cohort.run(seed=3)
    liver, cyst = np.array([4 / 6, 8 / 9, 1]), np.array([1, math.nan, 0])
    expected = {
        "liver": bootstrap_mean(liver, seed=3),
        "[red] cyst": bootstrap_mean(cyst, seed=3),
        "mean": bootstrap_mean_of_means(np.stack([liver, cyst], axis=1), seed=3),
    }
    assert expected["liver"].mean == pytest.approx((4 / 6 + 8 / 9 + 1) / 3)
    assert expected["mean"].mean == pytest.approx((expected["liver"].mean + 0.5) / 2)
    ends = {name: [round(i.low, 6), round(i.high, 6)] for name, i in expected.items()}
    means = {name: round(interval.mean, 6) for name, interval in expected.items()}
    found = cohort.metrics()
    assert found.pop("metrics")["dice"] == {"mean": means["mean"], "ci95": ends["mean"]}
    for structure in found["structures"].values():
        error, bias = structure.pop("volume_error_ml"), structure.pop("volume_bias_ml")
        assert error["mean"] >= abs(bias["mean"])
        assert structure.pop("iou")["mean"] <= structure["dice"]["mean"]
    assert found == {
        "mean": {"dice": means["mean"], "ci95": ends["mean"], "n": 3},
        "structures": {
            "liver": {
                "value": 1,
                "dice": {"mean": means["liver"], "ci95": ends["liver"], "n": 3},
                "n_labelled": 3,
                "n_predicted": 3,
                "n_missed": 0,
                "n_extra": 0,
            },
            "[red] cyst": {
                "value": 2,
                "dice": {"mean": 0.5, "ci95": ends["[red] cyst"], "n": 2},
                "n_labelled": 2,
                "n_predicted": 1,
                "n_missed": 1,
                "n_extra": 0,
            },
        },
        "absent": "skip",
        "tolerance_mm": None,
        "lesion_overlap": None,
        "labels_without_prediction": {"n": 0, "cases": []},
        "unnamed_values": {},
        "faults": [],
        "warnings": [],
    }


def test_the_table_of_cases_holds_voxels_and_millilitres(cohort: Folders) -> None:
    cohort.run()
    assert b"\r" not in (cohort.output / "cases.csv").read_bytes()
    rows = cohort.rows()
    assert [(row["case"], row["structure"]) for row in rows] == [
        (case, name) for case in "abc" for name in ("liver", "[red] cyst")
    ]
    assert rows[0] == {
        "case": "a",
        "structure": "liver",
        "dice": "0.666667",
        "iou": "0.5",
        "volume_error_ml": "0.0",
        "volume_bias_ml": "0.0",
        "truth_voxels": "3",
        "prediction_voxels": "3",
        "truth_ml": "0.003",  # voxels of 2 x 1 x 0.5 mm
        "prediction_ml": "0.003",
    }
    assert (rows[3]["dice"], rows[3]["truth_voxels"]) == ("", "0")
    assert (rows[5]["dice"], rows[5]["truth_voxels"], rows[5]["prediction_ml"]) == (
        "0.0",
        "3",
        "0.0",
    )


def test_the_table_of_structures_holds_what_the_metrics_do(cohort: Folders) -> None:
    cohort.add("e", truth="2", found="2")
    cohort.run(structures={"liver": 1, "[red] cyst": 2, "spleen": 9}, surface=True, lesions=True)
    with (cohort.output / "structures.csv").open() as stream:
        rows = {row.pop("structure"): row for row in csv.DictReader(stream)}
    found = cohort.metrics()["structures"]
    assert list(rows) == ["liver", "[red] cyst", "spleen"]
    assert rows.keys() == found.keys()
    for name, row in rows.items():
        told = found[name]
        expected = {"value": told.pop("value"), "n": told["dice"].pop("n")}
        for metric in [one for one in told if not one.startswith("n_")]:
            low, high = told[metric]["ci95"] or (None, None)
            expected |= {metric: told[metric]["mean"]}
            expected |= {f"{metric}_low": low, f"{metric}_high": high}
        expected |= {key: n for key, n in told.items() if key.startswith("n_")}
        assert row == {key: "" if one is None else str(one) for key, one in expected.items()}
    assert {"nsd_low", "false_lesions"} <= rows["liver"].keys()


def test_surfaces_are_scored_where_that_is_asked_for(
    folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.name_structures()
    write_json(folders.labels.parent / "dataset.json", {"labels": NAMES | {"ignore": 9}})
    folders.add("a", truth="11110009", found="01111001")
    folders.add("b", truth="11110000", found="00000000")
    folders.add("c", truth="00002200", found="00022200")
    words = [str(folders.predictions), str(folders.labels), "-o", str(folders.output)]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *words, "--surface", "--tolerance", "0.6"])
    assert ended.value.code == 0
    assert "HD95, mm" in capsys.readouterr().out
    metrics = folders.metrics()
    assert metrics["tolerance_mm"] == 0.6
    rows = {(row["case"], row["structure"]): row for row in folders.rows()}
    liver = rows["a", "liver"]
    assert (liver["nsd"], liver["hd95_mm"]) == ("1.0", "0.5")  # of voxels of 0.5 mm, shifted by one
    assert 0 < float(liver["asd_mm"]) < 0.5
    missed = rows["b", "liver"]
    diagonal = round(math.hypot(2.0, 1.0, 8 * 0.5), 6)
    assert (missed["nsd"], missed["hd95_mm"]) == ("0.0", str(diagonal))
    assert rows["a", "[red] cyst"]["nsd"] == rows["b", "[red] cyst"]["nsd"] == ""
    assert metrics["structures"]["liver"]["hd95_mm"]["mean"] == round((0.5 + diagonal) / 2, 6)
    assert metrics["metrics"]["nsd"]["mean"] == 0.75
    page = (folders.output / "evaluate.html").read_text()
    assert "<th>HD95, mm</th>" in page


def test_lesions_are_counted_where_that_is_asked_for(
    folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.name_structures()
    folders.add("a", truth="1101011", found="1000001")  # two of three found
    folders.add("b", truth="0000000", found="1010000")  # nothing to find, two false
    folders.add("c", truth="0000000", found="0000000")
    folders.add("d", truth="1100022", found="0011022")  # missed; one that is false
    words = [str(folders.predictions), str(folders.labels), "-o", str(folders.output), "--lesions"]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *words])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "Lesion sensitivity" in told
    assert "HD95" not in told
    liver = folders.metrics()["structures"]["liver"]
    assert liver["lesion_sensitivity"]["mean"] == round((2 / 3 + 0) / 2, 6)
    assert liver["false_lesions"]["mean"] == 0.5  # what a label lacks may not have been contoured
    assert folders.metrics()["lesion_overlap"] == 0
    rows = {row["case"]: row for row in folders.rows() if row["structure"] == "liver"}
    counts = ("truth_lesions", "found_lesions", "prediction_lesions", "false_lesions")
    assert [[rows[case][name] for name in counts] for case in "abcd"] == [
        ["3", "2", "2", "0.0"],
        ["0", "0", "2", ""],
        ["0", "0", "0", ""],
        ["1", "0", "1", "1.0"],
    ]
    assert "False lesions" in (folders.output / "scores.tex").read_text()
    page = (folders.output / "evaluate.html").read_text()
    assert "<th>False lesions</th>" in page
    assert "Lesions are connected parts" in page


def test_false_lesions_are_per_case_also_of_cases_without_any_where_absent_ones_are_scored(
    folders: Folders,
) -> None:
    folders.add("a", truth="1100", found="1101")
    folders.add("b", truth="0000", found="1010")
    folders.add("c", truth="0000", found="0000")
    report = folders.run(lesions=True, absent="score")
    assert report.scores["false_lesions"] == {"a": {"1": 1}, "b": {"1": 2}, "c": {"1": 0}}
    assert report.scores["lesion_sensitivity"] == {"a": {"1": 1}, "b": {}, "c": {}}
    assert report.dice["c"] == report.scores["volume_error_ml"]["c"] == {}
    assert report.structures["1"].others["false_lesions"].mean == 1


def test_a_lesion_needs_the_share_that_is_asked_for_and_two_folders_are_compared(
    folders: Folders,
) -> None:
    others = folders.root / "others"
    for case in "ab":
        folders.add(case, truth="1111011", found="1000011")
        write(others / f"{case}.nii.gz", "1111000")
    found = folders.run(lesions=True, lesion_overlap=0.5, against=others)
    assert found.structures["1"].others["lesion_sensitivity"].mean == 0.5
    compared = folders.metrics()["comparison"]["metrics"]["lesion_sensitivity"]["structures"]["1"]
    assert (compared["n"], compared["difference"]["mean"]) == (2, 0)
    assert folders.run(lesions=True).structures["1"].others["lesion_sensitivity"].mean == 1


# --- what is scored -------------------------------------------------------------------------


def test_what_a_label_lacks_is_not_scored_unless_that_is_asked_for(folders: Folders) -> None:
    folders.add("a", truth="1122", found="1122")
    folders.add("b", truth="1100", found="1122")
    folders.add("c", truth="1100", found="1100")
    left_out = folders.run()
    assert left_out.dice["b"] == left_out.dice["c"] == {"1": 1.0}
    assert left_out.structures["2"].seen == Seen(n_labelled=1, n_predicted=2, n_missed=0, n_extra=1)
    scored = folders.run(absent="score")
    assert scored.dice["b"] == {"1": 1.0, "2": 0.0}
    assert scored.dice["c"] == {"1": 1.0}
    assert folders.metrics()["absent"] == "score"


def test_a_missed_structure_scores_zero_and_is_counted(folders: Folders) -> None:
    folders.add("a", truth="1122", found="1100")
    report = folders.run()
    assert report.dice["a"] == {"1": 1.0, "2": 0.0}
    assert report.structures["2"].seen.n_missed == 1


def test_a_structure_that_no_label_shows_has_no_score(cohort: Folders) -> None:
    report = cohort.run(structures={"liver": 1, "spleen": 9})
    assert math.isnan(report.structures["spleen"].dice.mean)
    assert report.mean == report.structures["liver"].dice
    written = cohort.metrics()["structures"]["spleen"]
    assert written["dice"] == {"mean": None, "ci95": None, "n": 0}


def test_one_case_has_a_mean_and_no_interval(folders: Folders) -> None:
    folders.add("a", truth="11", found="10")
    assert "Mean Dice 0.667 over 1 structure in 1 case" in folders.run().summary()
    assert folders.metrics()["mean"] == {"dice": 0.666667, "ci95": None, "n": 1}


def test_without_names_structures_are_called_by_the_values_of_the_labels(folders: Folders) -> None:
    folders.add("a", truth="1155", found="1199")
    assert list(folders.run().structures) == ["1", "5"]


def test_the_names_of_the_segmentation_serve_where_the_dataset_has_none(folders: Folders) -> None:
    folders.add("a", truth="0120", found="0122")
    named = {"[red] cyst": 2, "liver": 1}
    write_json(folders.predictions / "record.json", {"verb": "segment", "structures": named})
    assert list(folders.run().structures) == ["liver", "[red] cyst"]  # by value
    write_json(folders.labels.parent / "dataset.json", {"labels": {"organ": 1, "other": 2}})
    assert list(folders.run().structures) == ["organ", "other"]


@pytest.mark.parametrize("said", ["[]", "{}", '{"structures": {"liver": 0}}', "no json"])
def test_a_record_that_names_nothing_leaves_the_values(folders: Folders, said: str) -> None:
    folders.add("a", truth="0120", found="0122")
    (folders.predictions / "record.json").write_text(said)
    assert list(folders.run().structures) == ["1", "2"]


def test_chosen_structures_go_before_those_of_the_dataset(cohort: Folders) -> None:
    report = cohort.run(structures={"lesion": 2})
    assert report.dice == {"a": {"lesion": 1.0}, "b": {}, "c": {"lesion": 0.0}}
    assert cohort.metrics()["mean"]["n"] == 2


def test_values_without_a_name_are_told_and_change_no_score(cohort: Folders) -> None:
    before = cohort.run().dice
    cohort.add("a", truth="1117022", found="0111822")
    report = cohort.run()
    assert report.ok
    assert report.dice == before
    assert "Label values without a name were not scored: 7, 8." in report.summary()
    assert cohort.metrics()["unnamed_values"] == {
        "7": {"n_labelled": 1, "n_predicted": 0, "n_missed": 1, "n_extra": 0},
        "8": {"n_labelled": 0, "n_predicted": 1, "n_missed": 0, "n_extra": 1},
    }


@pytest.mark.parametrize("wrong", [{"liver": 0}, {"liver": -1}, {}])
def test_structures_are_one_or_more_values_above_background(
    folders: Folders, wrong: dict[str, int]
) -> None:
    places = {"predictions": folders.predictions, "labels": folders.labels, "output": folders.root}
    with pytest.raises(ConfigError, match="structures"):
        build(EvaluateConfig, {**places, "structures": wrong})


# --- which files ----------------------------------------------------------------------------


def test_labels_without_a_prediction_are_listed_and_are_no_fault(cohort: Folders) -> None:
    for name in ("z", "d_0000"):
        cohort.add(name, truth="11", found=None)
    for other in ("notes.txt", ".partial-7-x.nii.gz"):
        (cohort.labels / other).write_text("no label")
    report = cohort.run()
    assert report.ok
    assert report.labels_without_prediction == ("d", "z")
    assert cohort.metrics()["labels_without_prediction"] == {"n": 2, "cases": ["d", "z"]}
    told = "2 labels have NO PREDICTION and are in no score: d, z."
    assert told in report.summary()
    assert told in report.outcome()["summary"]  # type: ignore[operator]
    console = Console(record=True, width=200)
    report.show(console)
    assert told in console.export_text()
    page = (cohort.output / "evaluate.html").read_text()
    assert told in page
    assert "2 labels have no prediction</h2>" in page
    for name in ("d", "z"):  # scored now, and nothing is said any more
        write(cohort.predictions / f"{name}.nii.gz", "10")
    after = cohort.run()
    assert "NO PREDICTION" not in after.summary()
    assert "no prediction</h2>" not in (cohort.output / "evaluate.html").read_text()
    assert after.mean.mean != report.mean.mean


def test_a_prediction_without_a_label_is_a_fault_and_the_others_go_on(cohort: Folders) -> None:
    cohort.add("d", truth=None, found="11")
    report = cohort.run()
    assert [fault.where for fault in report.faults] == ["d"]
    assert "without a label" in report.faults[0].message
    assert list(report.dice) == ["a", "b", "c"]
    assert cohort.metrics()["faults"][0]["where"] == "d"
    assert "1 prediction could not be scored." in report.summary()


def test_a_prediction_on_another_grid_is_a_fault_that_names_both(cohort: Folders) -> None:
    write(cohort.predictions / "a.nii.gz", "0111022", spacing_mm=(2.0, 1.0, 0.6))
    write(cohort.predictions / "b.nii.gz", "11111000")
    report = cohort.run()
    assert [fault.where for fault in report.faults] == ["a", "b"]
    assert "1 x 1 x 7 voxels of 2 x 1 x 0.6 mm" in report.faults[0].message
    assert "1 x 1 x 7 voxels of 2 x 1 x 0.5 mm" in report.faults[0].message
    assert "1 x 1 x 8 voxels" in report.faults[1].message
    assert list(report.dice) == ["c"]


def test_a_broken_prediction_is_a_fault(cohort: Folders) -> None:
    (cohort.predictions / "b.nii.gz").write_bytes(b"broken")
    report = cohort.run()
    assert [fault.where for fault in report.faults] == ["b"]
    assert list(report.dice) == ["a", "c"]


@pytest.mark.parametrize("of", ["prediction", "label"])
def test_either_file_may_carry_the_number_of_a_channel(cohort: Folders, of: str) -> None:
    before = cohort.run()
    folder = cohort.predictions if of == "prediction" else cohort.labels
    (folder / "a.nii.gz").rename(folder / "a_0000.nii.gz")
    after = cohort.run()
    assert after.dice == before.dice
    assert after.labels_without_prediction == ()


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".nii"])
def test_predictions_and_labels_may_be_of_different_formats(cohort: Folders, suffix: str) -> None:
    before = cohort.run().dice
    old = cohort.predictions / "a.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(old)), str(cohort.predictions / f"a{suffix}"))
    old.unlink()
    report = cohort.run()
    assert report.ok
    assert report.dice == before


@pytest.mark.parametrize("suffix", [".NII.GZ", ".Nii.gz"])
def test_endings_may_be_written_in_capitals(cohort: Folders, suffix: str) -> None:
    before = cohort.run().mean
    for path in cohort.labels.glob("*.nii.gz"):
        path.rename(path.with_name(path.name.replace(".nii.gz", suffix)))
    assert cohort.run().mean == before


def test_the_axis_order_of_a_file_does_not_matter(cohort: Folders) -> None:
    before = cohort.run().dice
    path = cohort.predictions / "a.nii.gz"
    turned = nib.load(path).slicer[6::-1]  # without the 6 nibabel forgets to move the origin
    nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    assert before["a"]["liver"] < 1
    assert cohort.run().dice == before


def test_two_predictions_of_one_case_are_refused(cohort: Folders) -> None:
    write(cohort.predictions / "again" / "a_0000.nii.gz", "0111022")
    with pytest.raises(DataError, match="second scan of the case 'a'"):
        cohort.run()


def test_a_file_or_nothing_is_no_folder(cohort: Folders) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        cohort.run(predictions=cohort.predictions / "a.nii.gz")
    with pytest.raises(ConfigError, match="not a folder"):
        cohort.run(labels=cohort.root / "nowhere")


def test_predictions_are_not_scored_against_themselves(cohort: Folders) -> None:
    with pytest.raises(ConfigError, match="also the folder of predictions"):
        cohort.run(labels=cohort.root / "true" / ".." / "found")


def test_nothing_to_score_is_an_error(folders: Folders) -> None:
    with pytest.raises(DataError, match="no scan"):
        folders.run()
    folders.add("a", truth=None, found="11")
    with pytest.raises(DataError, match=r"1 faults, the first: .* without a label"):
        folders.run()
    folders.add("a", truth="00", found=None)
    with pytest.raises(DataError, match="nothing to score in 1 cases"):
        folders.run()
    with pytest.raises(DataError, match="nothing to score in 1 cases"):
        folders.run(absent="score", structures={"liver": 2})
    assert not folders.output.exists()


# --- the verb -------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_equal_inputs_give_equal_bytes_wherever_and_with_any_number_of_workers(
    cohort: Folders, tmp_path: Path
) -> None:
    cohort.add("d", truth=None, found="11")
    first = cohort.run(workers=1)
    other = cohort.run(workers=2, output=tmp_path / "other")
    assert other.dice == first.dice
    written = contents(cohort.output)
    files = {"metrics.json", "cases.csv", "structures.csv", "scores.tex", "evaluate.html"}
    beside = {name for name in written if name.startswith("viewer/")}
    assert set(written) == {*files, "config.toml", "record.json", *beside}
    assert len(beside) == 2 + len(first.dice)
    assert contents(tmp_path / "other") == written


def test_another_seed_moves_the_intervals_only(folders: Folders) -> None:
    for case in range(1, 9):
        folders.add(str(case), truth="1" * 9, found="1" * case + "0" * (9 - case))
    folders.run(seed=0)
    first = folders.metrics()
    folders.run(seed=1)
    second = folders.metrics()
    assert first["mean"]["dice"] == second["mean"]["dice"]
    for key in (lambda m: m["mean"], lambda m: m["structures"]["1"]["dice"]):
        assert key(first)["ci95"] != key(second)["ci95"]


def test_the_settings_beside_a_result_give_it_again(cohort: Folders, tmp_path: Path) -> None:
    cohort.run(absent="score", seed=4)
    again = resolve(
        EvaluateConfig, file=cohort.output / "config.toml", flags={"output": tmp_path / "again"}
    )
    evaluate.run(again)
    assert contents(tmp_path / "again") == contents(cohort.output)
    assert read_json(cohort.output / "record.json")["structures"] == {"liver": 1, "[red] cyst": 2}


@pytest.mark.parametrize(("limit", "workers"), [(None, 1), (20, None)])
def test_only_a_large_cohort_starts_processes(
    cohort: Folders, monkeypatch: pytest.MonkeyPatch, limit: int | None, workers: int | None
) -> None:
    asked: list[int | None] = []

    def run_here(function: Any, jobs: Any, **options: Any) -> dict[str, Any]:
        asked.append(options["workers"])
        return {name: function(job) for name, job in jobs.items()}

    monkeypatch.setattr(counting, "run_cases", run_here)
    if limit is not None:
        monkeypatch.setattr(counting, "POOL_VOXELS", limit)  # the cohort has 21
    cohort.run()
    assert asked == [workers] * 2  # to count, and to look through the worst


def test_people_see_a_table_a_summary_and_the_faults(cohort: Folders) -> None:
    cohort.add("d", truth=None, found="11")
    console = Console(record=True, width=140)
    cohort.run().show(console)
    text = console.export_text()
    row = next(line for line in text.splitlines() if "[red] cyst" in line)
    assert row.split()[-5:] == ["2", "2", "1", "1", "0"]
    assert "Mean Dice 0.676 [" in text
    assert "over 2 structures in 3 cases" in text
    assert "  d: " in text


def test_the_command_line_ends_with_0_1_or_2(
    cohort: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(cohort.predictions), str(cohort.labels), "-o", str(cohort.output)]

    def exit_code(*more: str) -> object:
        with pytest.raises(SystemExit) as left:
            main([*command, *more])
        return left.value.code

    assert exit_code("--seed", "3") == 0
    assert "Mean Dice 0.676" in capsys.readouterr().out
    assert exit_code("--set", "absent=never") == 2
    assert exit_code("--set", "structures={ghost=9}") == 1
    assert "nothing to score" in capsys.readouterr().err
    cohort.add("d", truth=None, found="11")
    assert exit_code() == 1
    assert len(cohort.metrics()["faults"]) == 1


def test_voxels_of_the_ignore_label_are_not_scored(folders: Folders) -> None:
    write_json(folders.labels.parent / "dataset.json", {"labels": {"liver": 1, "ignore": 3}})
    folders.add("a", truth="0110333", found="0110110")
    report = folders.run()
    assert report.dice == {"a": {"liver": 1.0}}
    assert report.unnamed == {}


def test_headers_of_label_maps_name_structures_where_nothing_else_does(folders: Folders) -> None:
    folders.add("a", truth="1112220", found="1112200")
    label = read_label(folders.labels / "a.nii.gz")
    path = folders.labels / "a.nii.gz"
    named = [LabelName(1, "liver", (0, 0, 0)), LabelName(3, "spleen", (0, 0, 0))]
    write_label(path, label.voxels, label.source, names=named)
    report = folders.run()
    assert list(report.structures) == ["liver"]
    assert list(report.unnamed) == [2]
    wrong = [LabelName(1, "spleen", (0, 0, 0))]
    write_label(folders.predictions / "a.nii.gz", label.voxels, label.source, names=wrong)
    with pytest.raises(DataError, match="1 = spleen; expected 1 = liver"):
        folders.run()
    folders.name_structures()
    assert list(folders.run().structures) == ["liver", "[red] cyst"]


@pytest.mark.parametrize("told_by", ["header", "record"])
def test_values_that_mean_other_structures_than_in_the_labels_are_not_scored(
    folders: Folders, told_by: str
) -> None:
    """Right predictions whose values are called otherwise had a Dice of 0 without a word."""
    folders.add("a", truth="1112220", found="2221110")
    folders.name_structures()
    called = {"[red] cyst": 1, "liver": 2}
    path = folders.predictions / "a.nii.gz"
    if told_by == "header":
        label = read_label(path)
        names = [LabelName(value, name, (0, 0, 0)) for name, value in called.items()]
        write_label(path, label.voxels, label.source, names=names)
    else:
        path = folders.predictions / "record.json"
        write_json(path, {"verb": "segment", "mass3d": "0.1", "structures": called})
    told = "says .* = [12]; expected .* = [12], as .* says"
    with pytest.raises(DataError, match=told) as caught:
        folders.run()
    assert (caught.value.where, caught.value.setting) == (str(path), "structures")
    assert folders.run(structures={"liver": 1}).dice == {"a": {"liver": 0.0}}


def called(folder: Path, structures: dict[str, int]) -> Path:
    """Say what the values of predictions are called, as `segment` does."""
    path = folder / "record.json"
    write_json(path, {"verb": "segment", "mass3d": "0.1", "structures": structures})
    return path


def test_values_with_two_names_are_told(folders: Folders) -> None:
    """They may be synonyms, or left scored as right: whoever reads the scores must know."""
    folders.add("a", truth="1112220", found="1112220")
    write_json(folders.labels / "dataset.json", {"labels": {"kidney_left": 1, "kidney_right": 2}})
    called(folders.predictions, {"right <kidney>": 1, "other one": 2})
    label = read_label(folders.labels / "a.nii.gz")
    named = [LabelName(1, "ren sinister", (0, 0, 0)), LabelName(2, "2", (0, 0, 0))]
    write_label(folders.labels / "a.nii.gz", label.voxels, label.source, names=named)
    report = folders.run()
    assert report.ok
    told = (
        "value 1 is `ren sinister` in headers of the labels and `kidney_left` in the labels",
        "value 1 is `right <kidney>` in the results and `kidney_left` in the labels",
        "value 2 is `other one` in the results and `kidney_right` in the labels",
    )
    assert report.warnings == told
    assert folders.metrics()["warnings"] == list(told)
    assert all(f"Warning: {sentence}." in report.summary() for sentence in told)
    page = (folders.output / "evaluate.html").read_text()
    assert "<li>value 1 is `right &lt;kidney&gt;` in the results and" in page
    assert folders.run(structures={"left": 1}).warnings == ()  # what is chosen is meant
    (folders.labels / "dataset.json").unlink()
    (one,) = folders.run().warnings
    assert one == "value 1 is `ren sinister` in the labels and `right <kidney>` in the results"


def test_many_values_with_two_names_do_not_fill_the_summary(folders: Folders) -> None:
    folders.add("a", truth="1112220", found="1112220")
    labels = {f"labelled {value:02}": value for value in range(1, 15)}
    write_json(folders.labels / "dataset.json", {"labels": labels})
    called(folders.predictions, {f"found {value:02}": value for value in range(1, 15)})
    report = folders.run()
    assert len(report.warnings) == 14
    assert "Warning: 4 more values have two names, as evaluate.html tells." in report.summary()
    assert "<li>value 14 is" in (folders.output / "evaluate.html").read_text()


@pytest.mark.parametrize("name", ["Kidney Left", "kidney-left", "kidneyLeft", "kidney_left"])
def test_spelling_makes_no_other_name(folders: Folders, name: str) -> None:
    folders.add("a", truth="1112220", found="1112220")
    write_json(folders.labels / "dataset.json", {"labels": {"kidney_left": 1, "kidney_right": 2}})
    path = called(folders.predictions, {name: 1})
    assert folders.run().warnings == ()
    assert folders.metrics()["warnings"] == []
    called(folders.predictions, {name: 2})
    if name == "kidneyLeft":
        assert len(folders.run().warnings) == 1
        return
    with pytest.raises(DataError, match=rf"{name} = 2; expected kidney_left = 1") as caught:
        folders.run()
    assert caught.value.where == str(path)


def test_equal_words_of_other_values_are_not_scored(folders: Folders) -> None:
    """The left kidney was scored as the right one; here also of predictions to compare with."""
    folders.add("a", truth="1112220", found="1112220")
    write_json(folders.labels / "dataset.json", {"labels": {"kidney_left": 1, "kidney_right": 2}})
    swapped = {"right kidney": 1, "left kidney": 2}
    called(folders.predictions, swapped)
    with pytest.raises(DataError, match="says right kidney = 1; expected kidney_right = 2"):
        folders.run()
    called(folders.predictions, {"left kidney": 1, "right kidney": 2})
    assert [one[:27] for one in folders.run().warnings] == [
        "value 1 is `left kidney` in",
        "value 2 is `right kidney` i",
    ]
    other = folders.root / "other"
    other.mkdir()
    write(other / "a.nii.gz", "1112220")
    called(other, swapped)
    with pytest.raises(DataError, match="says right kidney = 1; expected kidney_right = 2"):
        folders.run(against=other)
    called(other, {"a": 1})
    sentence = "value 1 is `a` in the other results and `kidney_left` in the labels"
    assert sentence in folders.run(against=other).warnings


# --- beside other predictions -------------------------------------------------------------------


@pytest.fixture
def two(cohort: Folders) -> Folders:
    """The cohort, and a second folder of predictions: a as good, b better, d of no label."""
    other = cohort.root / "other"
    other.mkdir()
    for case, voxels in {"a": "0111022", "b": "1111000", "d": "1"}.items():
        write(other / f"{case}.nii.gz", voxels)
    return cohort


def test_predictions_are_compared_case_by_case(two: Folders) -> None:
    report = two.run(against=two.root / "other")
    comparison = two.metrics()["comparison"]
    liver = comparison["metrics"]["dice"]["structures"]["liver"]
    assert liver["n"] == 2
    assert liver["difference"]["mean"] == pytest.approx((8 / 9 - 1) / 2, abs=1e-6)
    assert comparison["only_here"] == ["c"]
    assert comparison["metrics"]["dice"]["overall"]["n"] == 2
    assert [fault.where for fault in report.faults] == ["d"]  # of the other folder
    with (two.output / "comparison.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] == "dice"]
    effects = {(row["case"], row["structure"]): float(row["difference"]) for row in rows}
    assert effects["b", "liver"] == pytest.approx(8 / 9 - 1, abs=1e-6)
    assert effects["a", "[red] cyst"] == 0
    assert "liver & 2 & " in (two.output / "comparison.tex").read_text()
    page = (two.output / "evaluate.html").read_text()
    assert "found beside other" in page
    assert "beside other in 2 cases of both" in report.summary()
    two.run()
    assert "comparison" not in two.metrics()
    assert not (two.output / "comparison.csv").exists()
    assert not (two.output / "comparison.tex").exists()


def test_predictions_are_not_compared_with_themselves_or_with_labels(two: Folders) -> None:
    for setting, folder in (("predictions", two.predictions), ("labels", two.labels)):
        with pytest.raises(ConfigError, match=f"which is also the folder of {setting}"):
            two.run(against=folder)


def test_predictions_that_cannot_be_compared_are_told(two: Folders) -> None:
    other = two.root / "other"
    for case in "ab":
        (other / f"{case}.nii.gz").rename(other / f"{case}{case}.nii.gz")
    for file in {*other.iterdir()} - {other / "aa.nii.gz", other / "bb.nii.gz"}:
        file.unlink()
    with pytest.raises(ConfigError, match=r"cases such as [ab]{2}, none of which is in"):
        two.run(against=two.root / "other")
    assert not two.output.exists()


def test_a_tolerance_asks_for_surfaces(cohort: Folders) -> None:
    cohort.run(tolerance_mm=0.6)
    assert cohort.metrics()["tolerance_mm"] == 0.6
    assert "nsd" in cohort.metrics()["metrics"]
    cohort.run(surface=True)
    assert cohort.metrics()["tolerance_mm"] == 2.0
    cohort.run()
    assert cohort.metrics()["tolerance_mm"] is None
    table = (cohort.output / "scores.tex").read_text()
    assert "liver & 3 & $0.852$" in table
    assert "[red] cyst & 2 & $0.500$" in table


def test_a_broken_label_is_a_fault_of_its_case(cohort: Folders) -> None:
    (cohort.labels / "a.nii.gz").write_bytes(b"nothing that is read")
    report = cohort.run()
    assert [fault.where for fault in report.faults] == ["a"]
    assert list(report.dice) == ["b", "c"]


# --- regions -----------------------------------------------------------------------------------


def test_regions_are_scored_as_the_union_of_their_values(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.add("a", truth="0012233", found="0112230")
    folders.add("b", truth="0011000", found="0010000")
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "inner": 3}
    table = {"labels": labels, "regions_class_order": [1, 2, 3]}
    # not by write_json, which sorts the names
    (folders.labels.parent / "dataset.json").write_text(json.dumps(table))
    report = folders.run(surface=True)
    assert report.dice["a"]["whole"] == pytest.approx(2 * 4 / (5 + 5))
    assert report.dice["a"]["core"] == pytest.approx(2 * 3 / (4 + 3))
    assert report.dice["a"]["inner"] == pytest.approx(2 * 1 / (2 + 1))
    assert report.dice["b"] == {"whole": pytest.approx(2 / 3)}
    assert report.unnamed == {}
    assert report.scores["nsd"]["a"]["core"] > 0
    told = folders.metrics()
    assert told["regions"] == {"whole": [1, 2, 3], "core": [2, 3], "inner": [3]}
    wanted = {"core": [2, 3], "whole": [1, 2, 3]}
    chosen = folders.run(structures=wanted, output=tmp_path / "other").dice
    assert chosen["a"] == {name: report.dice["a"][name] for name in ("whole", "core")}
    with pytest.raises(ConfigError, match="whole and core overlap"):
        folders.run(structures={"whole": [1, 2], "core": [2, 3]})


def test_of_many_cases_only_the_worst_are_drawn(
    cohort: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort.run()
    shown = re.compile(r"data:image/jpeg[^\"']+")
    whole = shown.findall((cohort.output / "evaluate.html").read_text())
    assert len(whole) == 3
    drawn = []

    def counted_picture(*given: Any, **named: Any) -> Any:
        drawn.append(given)
        return compared_picture(*given, **named)

    monkeypatch.setattr(result_pictures, "compared_picture", counted_picture)
    for module in (evaluate, evaluate_page):
        monkeypatch.setattr(module, "MAX_PICTURES", 2)
    cohort.run()
    assert len(drawn) == 2
    assert shown.findall((cohort.output / "evaluate.html").read_text()) == whole[:2]  # worst first


def test_what_is_compared_with_is_not_drawn(
    cohort: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    usual = counting.count_case

    def watched(job: Any) -> Any:
        asked.append(job.draw is not None)
        return usual(job)

    monkeypatch.setattr(counting, "count_case", watched)
    shutil.copytree(cohort.predictions, cohort.root / "others")
    cohort.run(against=cohort.root / "others")
    assert asked == [True] * 3 + [False] * 3
