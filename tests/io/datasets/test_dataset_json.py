from __future__ import annotations

import json
from pathlib import Path

import pytest

from mass3d.errors import DataError
from mass3d.io.datasets.dataset_json import (
    read_channels,
    read_common_structures,
    read_common_targets,
    read_ignored,
    read_structures,
    read_targets,
)


def written(folder: Path, content: object) -> Path:
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "dataset.json").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "spleen": 2, "liver": 1},  # nnU-Net v2
        {"0": "background", "2": "spleen", "1": "liver"},  # the decathlon, nnU-Net v1
        {"background": "0", "spleen": "2", "liver": "1"},  # values as texts
        {"background": 0.0, "spleen": 2.0, "liver": 1.0},  # as MATLAB writes whole numbers
    ],
)
def test_structures_are_named_by_value_without_background(
    tmp_path: Path, labels: dict[str, object]
) -> None:
    found = read_structures(written(tmp_path, {"labels": labels}))
    assert list((found or {}).items()) == [("liver", 1), ("spleen", 2)]


def test_names_and_values_may_both_be_numbers(tmp_path: Path) -> None:
    labels = {"3": "12", "4": "9"}
    assert read_structures(written(tmp_path, {"labels": labels})) == {"12": 3, "9": 4}


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"liver": 2, "spleen": 1}, "liver = 2; expected liver = 1, as"),
        ({"liver": 1}, "no spleen; expected spleen = 2, as"),
        ({"liver": 1, "spleen": 2, "aorta": 3}, "aorta = 3; expected no aorta, as"),
        ({"liver": 1, "spleen": [2, 3]}, "spleen = 2, 3; expected spleen = 2, as"),
    ],
)
def test_values_of_two_datasets_are_not_read_by_the_table_of_one(
    tmp_path: Path, labels: dict[str, int], told: str
) -> None:
    tables = [{"liver": 1, "spleen": 2}, {"spleen": 2, "liver": 1}, labels]
    folders = [
        written(
            tmp_path / f"{n}", {"labels": one, "regions_class_order": list(range(1, 9))[: len(one)]}
        )
        for n, one in enumerate(tables)
    ]
    files = [folder / "dataset.json" for folder in folders]
    assert read_common_structures(folders[:2]) == tables[0]
    with pytest.raises(DataError, match=told) as caught:
        read_common_targets(files)
    assert (caught.value.where, caught.value.setting) == (str(files[2]), "structures")
    with pytest.raises(DataError, match=told):
        read_common_structures(folders)


def test_tables_that_name_nothing_agree_with_all(tmp_path: Path) -> None:
    empty = written(tmp_path / "empty", {"labels": {"background": 0}})
    full = written(tmp_path / "full", {"labels": {"background": 0, "liver": 1}})
    assert read_common_structures([empty, tmp_path / "none"]) is None
    assert read_common_structures([empty, full]) == {"liver": 1}


def test_a_mark_before_utf_8_is_passed_over(tmp_path: Path) -> None:
    text = json.dumps({"labels": {"große Vene": "7"}, "channel_names": {"0": "CT"}})
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8-sig")
    assert read_structures(tmp_path) == {"große Vene": 7}
    assert read_channels(tmp_path / "dataset.json") == {0: "CT"}


def test_names_may_hold_anything(tmp_path: Path) -> None:
    names = {"Niere, links": 1, "42": 2, "große Vene": 3}
    assert read_structures(written(tmp_path, {"labels": names})) == names


def test_the_file_is_looked_for_beside_and_above_the_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "labelsTr"
    labels.mkdir()
    assert read_structures(labels) is None
    written(tmp_path, {"labels": {"above": 1}})
    assert read_structures(labels) == {"above": 1}
    monkeypatch.chdir(labels)
    assert read_structures(Path()) == {"above": 1}
    written(labels, {"labels": {"beside": 1}})
    assert read_structures(labels) == {"beside": 1}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ({}, "'labels'"),
        ({"labels": ["liver"]}, "no attribute 'items'"),
        ({"labels": {"whole tumor": [1, "x"]}}, "'x' is no label value"),
        ({"labels": {"whole tumor": []}}, r"\[\] is no label value"),
        ({"labels": {"whole tumor": [0, 1]}}, "a region with the background in it"),
        ({"labels": {"liver": 1.5}}, "1.5 is no label value"),
        ({"labels": {"liver": True}}, "True is no label value"),
        ({"labels": {"liver": None}}, "None is no label value"),
        ({"labels": {"liver": -1}}, "-1 is no label value"),
        ({"labels": {"liver": "one"}}, "'one' is no label value"),
        ({"labels": {"liver": "-1"}}, "'-1' is no label value"),
        ({"labels": {"liver": 1, "spleen": 1}}, "two labels share a name or a value"),
        ({"labels": {"1": "liver", "2": "liver"}}, "two labels share a name or a value"),
    ],
)
def test_a_table_that_does_not_name_values_is_refused(
    tmp_path: Path, content: object, found: str
) -> None:
    folder = written(tmp_path, content)
    with pytest.raises(DataError, match=found) as caught:
        read_structures(folder)
    told = caught.value
    assert told.where == str(folder / "dataset.json")
    assert told.found.startswith("no readable table of labels (")
    assert told.expected == '"labels": {"background": 0, "liver": 1, ...}'
    assert told.fix == "Correct the file."


BRAIN = {
    "background": 0,
    "whole tumor": [1, 2, 3],
    "tumor core": [2, 3],
    "enhancing tumor": [3],
    "ignore": 4,
}


def test_regions_are_read_with_the_values_that_nnunet_writes(tmp_path: Path) -> None:
    folder = written(tmp_path, {"labels": BRAIN, "regions_class_order": [1, 2, 3]})
    found = read_targets(folder)
    assert found is not None
    assert found.values == {"whole tumor": 1, "tumor core": 2, "enhancing tumor": 3}
    assert found.regions == {
        "whole tumor": (1, 2, 3),
        "tumor core": (2, 3),
        "enhancing tumor": (3,),
    }
    assert read_ignored(folder) == 4
    with pytest.raises(DataError, match=r"regions of several values \(whole tumor: \[1, 2, 3\]"):
        read_structures(folder)  # where nobody asks for regions, none is taken for one value
    kidney = {"kidney": [1, 2, 3], "mass": [2, 3], "tumor": 2}
    folder = written(tmp_path / "k", {"labels": kidney, "regions_class_order": [1, 3, 2]})
    found = read_targets(folder)
    assert found is not None
    assert found.values == {"kidney": 1, "mass": 3, "tumor": 2}


def test_a_list_of_one_value_is_no_region(tmp_path: Path) -> None:
    folder = written(tmp_path, {"labels": {"background": [0], "b": [2], "a": 1}})
    assert read_structures(folder) == {"a": 1, "b": 2}
    assert read_targets(tmp_path / "nowhere" / "labels") is None


@pytest.mark.parametrize(
    ("labels", "order", "found"),
    [
        (BRAIN, None, "regions_class_order is None, for 3 structures"),
        (BRAIN, [1, 2], r"regions_class_order is \[1, 2\]"),
        (BRAIN, [3, 2, 1], "whole tumor is written as 3, which is not its own value"),
        (BRAIN, [1, 2, 7], "enhancing tumor is written as 7"),
        ({"a": [1, 2], "b": [2, 3]}, [1, 3], "a and b overlap, and neither lies within"),
        ({"a": [1, 2], "b": 1, "c": 2}, [1, 1, 2], "all of a is in regions within it"),
    ],
)
def test_a_layout_of_regions_that_is_not_complete_is_refused(
    tmp_path: Path, labels: dict[str, object], order: object, found: str
) -> None:
    folder = written(tmp_path, {"labels": labels, "regions_class_order": order})
    with pytest.raises(DataError, match=found) as caught:
        read_targets(folder)
    assert caught.value.where == str(folder / "dataset.json")
    assert "regions_class_order" in caught.value.expected


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match="no readable table of labels"):
        read_structures(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [{"background": 0, "liver": 1, "ignore": 2}, {"0": "background", "1": "liver", "2": "ignore"}],
)
def test_the_ignore_label_is_no_structure(tmp_path: Path, labels: dict[str, object]) -> None:
    folder = written(tmp_path, {"labels": labels})
    assert read_structures(folder) == {"liver": 1}
    assert read_ignored(folder) == 2
    assert read_ignored(written(tmp_path / "other", {"labels": {"liver": 1}})) is None
    assert read_ignored(tmp_path / "nowhere" / "labels") is None


def test_channels_are_named_by_nnunet_and_the_decathlon(tmp_path: Path) -> None:
    def channels(content: object) -> dict[int, str]:
        return read_channels(written(tmp_path, content) / "dataset.json")

    assert channels({"channel_names": {"0": "CT", "1": "PET"}}) == {0: "CT", 1: "PET"}
    assert channels({"modality": {"0": "MRI"}}) == {0: "MRI"}
    assert channels({"labels": {}}) == {}


@pytest.mark.parametrize("content", ["{", "[]", {"modality": "CT"}, {"modality": {"first": "CT"}}])
def test_a_table_of_channels_without_numbers_is_refused(tmp_path: Path, content: object) -> None:
    file = written(tmp_path, content) / "dataset.json"
    with pytest.raises(DataError, match="no readable table of channels") as caught:
        read_channels(file)
    assert caught.value.where == str(file)
