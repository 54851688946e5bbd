"""What each layout of datasets is read as: cases, their labels, and what is left out and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

import dicoms
from mass3d.errors import DataError
from mass3d.io.datasets.cohort import Cohort, find_cohort
from mass3d.io.datasets.dataset_json import read_targets_in

PAIRED = "a label of a scan"
UNPAIRED = "a label of no scan that was found"
FURTHER = "a further label of a scan that has one"
NO_IMAGE = "no image by name and content"


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("scan", "label"),
    [
        ("volume-17.nii", "segmentation-17.nii"),  # LiTS
        ("case_00004/imaging.nii.gz", "case_00004/instances/kidney_instance-1_annotation-2.nii.gz"),
        ("p3.nii", "Lung_Mask/p3.nii"),
        ("p3.nii", "seg_p3.nii"),
        ("p3.nii", "mask-p3.nii.gz"),
        ("p3.nii", "organ labels/p3.nii"),
    ],
)
def test_labels_of_known_datasets_are_no_scans(tmp_path: Path, scan: str, label: str) -> None:
    for name in (scan, label, "other/volume-9.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_cohort([tmp_path])
    assert {case.path for case in found.cases} == {tmp_path / scan, tmp_path / "other/volume-9.nii"}
    assert [entry.path for entry in found.left_out] == [tmp_path / label]


def dataset_json(folder: Path, **content: object) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "dataset.json").write_text(json.dumps(content))


def labels_of(cohort: Cohort, root: Path) -> dict[str, list[str]]:
    """Case -> the files of its label."""
    return {
        case.case_id: [str(path.relative_to(root)) for path in case.label.paths]
        if case.label
        else []
        for case in cohort.cases
    }


def reasons(cohort: Cohort, root: Path) -> dict[str, tuple[str, int]]:
    return {
        str(entry.path.relative_to(root)): (entry.reason, entry.files) for entry in cohort.left_out
    }


def structures(cohort: Cohort, case_id: str) -> Mapping[str, int] | None:
    (label,) = [case.label for case in cohort.cases if case.case_id == case_id]
    assert label is not None
    if label.names:
        return {name: number for number, name in enumerate(label.names, start=1)}
    return read_targets_in(label.table).values if label.table else None


# --- nnU-Net and the decathlon --------------------------------------------------------------


def nnunet(folder: Path) -> Path:
    dataset_json(folder, channel_names={"0": "CT"}, labels={"background": 0, "liver": 1})
    return tree(
        folder,
        "imagesTr/a_0000.nii.gz",
        "imagesTr/b_0000.nii.gz",
        "imagesTs/c_0000.nii.gz",
        "imagesVal/d_0000.nii.gz",
        "labelsTr/a.nii.gz",
        "labelsTr/b.nii.gz",
        "labelsTs/c.nii.gz",
    )


def test_a_raw_dataset_of_nnunet_gives_its_images_with_their_labels(tmp_path: Path) -> None:
    cohort = find_cohort([nnunet(tmp_path)])
    assert labels_of(cohort, tmp_path) == {
        "a": ["labelsTr/a.nii.gz"],
        "b": ["labelsTr/b.nii.gz"],
        "c": ["labelsTs/c.nii.gz"],
        "d": [],
    }
    assert structures(cohort, "a") == {"liver": 1}
    assert reasons(cohort, tmp_path) == {
        "dataset.json": (NO_IMAGE, 1),
        "labelsTr/a.nii.gz": (PAIRED, 2),
        "labelsTs/c.nii.gz": (PAIRED, 1),
    }


def test_a_dataset_below_the_root_is_named_by_its_way(tmp_path: Path) -> None:
    nnunet(tmp_path / "raw" / "Dataset001 Liver")
    nnunet(tmp_path / "raw" / "Dataset002")
    ids = [case.case_id for case in find_cohort([tmp_path]).cases]
    assert ids == [f"raw_{name}_{c}" for name in ("Dataset001-Liver", "Dataset002") for c in "abcd"]


def test_ids_and_labels_do_not_depend_on_what_else_is_there(tmp_path: Path) -> None:
    nnunet(tmp_path / "one")
    before = set(find_cohort([tmp_path]).cases)
    nnunet(tmp_path / "two")
    tree(tmp_path, "one/imagesTr/a_0001.nii.gz", "x.nii", "imagesTr/a.nii", "one/p/CT.nii")
    assert before <= set(find_cohort([tmp_path]).cases)


def test_a_folder_of_images_that_is_given_itself_has_the_labels_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nnunet(tmp_path)
    expected = {"a": ["labelsTr/a.nii.gz"], "b": ["labelsTr/b.nii.gz"]}
    cohort = find_cohort([tmp_path / "imagesTr"])
    assert labels_of(cohort, tmp_path) == expected
    assert cohort.left_out == ()  # the labels were not in the folder that was searched
    monkeypatch.chdir(tmp_path / "imagesTr")
    assert labels_of(find_cohort([Path()]), tmp_path) == expected
    twice = find_cohort([tmp_path / "imagesTr", tmp_path])
    assert labels_of(twice, tmp_path).items() >= expected.items()
    assert FURTHER not in {entry.reason for entry in twice.left_out}


def test_a_folder_of_labels_that_is_given_itself_holds_scans(tmp_path: Path) -> None:
    """Whoever points at it means it; looking into it is what inspect is for."""
    nnunet(tmp_path)
    assert labels_of(find_cohort([tmp_path / "labelsTr"]), tmp_path) == {"a": [], "b": []}


def test_every_channel_is_a_case_with_the_name_of_the_channel(tmp_path: Path) -> None:
    dataset_json(tmp_path, channel_names={"0": "T1w", "1": "T2 FLAIR"}, labels={"tumour": 1})
    names = [f"imagesTr/{case}_000{number}.nii.gz" for case in "ab" for number in range(3)]
    tree(tmp_path, *names, "labelsTr/a.nii.gz")
    assert labels_of(find_cohort([tmp_path]), tmp_path) == {
        "a_T1w": ["labelsTr/a.nii.gz"],
        "a_T2-FLAIR": ["labelsTr/a.nii.gz"],
        "a_0002": ["labelsTr/a.nii.gz"],  # dataset.json does not name it
        "b_T1w": [],
        "b_T2-FLAIR": [],
        "b_0002": [],
    }
    one_by_one = [tmp_path / name for name in names[:3]]
    ids = [case.case_id for case in find_cohort(one_by_one).cases]
    assert ids == ["a", "a_0001", "a_0002"]  # named by their files alone


@pytest.mark.parametrize("channels", [{"0": "MR", "1": "mr"}, {"0": "", "1": "?"}, {}])
def test_channels_without_names_of_their_own_are_numbered(
    tmp_path: Path, channels: dict[str, str]
) -> None:
    dataset_json(tmp_path, channel_names=channels)
    tree(tmp_path, "imagesTr/a_0000.nii", "imagesTr/a_0001.nii")
    ids = [case.case_id for case in find_cohort([tmp_path]).cases]
    assert ids in (["a_0000", "a_0001"], ["a", "a_0001"])


def test_a_number_that_is_no_channel_stays_in_the_name(tmp_path: Path) -> None:
    """Only in imagesTr, imagesTs and imagesVal do four digits mean a channel."""
    dataset_json(tmp_path, channel_names={"0": "A", "1": "B"})
    tree(tmp_path, "images/p_0001.nii", "images/p_0002.nii", "labels/p_0001.nii", "labels/p.nii")
    cohort = find_cohort([tmp_path])
    assert labels_of(cohort, tmp_path) == {
        "p_0001": ["labels/p.nii"],
        "p_0002": ["labels/p.nii"],
    }


def test_the_decathlon_has_no_channels_and_hidden_twins(tmp_path: Path) -> None:
    dataset_json(
        tmp_path / "Task04",
        modality={"0": "MRI"},
        labels={"0": "background", "2": "posterior", "1": "anterior"},
        training=[{"image": "./imagesTr/h_1.nii.gz", "label": "./labelsTr/h_1.nii.gz"}],
        test=["./imagesTs/h_2.nii.gz"],
    )
    names = ["imagesTr/h_1.nii.gz", "imagesTs/h_2.nii.gz", "labelsTr/h_1.nii.gz"]
    names += [name.replace("/h", "/._h") for name in names]
    cohort = find_cohort([tree(tmp_path / "Task04", *names)])
    assert labels_of(cohort, tmp_path / "Task04") == {"h_1": ["labelsTr/h_1.nii.gz"], "h_2": []}
    assert structures(cohort, "h_1") == {"anterior": 1, "posterior": 2}


def test_regions_trouble_only_who_asks_for_structures(tmp_path: Path) -> None:
    dataset_json(tmp_path, channel_names={"0": "CT"}, labels={"whole": [1, 2], "core": 2})
    cohort = find_cohort([tree(tmp_path, "imagesTr/a_0000.nii", "labelsTr/a.nii")])
    with pytest.raises(DataError, match="regions_class_order is None"):
        structures(cohort, "a")


def test_a_table_of_channels_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "imagesTr/a_0000.nii", "dataset.json")
    with pytest.raises(DataError, match="no readable table of channels"):
        find_cohort([tmp_path])


def test_a_label_without_its_scan_is_told_by_name(tmp_path: Path) -> None:
    tree(tmp_path, "imagesTr/a_0000.nii", "labelsTr/b.nii", "labelsTr/c.nii")
    cohort = find_cohort([tmp_path])
    assert labels_of(cohort, tmp_path) == {"a": []}
    assert reasons(cohort, tmp_path) == {
        "labelsTr/b.nii": (UNPAIRED, 1),
        "labelsTr/c.nii": (UNPAIRED, 1),
    }


# --- BIDS -----------------------------------------------------------------------------------


def test_bids_gives_scans_of_the_anatomy_and_labels_of_derivatives(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "ds/dataset_description.json",
        "ds/participants.tsv",
        "ds/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "ds/sub-01/ses-1/anat/sub-01_ses-1_T1w.json",
        "ds/sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz",
        "ds/sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz",
        "ds/sub-01/ses-1/pet/sub-01_ses-1_pet.nii.gz",
        "ds/sub-02/ct/sub-02_run-1_ct.nii.gz",
        "ds/sub-02/ct/sub-02_run-2_ct.nii.gz",
        "ds/derivatives/fs/sub-01/ses-1/anat/sub-01_ses-1_desc-preproc_T1w.nii.gz",
        "ds/derivatives/fs/sub-01/ses-1/anat/sub-01_ses-1_space-T1w_desc-aseg_dseg.nii.gz",
        "ds/derivatives/fs/sub-01/ses-1/anat/sub-01_ses-1_space-MNI152_dseg.nii.gz",
        "ds/derivatives/fs/sub-01/ses-1/anat/sub-01_ses-1_space-T2w_label-lesion_mask.nii.gz",
        "ds/derivatives/fs/sub-01/ses-1/anat/sub-01_ses-1_label-GM_probseg.nii.gz",
        "ds/derivatives/manual/sub-02/ct/sub-02_run-2_dseg.nii.gz",
    )
    cohort = find_cohort([tmp_path])
    fs = "ds/derivatives/fs/sub-01/ses-1/anat/sub-01_ses-1"
    assert labels_of(cohort, tmp_path) == {
        "ds_sub-01_ses-1_T1w": [f"{fs}_space-T1w_desc-aseg_dseg.nii.gz"],
        "ds_sub-01_ses-1_T2w": [f"{fs}_space-T2w_label-lesion_mask.nii.gz"],
        "ds_sub-01_ses-1_pet": [],
        "ds_sub-02_run-1_ct": [],
        "ds_sub-02_run-2_ct": ["ds/derivatives/manual/sub-02/ct/sub-02_run-2_dseg.nii.gz"],
    }
    assert structures(cohort, "ds_sub-01_ses-1_T2w") == {"lesion": 1}
    assert reasons(cohort, tmp_path) == {
        "ds/dataset_description.json": (NO_IMAGE, 2),
        "ds/sub-01/ses-1/anat/sub-01_ses-1_T1w.json": (NO_IMAGE, 1),
        "ds/sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz": (
            "func of BIDS, no scan of the anatomy",
            1,
        ),
        f"{fs}_desc-preproc_T1w.nii.gz": ("a derivative of BIDS, no scan as it was taken", 1),
        f"{fs}_space-T1w_desc-aseg_dseg.nii.gz": (PAIRED, 2),
        f"{fs}_space-MNI152_dseg.nii.gz": (UNPAIRED, 1),
        f"{fs}_label-GM_probseg.nii.gz": (UNPAIRED, 1),
        "ds/derivatives/manual/sub-02/ct/sub-02_run-2_dseg.nii.gz": (PAIRED, 1),
    }


def test_source_data_of_bids_are_the_same_scans_once_more(tmp_path: Path) -> None:
    tree(tmp_path, "ds/sub-1/anat/sub-1_T1w.nii", "ds/sourcedata/sub-1/x.nii")
    dicoms.series(tmp_path / "ds" / "sourcedata" / "sub-1" / "dicom")
    assert len(find_cohort([tmp_path]).cases) == 3  # it might be a folder of that name
    tree(tmp_path, "ds/dataset_description.json")
    cohort = find_cohort([tmp_path])
    assert [case.case_id for case in cohort.cases] == ["ds_sub-1_T1w"]
    told = [
        e.files for e in cohort.left_out if e.reason == "source data of BIDS, converted beside it"
    ]
    assert sorted(told) == [1, 5]
    assert len(find_cohort([tmp_path / "ds" / "sourcedata"]).cases) == 2


def test_the_same_bids_ids_come_from_the_dataset_and_from_one_subject(tmp_path: Path) -> None:
    tree(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")
    ids = [case.case_id for case in find_cohort([tmp_path]).cases]
    assert ids == ["sub-01_T1w", "sub-02_T1w"]
    for place in ("sub-01", "sub-01/anat"):
        assert [case.case_id for case in find_cohort([tmp_path / place]).cases] == ids[:1]


def test_derivatives_that_are_given_themselves_hold_scans(tmp_path: Path) -> None:
    names = ("desc-preproc_T1w", "desc-brain_mask", "dseg")
    tree(tmp_path, *(f"derivatives/fs/sub-01/anat/sub-01_{name}.nii.gz" for name in names))
    root = tmp_path / "derivatives" / "fs"
    cohort = find_cohort([root])
    assert labels_of(cohort, root) == {
        "sub-01_desc-preproc_T1w": ["sub-01/anat/sub-01_dseg.nii.gz"]
    }
    assert reasons(cohort, root)["sub-01/anat/sub-01_desc-brain_mask.nii.gz"] == (FURTHER, 1)


@pytest.mark.parametrize(
    ("scans", "taken"),
    [
        (["T1w"], "T1w"),
        (["FLAIR"], "FLAIR"),
        (["T1w", "T2w"], "T1w"),
        (["FLAIR", "T2w"], None),
        (["acq-x_T1w", "acq-y_T1w"], None),
    ],
)
def test_a_bids_label_that_names_no_space_is_of_the_only_scan_or_the_t1w(
    tmp_path: Path, scans: list[str], taken: str | None
) -> None:
    tree(tmp_path, *(f"sub-1/anat/sub-1_{name}.nii.gz" for name in scans))
    tree(tmp_path, "derivatives/x/sub-1/anat/sub-1_dseg.nii.gz")
    labels = labels_of(find_cohort([tmp_path]), tmp_path)
    assert [case for case, files in labels.items() if files] == ([f"sub-1_{taken}"] * bool(taken))


# --- TotalSegmentator -----------------------------------------------------------------------


def test_totalsegmentator_is_a_case_per_folder_with_a_mask_per_structure(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "meta.csv",
        "s0001/ct.nii.gz",
        "s0001/segmentations/aorta.nii.gz",
        "s0001/segmentations/liver.nii.gz",
        "s0002/mri.nii.gz",
        "s0002/segmentations/liver.nii.gz",
        "s0003/ct.nii.gz",
    )
    cohort = find_cohort([tmp_path])
    assert labels_of(cohort, tmp_path) == {
        "s0001": ["s0001/segmentations/aorta.nii.gz", "s0001/segmentations/liver.nii.gz"],
        "s0002": ["s0002/segmentations/liver.nii.gz"],
        "s0003_ct": [],  # nothing says that it is the one scan of this folder
    }
    assert structures(cohort, "s0001") == {"aorta": 1, "liver": 2}
    assert structures(cohort, "s0002") == {"liver": 1}
    (case,) = find_cohort([tmp_path / "s0001"]).cases
    assert case.case_id == "s0001"


# --- plain folders --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scan", "label", "case_id"),
    [
        ("x.nii.gz", "x_seg.nii.gz", "x"),
        ("x.mha", "x-label.nrrd", "x"),
        ("x.nii", "labels/x.nii", "x"),
        ("p/x.nii", "p/Masks/x.nii", "p_x"),
        ("images/x.nii", "masks/x_mask.nii", "x"),
        ("images/p/x.nii", "labels/p/x.nii", "p_x"),
        ("p/ct.nii.gz", "p/seg.nii.gz", "p_ct"),
        ("p/x_t1.nii", "p/x_seg.nii", "p_x_t1"),
        ("p/images/x.nii", "p/labels/x_0000.nii", "p_x"),
        ("x_0000.nii", "x_gt.nii", "x"),
        ("images/x.nii", "Ground Truth/x.nii", "x"),
        ("imagesTr/x_0000.nii", "gt_segmentations/x.nii", "x"),
        ("images/x.nii", "labels/x/x_seg.nii", "x"),
        ("images/x.nii", "labels/x/seg.nii", "x"),
    ],
)
def test_a_label_beside_a_scan_is_given_to_it_and_is_no_case(
    tmp_path: Path, scan: str, label: str, case_id: str
) -> None:
    cohort = find_cohort([tree(tmp_path, scan, label)])
    assert labels_of(cohort, tmp_path) == {case_id: [label]}
    assert structures(cohort, case_id) is None
    assert reasons(cohort, tmp_path) == {label: (PAIRED, 1)}


def test_one_label_may_be_of_several_scans_of_a_patient(tmp_path: Path) -> None:
    tree(tmp_path, "B-1-t1.nii", "B-1-t2.nii", "B-1-seg.nii", "B-2-t1.nii", "B-2-seg.nii")
    assert labels_of(find_cohort([tmp_path]), tmp_path) == {
        "B-1-t1": ["B-1-seg.nii"],
        "B-1-t2": ["B-1-seg.nii"],
        "B-2-t1": ["B-2-seg.nii"],
    }


@pytest.mark.parametrize(
    ("scan", "folder"),
    [
        ("x.nii", "labels/x"),
        ("images/x.nii", "masks/x"),
        ("p/images/x_0000.nii", "p/segmentations/x"),
        ("x.nii", "masks"),
        ("p/x.nii", "p/Segmentation"),
    ],
)
def test_a_folder_of_masks_names_the_structures(tmp_path: Path, scan: str, folder: str) -> None:
    tree(tmp_path, scan, f"{folder}/liver.nii", f"{folder}/left kidney_mask.nii")
    cohort = find_cohort([tmp_path])
    assert structures(cohort, cohort.cases[0].case_id) == {"left kidney": 1, "liver": 2}


def test_the_second_of_two_labels_is_told(tmp_path: Path) -> None:
    tree(tmp_path, "x.nii", "x_gt.nii", "x_seg.nii", "labels/x.nii")
    cohort = find_cohort([tmp_path])
    assert labels_of(cohort, tmp_path) == {"x": ["labels/x.nii"]}
    assert [entry.reason for entry in cohort.left_out] == [PAIRED, FURTHER, FURTHER]


def test_the_inner_one_of_nested_folders_counts(tmp_path: Path) -> None:
    tree(tmp_path, "segmentation/imagesTr/x.nii", "images/labels/y.nii")
    cohort = find_cohort([tmp_path])
    assert labels_of(cohort, tmp_path) == {"segmentation_x": []}
    assert reasons(cohort, tmp_path) == {"images/labels/y.nii": (UNPAIRED, 1)}


def test_labels_alone_are_no_scans_unless_they_are_named(tmp_path: Path) -> None:
    tree(tmp_path, "x_seg.nii", "labels/y.nii")
    with pytest.raises(
        DataError, match=r"no scan but y\.nii: a label .* x_seg\.nii: a label"
    ) as caught:
        find_cohort([tmp_path])
    assert "named one by one" in caught.value.fix
    (case,) = find_cohort([tmp_path / "x_seg.nii"]).cases
    assert case.case_id == "x_seg"


@pytest.mark.parametrize(
    "label", ["p_seg.nii", "p/seg.nii", "p/segmentations/liver.nii", "labels/p.nii"]
)
def test_a_series_of_dicom_has_its_label_like_a_file(tmp_path: Path, label: str) -> None:
    dicoms.series(tmp_path / "p")
    cohort = find_cohort([tree(tmp_path, label)])
    assert labels_of(cohort, tmp_path) == {"p": [label]}


def test_a_linked_folder_of_dicom_is_called_by_its_link(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "far" / "p")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "far")
    assert [case.case_id for case in find_cohort([tmp_path / "in"]).cases] == ["linked_p"]


def test_a_label_beside_several_series_of_one_folder_is_of_none(tmp_path: Path) -> None:
    dicoms.series(tmp_path / "p")
    for path in dicoms.series(tmp_path / "other", seed=1):
        path.rename(tmp_path / "p" / f"other-{path.name}")
    cohort = find_cohort([tree(tmp_path, "p_seg.nii")])
    assert [case.label for case in cohort.cases] == [None, None]
    assert reasons(cohort, tmp_path) == {"p_seg.nii": (UNPAIRED, 1)}


@pytest.mark.data
def test_real_datasets_are_found_with_every_label(data_dir: Path) -> None:
    cohort = find_cohort([data_dir])
    labels = labels_of(cohort, data_dir)
    assert len(labels) == 510
    assert sum(entry.files for entry in cohort.left_out if entry.reason == PAIRED) == 502
    assert labels["hippocampus_hippocampus_004"] == ["hippocampus/labelsTs/hippocampus_004.nii.gz"]
    assert labels["abdomen_ct_ct"] == ["abdomen_ct/seg.nii.gz"]
    assert labels["reader_dicom_ct_20_slices"] == ["reader/dicom/ct_20_slices_seg.nii.gz"]
    assert labels["reader_nifti_cardiac_oblique"] == ["reader/nifti/cardiac_oblique_gt.nii.gz"]
    assert not any(name.endswith(("_seg", "_gt")) for name in labels)
