from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mass3d.errors import ConfigError, DataError
from mass3d.io.datasets.channels import (
    Wanted,
    by_case,
    cases_of_channels,
    channels_of,
    grouped,
    read_channels_of,
    require_channels,
    wanted_channels,
)
from mass3d.io.datasets.cohort import CaseFile, find_cohort
from mass3d.io.datasets.labelled import find_labelled, find_tests
from mass3d.io.datasets.source import image_hash, source_hash
from mass3d.io.write import write_file_order

TWO = (Wanted(0, "T1"), Wanted(1, "T2 FLAIR"))


def dataset(folder: Path, *names: str, channels: Sequence[str] = ("T1", "T2 FLAIR")) -> Path:
    """A raw dataset of these files, empty, all of them images of imagesTr with a label each."""
    for name in names:
        for path in (f"imagesTr/{name}.nii.gz", f"labelsTr/{name[:-5]}.nii.gz"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(b"")
    named = {str(number): name for number, name in enumerate(channels)}
    table = {"channel_names": named, "labels": {"background": 0, "tumour": 1}}
    (folder / "dataset.json").write_text(json.dumps(table))
    return folder


def files(case: CaseFile) -> list[str]:
    return [channel.path.name for channel in case.channels]


def test_the_channels_of_a_case_are_one_case_in_their_order(tmp_path: Path) -> None:
    data = dataset(tmp_path / "Dataset001", "b_0001", "b_0000", "a_0000", "a_0001")
    found = find_labelled([data], channels=())
    assert [case.case_id for case in found] == ["a", "b"]
    for case in found:
        assert files(case) == [f"{case.case_id}_0000.nii.gz", f"{case.case_id}_0001.nii.gz"]
        assert channels_of(case) == TWO
        assert case.path == case.channels[0].path
        assert case.label is not None
        assert case.label.paths == (data / "labelsTr" / f"{case.case_id}.nii.gz",)
    # given with the folder above, as cases are called there
    assert [case.case_id for case in find_labelled([tmp_path], channels=())] == [
        "Dataset001_a",
        "Dataset001_b",
    ]


def test_for_pretraining_every_channel_stays_a_scan(tmp_path: Path) -> None:
    data = dataset(tmp_path, "a_0000", "a_0001")
    every = [*find_cohort([data]).cases, *find_labelled([data])]
    assert [case.case_id for case in every] == ["a_T1", "a_T2-FLAIR"] * 2
    assert not any(case.channels for case in every)


def test_a_folder_of_labels_is_called_as_the_case(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", "a_0000", "a_0001", "b_0000")
    (data / "labelsTr").rename(tmp_path / "manual")
    (tmp_path / "manual" / "b.nii.gz").unlink()
    (case,) = find_labelled([data], [tmp_path / "manual"], channels=())
    assert (case.case_id, len(case.channels)) == ("a", 2)


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [(["T2 FLAIR"], [1]), (["1"], [1]), (["T2 FLAIR", "T1"], [1, 0]), (["1", "T1"], [1, 0])],
)
def test_channels_are_chosen_by_name_or_number(
    tmp_path: Path, asked: list[str], numbers: list[int]
) -> None:
    data = dataset(tmp_path, "a_0000", "a_0001")
    (case,) = find_labelled([data], channels=asked)
    assert [channel.number for channel in case.channels] == numbers
    assert files(case) == [f"a_000{number}.nii.gz" for number in numbers]


def test_a_number_tells_channels_of_one_name_apart(tmp_path: Path) -> None:
    data = dataset(tmp_path, "a_0000", "a_0001", channels=("MR", "MR"))
    (case,) = find_labelled([data], channels=("1",))
    assert files(case) == ["a_0001.nii.gz"]
    with pytest.raises(ConfigError, match="no channel called MR"):
        find_labelled([data], channels=("MR",))
    assert len(find_labelled([data], channels=())[0].channels) == 2


def test_what_has_one_channel_is_found_as_ever(tmp_path: Path) -> None:
    data = dataset(tmp_path, "a_0000", "b_0000", channels=("CT",))
    for asked in ((), ("CT",), ("0",)):
        assert find_labelled([data], channels=asked) == find_labelled([data])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("T3",), r"no channel called T3; expected names or numbers of T1 \(0\), T2 FLAIR \(1\)"),
        (("7",), "no channel called 7"),
        (("T1", "0"), "a channel that is named twice"),
    ],
)
def test_channels_that_there_are_not_are_refused(
    tmp_path: Path, asked: tuple[str, ...], told: str
) -> None:
    data = dataset(tmp_path, "a_0000", "a_0001")
    with pytest.raises(ConfigError, match=told) as caught:
        find_labelled([data], channels=asked)
    assert caught.value.setting == "channels"


def test_without_a_dataset_json_no_channel_can_be_named(tmp_path: Path) -> None:
    data = dataset(tmp_path, "a_0000", "a_0001")
    (data / "dataset.json").unlink()
    with pytest.raises(ConfigError, match=r"expected a dataset\.json that names them"):
        find_labelled([data], channels=("T1",))
    image, label = data / "imagesTr" / "a_0000.nii.gz", data / "labelsTr" / "a.nii.gz"
    with pytest.raises(ConfigError, match=r"expected a dataset\.json that names them"):
        find_labelled([image], [label], channels=("T1",))
    assert len(find_labelled([image], [label], channels=())) == 1


def test_a_missing_channel_names_case_and_file(tmp_path: Path) -> None:
    data = dataset(tmp_path, "a_0000", "a_0001", "b_0001", "c_0002")
    with pytest.raises(DataError, match="no such file; expected the channel T1 of the case b") as e:
        find_labelled([data], channels=())
    assert e.value.where == str(data / "imagesTr" / "b_0000.nii.gz")
    (data / "labelsTr" / "b.nii.gz").unlink()
    (data / "labelsTr" / "c.nii.gz").unlink()  # what is not labelled is not asked for
    assert [case.case_id for case in find_labelled([data], channels=())] == ["a"]


def test_datasets_of_different_channels_are_refused_together(tmp_path: Path) -> None:
    dataset(tmp_path / "one", "a_0000", "a_0001")
    dataset(tmp_path / "two", "b_0000", "b_0001", channels=("T1", "T2"))
    with pytest.raises(ConfigError, match=r"different channels \(T1, T2; T1, T2 FLAIR\)"):
        find_labelled([tmp_path], channels=())
    with pytest.raises(DataError, match="the channels T1, T2; expected T2 FLAIR among them"):
        find_labelled([tmp_path], channels=("T2 FLAIR",))
    found = find_labelled([tmp_path], channels=("T1",))
    assert [case.case_id for case in found] == ["one_a", "two_b"]
    (tmp_path / "one" / "imagesTr" / "p.nii.gz").write_bytes(b"")
    (tmp_path / "one" / "labelsTr" / "p.nii.gz").write_bytes(b"")
    with pytest.raises(ConfigError, match="T1, T2 FLAIR; none"):
        find_labelled([tmp_path / "one"], channels=())


def test_datasets_may_number_their_channels_in_another_way(tmp_path: Path) -> None:
    dataset(tmp_path / "one", "a_0000", "a_0001")
    dataset(tmp_path / "two", "b_0000", "b_0001", channels=("T2 FLAIR", "T1"))
    shown = find_cohort([tmp_path]).cases
    one, two = grouped(shown, TWO)
    assert files(one) == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert files(two) == ["b_0001.nii.gz", "b_0000.nii.gz"]


# --- scans that are to be segmented --------------------------------------------------------------


def plain(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_without_a_dataset_json_the_numbers_of_files_tell(tmp_path: Path) -> None:
    scans = plain(tmp_path / "new", "a_0000.nii.gz", "a_0001.nrrd", "b_0001.nii.gz", "c.mha")
    a, b, c = grouped(find_cohort([scans]).cases, TWO)
    assert [case.case_id for case in (a, b, c)] == ["a", "b", "c"]
    assert files(a) == ["a_0000.nii.gz", "a_0001.nrrd"]
    require_channels(a)
    for case, name in ((b, "b_0000.nii.gz"), (c, "c_0000.mha")):
        with pytest.raises(DataError, match=f"{name}: found no such file; expected the channel T1"):
            require_channels(case)
        with pytest.raises(DataError, match=name):
            source_hash(case)


def test_files_that_are_named_one_by_one_are_known_by_their_names(tmp_path: Path) -> None:
    data = dataset(tmp_path, "a_T1_0000", "a_T1_0001")
    paths = sorted((data / "imagesTr").iterdir())
    (case,) = grouped(find_cohort(paths).cases, TWO)
    assert (case.case_id, files(case)) == ("a_T1", ["a_T1_0000.nii.gz", "a_T1_0001.nii.gz"])


def test_of_one_wanted_channel_others_are_left_and_single_scans_taken(tmp_path: Path) -> None:
    dataset(tmp_path / "data", "a_0000", "a_0001")
    plain(tmp_path / "new", "b_0000.nii.gz", "b_0001.nii.gz")
    a, b, other = grouped(find_cohort([tmp_path]).cases, TWO[1:])
    assert (a.case_id, files(a)) == ("data_a", ["a_0001.nii.gz"])
    assert [case.case_id for case in (b, other)] == ["new_b", "new_b_0001"]
    assert not b.channels


def test_two_cases_of_one_id_are_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", "a_0000", "a_0001")
    scans = plain(tmp_path / "new", "a.nii.gz")
    cases = find_cohort([data, scans]).cases
    with pytest.raises(DataError, match="a second scan of the case 'a'"):
        grouped(cases, TWO[:1])


def test_scans_that_are_no_channels_are_refused(tmp_path: Path) -> None:
    scans = plain(tmp_path / "new", "a.nii.gz", "b.nii.gz")
    with pytest.raises(DataError, match="no scan that is a channel of a case; expected all") as e:
        grouped(find_cohort([scans]).cases, TWO)
    assert "a_0000.nii.gz (T1) and a_0001.nii.gz (T2 FLAIR)" in str(e.value)
    single = dataset(tmp_path / "data", "a_0000", channels=("T1",))
    with pytest.raises(DataError, match="the channels T1; expected T2 FLAIR among them"):
        grouped(find_cohort([single]).cases, TWO)


def test_scans_for_tests_have_the_channels_of_those_for_training(tmp_path: Path) -> None:
    data = dataset(tmp_path, "t_0000", "t_0001")
    (data / "imagesTr").rename(data / "imagesTs")
    (data / "labelsTr").rename(data / "labelsTs")
    (case,) = find_tests(data, TWO)
    assert (case.case_id, files(case)) == ("t", ["t_0000.nii.gz", "t_0001.nii.gz"])
    (data / "imagesTs" / "t_0001.nii.gz").unlink()
    with pytest.raises(DataError, match="the channel T2 FLAIR of the case t"):
        find_tests(data, TWO)


def test_the_first_channel_stands_for_the_case_where_one_is_shown(tmp_path: Path) -> None:
    data = dataset(tmp_path, "a_0000", "a_0001")
    found = by_case(find_cohort([data]).cases)
    assert sorted(found) == ["a", "a_T1", "a_T2-FLAIR"]
    assert found["a"] == found["a_T1"]
    single = find_cohort([dataset(tmp_path / "one", "b_0000", channels=("CT",))]).cases
    assert by_case(single) == {"b": single[0]}


def test_the_case_of_every_channel_is_known_where_its_name_is_that_of_one(tmp_path: Path) -> None:
    def told(*folders: str) -> dict[str, str]:
        found = find_cohort([tmp_path / folder for folder in folders]).cases
        return dict(zip((case.case_id for case in found), cases_of_channels(found), strict=True))

    data = dataset(tmp_path / "data", "a_0000", "a_0001", "b_0001")
    assert told("data") == {"a_T1": "a", "a_T2-FLAIR": "a", "b_T2-FLAIR": "b"}
    assert set(cases_of_channels(find_labelled([data], channels=("1",)))) == {""}  # cases already
    one = dataset(tmp_path / "one", "a_0000", "a_0001", "a_0002", "b_0000", channels=("MR",))
    assert told("one") == {"a": "a", "a_0001": "a", "a_0002": "a", "b": ""}  # by the label
    (one / "labelsTr" / "a.nii.gz").unlink()
    assert not any(told("one").values())  # as many numbers may be those of patients
    (one / "imagesTr" / "a_0002.nii.gz").unlink()
    assert told("one") == {"a": "a", "a_0001": "a", "b": "b"}
    (one / "imagesTr" / "b_0000.nii.gz").rename(one / "imagesTr" / "b_0002.nii.gz")
    assert not any(told("one").values())


# --- content -------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> CaseFile:
    """A CT and a PET, in files whose names do not tell."""
    data = dataset(tmp_path / "data", "a_0000", "a_0001", channels=("CT", "PET"))
    rng = np.random.default_rng(0)
    for number in range(2):
        image = rng.uniform(0, 100, (4, 5, 6)).astype(np.float32)
        write_file_order(data / "imagesTr" / f"a_000{number}.nii.gz", image, np.eye(4))
    return find_labelled([data], channels=())[0]


def test_the_content_of_every_channel_counts(pair: CaseFile) -> None:
    before, path = source_hash(pair), pair.channels[1].path
    (one,) = grouped(find_cohort([path.parents[1]]).cases, channels_of(pair)[1:])
    assert source_hash(one) == image_hash(path)
    image = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    write_file_order(path, image, np.eye(4))
    assert source_hash(pair) != before
    assert source_hash(one) == image_hash(path)


def test_every_channel_is_read_as_the_kind_of_scan_its_name_says(pair: CaseFile) -> None:
    assert [volume.modality for volume in read_channels_of(pair)] == ["ct", "pet"]
    assert [volume.path for volume in read_channels_of(pair)] == [
        channel.path for channel in pair.channels
    ]
    (scan,) = read_channels_of(CaseFile("a", pair.path))
    assert scan.modality is None
    pair.channels[1].path.unlink()
    with pytest.raises(DataError, match="the channel PET of the case a"):
        read_channels_of(pair)


def test_nothing_wanted_changes_nothing(tmp_path: Path) -> None:
    cases = find_cohort([dataset(tmp_path, "a_0000", "a_0001")]).cases
    assert grouped(cases, ()) == cases
    assert wanted_channels(cases) == TWO
