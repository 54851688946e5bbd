import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset

import dicoms
import helpers
import mass3d
from helpers import pretrain_config
from mass3d.apps import locate, pretrain, segment, task
from mass3d.errors import ConfigError, DataError, ModelError, OutputError
from mass3d.execution.summary import write_provenance
from mass3d.files import only_writer
from mass3d.io.datasets.label_names import label_colours, label_names
from mass3d.io.formats.label_table import LabelName
from mass3d.io.read import read_grid, read_label
from mass3d.io.write import write_label
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.results import CASES, VOLUMES, read_results
from mass3d.transfer.task_file import load_task
from mass3d.volume.volume import Volume

NAMES = ("ct_000", "mr_001")


def task_config(cohort: Path, trained: Path, output: Path, **changes: object) -> task.TaskConfig:
    return helpers.task_config(cohort, trained, output, *NAMES, **changes)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def task_file(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "organs.task"
    task.run(task_config(cohort, trained, path))
    return path


def segment_config(cohort: Path, task_file: Path, output: Path) -> segment.SegmentConfig:
    return segment.SegmentConfig(
        inputs=(cohort / "imagesTs",), task=task_file, output=output, device="cpu"
    )


def test_a_task_is_small_and_names_its_structures(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    report = task.run(task_config(cohort, trained, tmp_path / "organs.task"))
    names = json.loads((cohort / "dataset.json").read_text())["labels"]
    assert report.structures == {k: v for k, v in names.items() if v}
    assert report.references == NAMES
    assert report.path.stat().st_size < 300_000 * len(report.references)


def test_equal_references_give_equal_tasks(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    again = task.run(task_config(cohort, trained, tmp_path / "again.task"))
    moved = task.run(task_config(cohort, trained, task_file.parent / "moved.task"))
    assert moved.path.read_bytes() == task_file.read_bytes()
    assert again.structures == moved.structures


def test_chosen_structures_only(cohort: Path, trained: Path, tmp_path: Path) -> None:
    config = task_config(cohort, trained, tmp_path / "x.task", structures={"liver": 1})
    assert task.run(config).structures == {"liver": 1}


def test_values_without_a_name_are_told(cohort: Path, trained: Path, tmp_path: Path) -> None:
    config = task_config(cohort, trained, tmp_path / "x.task", structures={"a": 3}, tune=False)
    report = task.run(config)
    assert report.unnamed == (1, 2, 4)
    assert " Label values without a name are background: 1, 2, 4." in report.summary()
    record = json.loads((tmp_path / "x.task-record/record.json").read_text())
    assert record["unnamed_values"] == [1, 2, 4]


def test_references_of_two_datasets_mean_the_same_by_their_values(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(cohort / "labelsTr", tmp_path / "other" / "labelsTr")
    (tmp_path / "other/dataset.json").write_text('{"labels": {"background": 0, "liver": 2}}')
    labels = [cohort / "labelsTr" / f"{NAMES[0]}.nii.gz", other / f"{NAMES[1]}.nii.gz"]
    with pytest.raises(DataError, match=r"other/dataset.json: found liver = 2; expected liver = 1"):
        task.run(task_config(cohort, trained, tmp_path / "x.task", labels=labels))


def test_results_name_their_values_and_a_task_made_of_them_takes_the_names(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    segment.run(segment_config(cohort, task_file, tmp_path / "out"))
    names = load_task(task_file).structures
    for found in (tmp_path / "out").glob("*.nii.gz"):
        assert label_names(found) == names
    label = read_label(cohort / "labelsTr" / f"{NAMES[0]}.nii.gz")
    seen = {int(value) for value in np.unique(label.voxels)} - {0}
    named = [LabelName(value, f"organ {value}", (1, 2, 3)) for value in (*seen, 99)]
    write_label(tmp_path / "a.nii.gz", label.voxels, label.source, names=named[1:])
    one = {"images": [cohort / "imagesTr" / f"{NAMES[0]}_0000.nii.gz"], "tune": False}
    one["labels"] = [tmp_path / "a.nii.gz"]
    report = task.run(task_config(cohort, trained, tmp_path / "x.task", **one))
    assert report.structures == {f"organ {value}": value for value in sorted(seen)[1:]}
    assert report.unnamed == (min(seen),)


def test_colours_of_the_labels_or_chosen_ones_are_those_of_the_results(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    label = read_label(cohort / "labelsTr" / f"{NAMES[0]}.nii.gz")
    seen = sorted({int(value) for value in np.unique(label.voxels)} - {0})
    headers = {value: (value, 2 * value, 3) for value in seen}
    named = [LabelName(value, f"organ {value}", headers[value]) for value in seen]
    write_label(tmp_path / "a.nii.gz", label.voxels, label.source, names=named)
    one = {"images": [cohort / "imagesTr" / f"{NAMES[0]}_0000.nii.gz"], "tune": False}
    one["labels"] = [tmp_path / "a.nii.gz"]
    chosen = {**one, "colours": {named[0].name: "#dD8265"}}
    made = task.run(task_config(cohort, trained, tmp_path / "x.task", **chosen)).path
    colours = {**headers, seen[0]: (0xDD, 0x82, 0x65)}
    assert load_task(made).targets.colours == colours
    segment.run(segment_config(cohort, made, tmp_path / "out"))
    for found in (tmp_path / "out").glob("*.nii.gz"):
        assert label_colours([found], seen) == colours
    assert (
        'class="swatch" style="background:#dd8265"' in (tmp_path / "out/segment.html").read_text()
    )
    wrong = {**one, "colours": {"lung": "#000000"}}
    with pytest.raises(ConfigError, match="found a colour of lung; expected colours of organ"):
        task.run(task_config(cohort, trained, tmp_path / "y.task", **wrong))


def test_label_maps_are_no_scans_unless_that_is_asked_for(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    label = cohort / "labelsTr" / f"{NAMES[0]}.nii.gz"
    with pytest.raises(DataError, match="different values, all whole numbers") as caught:
        task.run(task_config(cohort, trained, tmp_path / "x", images=[label], labels=[label]))
    assert (caught.value.where, caught.value.setting) == (str(label), "label_maps")
    config = segment_config(cohort, task_file, tmp_path / "out")
    report = segment.run(config.model_copy(update={"inputs": (label,)}))
    assert "different values, all whole numbers" in report.faults[0].message
    report = segment.run(config.model_copy(update={"inputs": (label,), "label_maps": True}))
    assert report.ok
    places = locate.run(
        locate.LocateConfig(inputs=(label,), task=task_file, output=tmp_path / "at", device="cpu")
    )
    assert "different values, all whole numbers" in places.faults[0].message


def mr_task(cohort: Path, trained: Path, output: Path) -> None:
    """A task of a single reference, without tuning."""
    one = {"images": [cohort / f"imagesTr/{NAMES[1]}_0000.nii.gz"]}
    one["labels"] = [cohort / f"labelsTr/{NAMES[1]}.nii.gz"]
    task.run(task_config(cohort, trained, output, tune=False, **one))


def test_a_ct_to_a_task_made_on_mr_and_a_ct_not_in_hu_are_told(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    mr_task(cohort, trained, tmp_path / "mr.task")
    image = nib.load(cohort / f"imagesTr/{NAMES[0]}_0000.nii.gz")
    shifted = nib.Nifti1Image((image.get_fdata() + 1024).astype(np.int16), image.affine)
    nib.save(shifted, tmp_path / "ct_x.nii.gz")
    report = segment.run(
        segment.SegmentConfig(
            inputs=(tmp_path / "ct_x.nii.gz",),
            task=tmp_path / "mr.task",
            model=trained,
            output=tmp_path / "out",
            device="cpu",
        )
    )
    told = (
        "ct_x: CT that looks shifted: HU plus 1024, with air at 0",
        "ct_x: it looks like CT, and the task was made on MR",
    )
    assert report.warnings[:2] == told
    assert f"Warning: {told[1]}." in report.summary()
    entry = json.loads((tmp_path / "out/cases.json").read_text())["cases"]["ct_x"]
    assert entry["doubts"] == ["CT that looks shifted: HU plus 1024, with air at 0", told[1][6:]]


def test_what_is_odd_is_told_once_and_before_the_work(
    cohort: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mr.task"
    mr_task(cohort, trained, path)
    scans = tuple(sorted(cohort.glob("images*/ct*.nii.gz")))[:2]
    first = scans[0].name.split("_0000")[0]
    sentence = "it looks like CT, and the task was made on MR"
    for verb, work in (("segment", segment), ("locate", locate)):
        capsys.readouterr()
        config = getattr(work, f"{verb.title()}Config")(
            inputs=scans, task=path, model=trained, output=tmp_path / verb, device="cpu"
        )
        report = work.run(config)
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if sentence in line] == [f"{first}: {sentence}"]
        assert lines[0] == f"{first}: {sentence}"
        assert any(line.startswith(f"{verb} 1/2") for line in lines)
        assert sentence in report.summary()
    told = json.loads((tmp_path / "locate" / locate.FILE).read_text())["doubts"]
    assert told == {scan.name.split("_0000")[0]: [sentence] for scan in scans}


def test_a_scan_and_volumes_far_from_the_references_are_told(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    image = nib.load(next((cohort / "imagesTs").glob("ct*.nii.gz")))
    affine = image.affine @ np.diag([4, 4, 4, 1])  # four times as large
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "ct_long.nii.gz")
    config = segment_config(cohort, task_file, tmp_path / "out")
    report = segment.run(config.model_copy(update={"inputs": (tmp_path / "ct_long.nii.gz",)}))
    entry = read_results(tmp_path / "out").cases["ct_long"]
    assert any("mm from foot to head, and the task was made on" in one for one in entry.doubts)
    ranges = load_task(task_file).ranges
    assert ranges is not None
    assert set(entry.odd_volumes) == set(ranges.odd_volumes(entry.volumes_ml))
    assert entry.odd_volumes
    for doubt in entry.doubts:
        assert f"ct_long: {doubt}" in report.warnings


def test_a_task_knows_what_its_references_are_like(cohort: Path, task_file: Path) -> None:
    task = load_task(task_file)
    assert task.ranges is not None
    assert task.ranges.modalities == ("ct", "mr")
    labels = [read_label(cohort / "labelsTr" / f"{name}.nii.gz") for name in NAMES]
    for name, value in task.structures.items():
        shown = [float((one.voxels == value).sum() * one.grid.voxel_ml) for one in labels]
        low, high = task.ranges.volumes_ml[name]
        assert (low, high) == pytest.approx((min(filter(None, shown)), max(shown)), abs=1e-3)


def test_agreement_of_two_references_is_told_by_structure(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    names = ("ct_000", "ct_002")
    two = {"images": [cohort / f"imagesTr/{name}_0000.nii.gz" for name in names]}
    two["labels"] = [cohort / f"labelsTr/{name}.nii.gz" for name in names]
    path = tmp_path / "two.task"
    task.run(task_config(cohort, trained, path, tune=False, **two))
    config = segment_config(cohort, path, tmp_path / "out")
    scan = next((cohort / "imagesTs").glob("ct*.nii.gz"))
    segment.run(config.model_copy(update={"inputs": (scan,), "model": trained}))
    (entry,) = read_results(tmp_path / "out").cases.values()
    assert 0.3 < entry.agreement["liver"] < 1
    assert entry.agreement.keys() <= set(load_task(path).structures)
    with (tmp_path / "out" / VOLUMES).open(newline="", encoding="utf-8") as stream:
        rows = {row["structure"]: row for row in csv.DictReader(stream)}
    assert rows["liver"]["agreement"] == str(entry.agreement["liver"])
    assert rows["liver"]["expected_dice"] == str(entry.expected_dice["liver"])
    assert 0.5 < entry.expected_dice["liver"] < 1


def test_the_volumes_are_a_table_too_and_the_record_names_the_structures(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    report = segment.run(segment_config(cohort, task_file, tmp_path))
    with (tmp_path / VOLUMES).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    found = {(row["case"], row["structure"]): float(row["ml"]) for row in rows}
    assert found == {
        (case, name): ml for case, ml_of in report.volumes_ml.items() for name, ml in ml_of.items()
    }
    named = json.loads((tmp_path / "record.json").read_text())["structures"]
    assert named == dict(load_task(task_file).structures)


def test_a_structure_in_no_reference_is_refused(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    config = task_config(cohort, trained, tmp_path / "x.task", structures={"spleen": 77})
    with pytest.raises(DataError, match="no voxel of spleen"):
        task.run(config)


def test_images_and_labels_come_in_pairs(cohort: Path, trained: Path, tmp_path: Path) -> None:
    config = task_config(cohort, trained, tmp_path / "x.task", labels=[tmp_path / "one.nii.gz"])
    with pytest.raises(ConfigError, match="2 images and 1 labels"):
        task.run(config)


def test_a_label_on_another_grid_is_refused(cohort: Path, trained: Path, tmp_path: Path) -> None:
    labels = [cohort / "labelsTr" / f"{name}.nii.gz" for name in reversed(NAMES)]
    with pytest.raises(DataError, match="grid"):
        task.run(task_config(cohort, trained, tmp_path / "x.task", labels=labels))


def test_results_lie_exactly_on_the_grid_of_each_scan(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    report = segment.run(segment_config(cohort, task_file, tmp_path))
    assert report.ok
    for source in sorted((cohort / "imagesTs").iterdir()):
        name = source.name.replace("_0000", "")
        image, result = nib.load(source), nib.load(tmp_path / name)
        assert result.shape == image.shape
        np.testing.assert_array_equal(result.affine, image.affine)
        assert set(np.unique(np.asarray(result.dataobj))) <= {0, 1, 2, 3, 4}


def test_volumes_in_memory_give_what_files_give(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    segment.run(segment_config(cohort, task_file, tmp_path))
    source = sorted((cohort / "imagesTs").iterdir())[0]
    image = nib.load(source)
    found = mass3d.load(trained, device="cpu").segment(
        Volume.from_file_order(np.asarray(image.dataobj), image.affine, path=source),
        load_task(task_file),
    )
    written = read_label(tmp_path / source.name.replace("_0000", ""))
    np.testing.assert_array_equal(found.voxels, written.voxels)


def test_results_do_not_depend_on_the_axis_order_of_the_file(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    source = sorted((cohort / "imagesTs").iterdir())[0]
    image = nib.load(source)
    turned = image.as_reoriented(np.array([[2, 1], [0, -1], [1, -1]]))  # the origin moves along
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "ct_a.nii.gz")
    nib.save(turned, tmp_path / "in" / "ct_b.nii.gz")
    config = segment.SegmentConfig(
        inputs=(tmp_path / "in",), task=task_file, output=tmp_path / "out", device="cpu"
    )
    assert segment.run(config).ok
    a, b = (
        nib.as_closest_canonical(nib.load(tmp_path / "out" / f"ct_{name}.nii.gz")) for name in "ab"
    )
    np.testing.assert_array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))


def test_a_dicom_series_is_segmented_on_its_own_grid(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    def grey(ds: Dataset, _: int) -> None:
        ds.PixelSpacing = [5, 5]

    dicoms.series(tmp_path / "in/p1", [5.0 * k for k in range(6)], change=grey)
    config = segment.SegmentConfig(
        inputs=(tmp_path / "in",), task=task_file, output=tmp_path / "out", device="cpu"
    )
    report = segment.run(config)
    assert report.ok
    assert list(report.volumes_ml) == ["p1"]
    grid = read_grid(tmp_path / "out" / "p1.nii.gz").grid
    np.testing.assert_allclose(grid.affine, read_grid(tmp_path / "in/p1").grid.affine, atol=1e-5)
    assert grid.shape == read_grid(tmp_path / "in/p1").grid.shape


def test_finished_cases_are_not_done_again_and_lost_ones_are(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    config = segment_config(cohort, task_file, tmp_path)
    whole = segment.run(config)
    first, second = sorted(tmp_path.glob("*.nii.gz"))
    content, stamp = first.read_bytes(), second.stat().st_mtime_ns
    first.unlink()
    assert segment.run(config).volumes_ml == whole.volumes_ml
    assert first.read_bytes() == content
    assert second.stat().st_mtime_ns == stamp


def test_results_within_the_folder_of_scans_are_no_scans_the_second_time(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    scan = next((cohort / "imagesTs").glob("*.nii.gz"))
    shutil.copy(scan, tmp_path / "a.nii.gz")
    config = segment_config(cohort, task_file, tmp_path / "out").model_copy(
        update={"inputs": (tmp_path,)}
    )
    for _ in range(2):
        report = segment.run(config)
        assert report.ok
        assert list(report.volumes_ml) == ["a"]


def test_an_unreadable_scan_is_a_fault_and_the_others_go_on(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(cohort / "imagesTs", tmp_path / "in")
    (tmp_path / "in" / "aaa_0000.nii.gz").write_bytes(b"not a scan")
    config = segment.SegmentConfig(
        inputs=(tmp_path / "in",), task=task_file, output=tmp_path / "out", device="cpu"
    )
    report = segment.run(config)
    assert [fault.where for fault in report.faults] == ["aaa"]
    assert not report.ok
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_a_task_of_another_model_is_refused(
    cohort: Path, store: Path, task_file: Path, tmp_path: Path
) -> None:
    pretrain.run(pretrain_config(store, tmp_path / "other", seed=5))
    config = segment_config(cohort, task_file, tmp_path / "out")
    told = r"made by the model \w+… \(the same network and preparation, but other weights: seed 0"
    with pytest.raises(ModelError, match=told):
        segment.run(config.model_copy(update={"model": tmp_path / "other"}))


def test_results_of_another_task_are_not_mixed_in(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    segment.run(segment_config(cohort, task_file, tmp_path / "out"))
    task.run(task_config(cohort, trained, tmp_path / "x.task", structures={"liver": 1}))
    with pytest.raises(ConfigError, match="another task"):
        segment.run(segment_config(cohort, tmp_path / "x.task", tmp_path / "out"))


def test_results_of_another_overlap_are_not_kept(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    config = segment_config(cohort, task_file, tmp_path / "out")
    segment.run(config)
    before = contents(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"overlap = 0\.5; expected .* overlap = 0\.25"):
        segment.run(config.model_copy(update={"overlap": 0.25}))
    assert contents(tmp_path / "out") == before


def test_a_damaged_result_is_made_again_and_a_corrected_one_is_left_alone(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    config = segment_config(cohort, task_file, tmp_path)
    segment.run(config)
    first, second = sorted(tmp_path.glob("*.nii.gz"))
    content = first.read_bytes()
    first.write_bytes(b"")
    image = nib.load(second)
    corrected = nib.Nifti1Image(np.asarray(image.dataobj) * 0 + 1, image.affine)
    nib.save(corrected, second)
    by_hand = second.read_bytes()
    report = segment.run(config)
    assert first.read_bytes() == content
    assert second.read_bytes() == by_hand
    (fault,) = report.faults
    assert "not as mass3d wrote it" in fault.message
    second.unlink()
    assert segment.run(config).ok


def test_a_scan_that_has_changed_is_segmented_again(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    scan = next((cohort / "imagesTs").glob("ct*.nii.gz"))
    (tmp_path / "in").mkdir()
    shutil.copy(scan, tmp_path / "in" / "ct_a.nii.gz")
    config = segment_config(cohort, task_file, tmp_path / "out").model_copy(
        update={"inputs": (tmp_path / "in",)}
    )
    segment.run(config)
    image = nib.load(scan)
    flipped = nib.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine)
    nib.save(flipped, tmp_path / "in" / "ct_a.nii.gz")
    before = (tmp_path / "out" / CASES).read_bytes()
    assert segment.run(config).ok
    assert (tmp_path / "out" / CASES).read_bytes() != before
    (tmp_path / "in" / "ct_a.nii.gz").write_bytes(b"not a scan any more")
    report = segment.run(config)
    assert [fault.where for fault in report.faults] == ["ct_a"]
    assert report.volumes_ml == {}
    left = [path.name for path in (tmp_path / "out").rglob("ct_a*")]
    assert left == []  # of the scan as it was before


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", "[" * 100_000, '{"cases": 3}', '{"task": "x", "overlap": []}']
)
def test_a_damaged_list_of_results_is_told(
    cohort: Path, task_file: Path, tmp_path: Path, damage: str
) -> None:
    write_provenance(tmp_path, "segment", segment_config(cohort, task_file, tmp_path))
    (tmp_path / CASES).write_text(damage)
    with pytest.raises(DataError, match="a damaged list of results"):
        segment.run(segment_config(cohort, task_file, tmp_path))


def test_one_process_at_a_time_segments_into_a_folder(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    with (
        only_writer(tmp_path, OutputError),
        pytest.raises(OutputError, match="another mass3d process"),
    ):
        segment.run(segment_config(cohort, task_file, tmp_path))


def test_nothing_that_was_given_is_replaced(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    for part in ("imagesTs", "labelsTs"):
        shutil.copytree(cohort / part, tmp_path / part)
    shutil.copytree(trained, tmp_path / "run")
    scans = sorted((tmp_path / "imagesTs").iterdir())
    before = contents(tmp_path)
    for inputs, output in (
        ((tmp_path / "imagesTs",), tmp_path / "imagesTs"),
        (scans, tmp_path / "imagesTs"),
        (scans, tmp_path),
        (scans, tmp_path / "labelsTs"),
        (scans, tmp_path / "run"),
    ):
        config = segment_config(cohort, task_file, output)
        with pytest.raises(ConfigError) as caught:
            segment.run(config.model_copy(update={"inputs": tuple(inputs)}))
        assert caught.value.setting == "output"
    for output in (scans[0], tmp_path / "run" / WEIGHTS, tmp_path / "run", task_file.parent):
        changes = {"images": scans, "labels": scans, "model": tmp_path / "run"}
        with pytest.raises(ConfigError) as caught:
            task.run(task_config(cohort, trained, output, **changes))
        assert caught.value.setting == "output"
    assert contents(tmp_path) == before


def test_a_structure_that_no_scan_shows_is_told(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    report = segment.run(segment_config(cohort, task_file, tmp_path))
    missing = [
        name
        for name in load_task(task_file).structures
        if not any(found[name] for found in report.volumes_ml.values())
    ]
    assert report.warnings == tuple(f"{name} was found in none of 2 scans" for name in missing)
    assert all(warning in report.summary() for warning in report.warnings)


def test_a_moved_model_asks_where_it_is(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "far" / "away" / "moved.task"  # where the way to the run leads nowhere
    moved.parent.mkdir(parents=True)
    shutil.copy(task_file, moved)
    config = segment_config(cohort, moved, tmp_path / "out")
    with pytest.raises(ModelError, match="Say where it is now"):
        segment.run(config)
    assert segment.run(config.model_copy(update={"model": trained})).ok


def test_a_tampered_model_is_refused(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    content = bytearray((trained / WEIGHTS).read_bytes())
    content[-3] ^= 255
    (tmp_path / WEIGHTS).write_bytes(content)
    config = segment_config(cohort, task_file, tmp_path / "out")
    with pytest.raises(ModelError, match="differs from what the file was written with"):
        segment.run(config.model_copy(update={"model": tmp_path}))


def test_a_task_says_how_well_its_references_know_each_other(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    report = task.run(task_config(cohort, trained, tmp_path / "x.task"))
    assert list(report.dice) == list(report.structures)
    for dice in report.dice.values():
        assert dice.itself
        assert dice.others is not None
        assert dice.affine is not None
    recorded = json.loads((tmp_path / "x.task-record" / "record.json").read_text())["dice"]
    assert recorded["liver"]["itself"] == report.dice["liver"].itself
    for name in report.structures:
        assert f"  {name}" in report.summary()


def test_a_task_that_registrations_beat_says_so(tmp_path: Path) -> None:
    dice = {"a": task.TaskDice(0.9, 0.5, 0.6), "b": task.TaskDice(0.9, None, None)}
    report = task.TaskReport(tmp_path, {"a": 1, "b": 2}, NAMES, "", dice)
    lines = report.summary().splitlines()
    assert lines[2].endswith("no better than an affine registration")
    assert not lines[3].endswith("registration")
    alone = task.TaskReport(tmp_path, {"b": 2}, NAMES[:1], "", {"b": dice["b"]})
    assert "cannot be reproduced" in alone.summary()


def test_tuning_can_be_left_out(cohort: Path, trained: Path, tmp_path: Path) -> None:
    task.run(task_config(cohort, trained, tmp_path / "x.task", tune=False))
    part = load_task(tmp_path / "x.task").oneshot
    assert part
    assert [scan.head for scan in part.scans] == [None, None]
    assert [scan.modality for scan in part.scans] == ["ct", "mr"]


def test_maps_of_the_network_can_be_shown_to_heads(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    config = task_config(cohort, trained, tmp_path / "x.task")
    shown = config.model_copy(update={"tuning": config.tuning.model_copy(update={"network": True})})
    task.run(shown)
    part = load_task(tmp_path / "x.task").oneshot
    assert part
    assert all(scan.head and scan.head.network for scan in part.scans)
    assert segment.run(segment_config(cohort, tmp_path / "x.task", tmp_path / "out")).ok


def test_a_case_says_how_it_was_segmented(cohort: Path, task_file: Path, tmp_path: Path) -> None:
    report = segment.run(segment_config(cohort, task_file, tmp_path))
    cases = json.loads((tmp_path / CASES).read_text())["cases"]
    assert {case["method"] for case in cases.values()} == {"alignment"}
    assert all(len(case["similarity"]) == 2 for case in cases.values())
    assert not report.not_aligned


def test_the_network_answers_alone_where_it_is_asked_to_or_nothing_is_alike(
    cohort: Path, task_file: Path, tmp_path: Path
) -> None:
    config = segment_config(cohort, task_file, tmp_path / "a")
    report = segment.run(config.model_copy(update={"alignment": False}))
    assert report.ok
    assert not report.not_aligned
    cases = json.loads((tmp_path / "a" / CASES).read_text())["cases"]
    assert {case["method"] for case in cases.values()} == {"network"}
    noise = np.random.default_rng(0).normal(size=(60, 50, 40)).astype(np.float32) * 100
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(noise, np.diag([5.0, 5, 5, 1])), tmp_path / "in" / "ct_noise.nii.gz")
    config = segment.SegmentConfig(
        inputs=(tmp_path / "in",), task=task_file, output=tmp_path / "b", device="cpu"
    )
    report = segment.run(config)
    assert report.not_aligned == ("ct_noise",)
    assert "No reference could be aligned to ct_noise" in report.summary()


def test_what_a_task_will_not_have_is_told_before_the_tuning(
    cohort: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scan under two names, voxels that nobody annotated, structures smaller than voxels."""
    data = helpers.renamed(cohort, tmp_path / "data", helpers.ignore_gallbladder)
    for folder, end in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        shutil.copy(data / folder / f"ct_000{end}", data / folder / f"copy{end}")
    config = helpers.task_config(
        data, trained, tmp_path / "x.task", "ct_000", "copy", "mr_001", tune=False
    )
    same, ignored, lost = task.run(config).warnings
    assert same.startswith("copy is the same scan as ct_000: it counts twice")
    assert ignored == (
        "4 is nnU-Net's ignore label, and 3 label maps have voxels of it: a task takes them as "
        "background"
    )
    assert "the model works with 7 mm: what is smaller is lost; the labels, brought" in lost
    told = capsys.readouterr().err
    assert all(f"Warning: {one}." in told for one in (same, ignored, lost))


def test_a_prior_that_is_only_resampled_and_one_of_other_values_are_told(
    cohort: Path, trained: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.task"
    task.run(task_config(cohort, trained, plain, tune=False))
    priors = shutil.copytree(cohort / "labelsTs", tmp_path / "priors")
    wrong = priors / "ct_test_000.nii.gz"
    label = read_label(wrong)
    write_label(wrong, (label.voxels == 1) * np.uint16(6), label.source)
    config = segment_config(cohort, plain, tmp_path / "out").model_copy(update={"prior": priors})
    report = segment.run(config)
    (fault,) = report.faults
    assert fault.where == "ct_test_000"
    assert "a prior with the values 6; expected values of the task: 1 (liver)" in fault.message
    told = "mr_test_001: the task has no tuned heads, and the scan is mr: the prior came back"
    assert any(told in one for one in report.warnings)


def test_a_prior_takes_the_place_of_what_is_carried_over(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.task"
    task.run(task_config(cohort, trained, plain, tune=False))
    config = segment_config(cohort, plain, tmp_path / "out").model_copy(
        update={"prior": cohort / "labelsTs"}
    )
    assert segment.run(config).ok
    for path in sorted((tmp_path / "out").glob("*.nii.gz")):
        found, given = read_label(path).voxels, read_label(cohort / "labelsTs" / path.name).voxels
        both = 2 * ((found == 1) & (given == 1)).sum() / ((found == 1).sum() + (given == 1).sum())
        assert both > 0.9  # the grid of the network is coarse
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").glob("*.nii.gz"))]
    segment.run(config)
    assert [p.stat().st_mtime_ns for p in sorted((tmp_path / "out").glob("*.nii.gz"))] == stamps
    segment.run(config.model_copy(update={"prior": None}))
    assert [p.stat().st_mtime_ns for p in sorted((tmp_path / "out").glob("*.nii.gz"))] != stamps


def test_priors_must_be_there_for_every_scan(cohort: Path, task_file: Path, tmp_path: Path) -> None:
    config = segment_config(cohort, task_file, tmp_path / "out")
    report = segment.run(config.model_copy(update={"prior": cohort / "labelsTr"}))
    assert len(report.faults) == 2
    assert "no label map of the case" in report.faults[0].message
    one = next((cohort / "labelsTs").iterdir())
    with pytest.raises(ConfigError, match="one label map for 2 scans"):
        segment.run(config.model_copy(update={"prior": one, "output": tmp_path / "one"}))


def test_structures_are_located(cohort: Path, task_file: Path, tmp_path: Path) -> None:
    config = locate.LocateConfig(
        inputs=(cohort / "imagesTs",), task=task_file, output=tmp_path, device="cpu"
    )
    report = locate.run(config)
    assert report.ok
    told = json.loads((tmp_path / locate.FILE).read_text())["cases"]
    rows = (tmp_path / locate.TABLE).read_text().splitlines()
    assert len(rows) == 1 + len(told) * 4
    for case, places in told.items():
        image = nib.load(cohort / "labelsTs" / f"{case}.nii.gz")
        liver = np.argwhere(np.asarray(image.dataobj) == 1)
        middle = liver.mean(0)
        (first, stop), (low, high) = places["liver"]["box_vox"], places["liver"]["box_mm"]
        assert (np.array(first) < middle).all()
        assert (middle < np.array(stop)).all()
        world = image.affine[:3, :3] @ middle + image.affine[:3, 3]
        assert (np.array(low) < world).all()
        assert (world < np.array(high)).all()
        assert (np.array(stop) <= image.shape).all()
        assert 0 < places["liver"]["confidence"] <= 1


def test_a_scan_that_cannot_be_read_is_not_located(task_file: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.nii.gz").write_bytes(b"not a scan")
    config = locate.LocateConfig(
        inputs=(tmp_path / "in",), task=task_file, output=tmp_path / "out", device="cpu"
    )
    report = locate.run(config)
    assert [fault.where for fault in report.faults] == ["x"]
    assert "0 scans" in report.summary()
