"""What is read from a table of labels, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mass3d.errors import ConfigError, DataError
from mass3d.transfer.frozen.probing.labels import (
    Kind,
    Table,
    alike_sentences,
    left_out_sentences,
    of_scans,
    read_table,
    targets_of,
)

ROWS = "case,sex,age,subject\na,F,30,p1\nb,M,41.5,p2\nc,,52,p2\n"


def table(folder: Path, text: str | bytes = ROWS, case: str = "case") -> Table:
    path = folder / "labels.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, case_column=case)


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        ROWS.replace("\n", "\r\n"),
        b"\xef\xbb\xbf" + ROWS.encode(),
        ROWS.replace("a,F", " a , F ") + "\n,,,\n",
        ROWS.replace("sex", '"sex"').replace("M,", '"M",'),
    ],
)
def test_tables_of_all_programs_are_read(tmp_path: Path, text: str | bytes) -> None:
    found = table(tmp_path, text)
    assert found.cases == ["a", "b", "c"]
    assert found.columns["sex"] == {"a": "F", "b": "M", "c": ""}
    assert list(found.columns) == ["case", "sex", "age", "subject"]


def test_names_of_digits_stay_names_and_classes_may_count_from_one(tmp_path: Path) -> None:
    found = table(tmp_path, "case,grade,ill\n001,1,yes\n1,3,no\n020,2,no\n")
    assert found.cases == ["001", "1", "020"]
    grade, ill = targets_of(found, found.cases, named=(), others=("case",), kinds={}).found
    assert (grade.classes, grade.truth.tolist()) == (("1", "2", "3"), [0, 2, 1])
    assert (ill.classes, ill.truth.tolist()) == (("no", "yes"), [1, 0, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a header of"),
        ("case,x,x\n", "a row of different names"),
        ("case,x\n", "no row"),
        ("case,x\na,1\na,2\n", "the case 'a' a second time, in row 3"),
        ("case,x\n,1\n", "no case name in row 2"),
        ("case,x\na,1,2\n", "3 values in row 2"),
        ('case,x\na,"1\n', "no table"),
        ("case,x\n\n,,\na,1\n\na,2\n", "the case 'a' a second time, in row 6"),
        ("case,x\na,1\n\nb,1,2\n", "3 values in row 4"),
        (b"case,x\n\xff,1\n", "Save it as UTF-8"),
        ("case,x\n\u00e4,1\n".encode("latin-1"), "Save it as UTF-8"),
        ("case,x\na,1\n".encode("utf-16"), "no text in UTF-8"),
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        table(tmp_path, text)
    assert caught.value.where.endswith("labels.csv")


def test_a_missing_or_a_huge_file_and_a_missing_column_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="no table"):
        read_table(tmp_path / "none.csv", case_column="case")
    with pytest.raises(ConfigError, match="columns case, sex, age, subject") as caught:
        table(tmp_path, case="id")
    assert caught.value.setting == "case_column"
    monkeypatch.setattr("mass3d.transfer.frozen.probing.labels.MAX_BYTES", 10)
    with pytest.raises(DataError, match="more than 256 MB"):
        table(tmp_path)


def targets(folder: Path, text: str = ROWS, **given: object) -> dict[str, object]:
    settings: dict[str, object] = {"named": (), "others": ("case", "subject"), "kinds": {}}
    found = table(folder, text)
    kept = targets_of(found, found.cases, **(settings | given))  # type: ignore[arg-type]
    return {one.name: one for one in kept.found}


def test_classes_are_sorted_and_missing_values_are_told(tmp_path: Path) -> None:
    sex = targets_of(
        table(tmp_path), ["c", "b", "a", "z"], named=("sex",), others=("case",), kinds={}
    ).found[0]
    assert (sex.kind, sex.classes, sex.cases) == ("classes", ("F", "M"), ("a", "b"))
    assert sex.truth.tolist() == [0, 1]
    assert sex.missing == ("c",)


def test_words_for_a_missing_value_are_no_class(tmp_path: Path) -> None:
    words = ("NA", "n/a", "N.A.", "NaN", "null", "None", "-", "?", "")
    rows = "".join(f"m{i},{word}\n" for i, word in enumerate(words))
    found = table(tmp_path, "case,ill\na,yes\nb,no\nNA,yes\n" + rows)
    ill = targets_of(found, found.cases, named=(), others=("case",), kinds={}).found[0]
    assert (ill.classes, ill.cases) == (("no", "yes"), ("a", "b", "NA"))
    assert ill.missing == tuple(f"m{i}" for i in range(len(words)))
    told = left_out_sentences({"without_scan": [], "without_row": []}, [ill])[0]
    assert told.startswith("9 scans without a value of ill ('-', '?', 'N.A.', ")
    assert told.endswith(", 'null' taken as missing): m0, m1, m2, ...")
    with pytest.raises(DataError, match=r"ill = 'yes' for all cases \('none' taken as missing\)"):
        targets(tmp_path, "case,ill\na,yes\nb,none\nc,yes\n")


def test_numbers_of_many_values_are_measured_and_few_are_classes(tmp_path: Path) -> None:
    rows = "".join(f"c{i},{i / 2},{10 - i % 3}\n" for i in range(12))
    found = targets(tmp_path, "case,long,grade\n" + rows)
    assert list(found) == ["long", "grade"]
    long, grade = found.values()
    assert (long.kind, long.classes, long.truth.tolist()[3]) == ("number", (), 1.5)  # type: ignore[attr-defined]
    assert grade.classes == ("8", "9", "10")  # type: ignore[attr-defined]
    kinds: dict[str, Kind] = {"grade": "number", "long": "classes"}
    long, grade = targets(tmp_path, "case,long,grade\n" + rows, kinds=kinds).values()
    assert len(long.classes) == 12  # type: ignore[attr-defined]
    assert grade.truth.tolist()[:3] == [10, 9, 8]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("case,x\na,1\nb,1\n", {}, "x = '1' for all cases"),
        ("case,x\na,\nb,\n", {}, "no value of x"),
        ("case\na\n", {}, "no column beside the cases"),
        ("case,x\na,1\nb,high\n", {"kinds": {"x": "number"}}, "x = 'high' of the case b"),
        ("case;x\na;1,5\nb;2\n", {}, "x = '1,5' of the case a, with a decimal comma"),
        ("case;x\na;1\nb;2,5\n", {"kinds": {"x": "number"}}, "with decimal points"),
    ],
)
def test_targets_that_cannot_be_predicted_are_told(
    tmp_path: Path, text: str, given: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        targets(tmp_path, text, **given)


def test_a_class_that_is_spelled_in_two_ways_is_one_class(tmp_path: Path) -> None:
    """As in a table that was put together of whole numbers and of numbers with a point."""
    rows = "case,sex,site,same\na,1,01,3\nb,1.0,02,3.0\nc,0,01,3\nd,0.0,02,3\n"
    found = targets_of(table(tmp_path, rows), "abcd", named=("sex", "site"), others=(), kinds={})
    assert [one.classes for one in found.found] == [("0", "1"), ("01", "02")]
    assert found.found[0].truth.tolist() == [1, 1, 0, 0]
    with pytest.raises(DataError, match="same = '3' for all cases"):
        targets_of(table(tmp_path, rows), "abcd", named=("same",), others=(), kinds={})


def test_classes_that_differ_in_capitals_only_are_told(tmp_path: Path) -> None:
    rows = "case,sex,site\na,Male,x\nb,male,y\nc,F,x\nd,MALE,y\n"
    found = targets_of(table(tmp_path, rows), "abcd", named=("sex", "site"), others=(), kinds={})
    assert found.found[0].classes == ("F", "MALE", "Male", "male")
    assert alike_sentences(found.found) == [
        "classes of sex differ in capitals only, each counts by itself: 'MALE', 'Male', 'male'"
    ]


def test_codes_with_an_underscore_are_names(tmp_path: Path) -> None:
    """Python reads 1_0 as 10."""
    rows = "".join(f"c{i},{('1_0', '10')[i % 2]},{i}_{i}\n" for i in range(12))
    site, code = targets(tmp_path, "case,site,code\n" + rows).values()
    assert (site.kind, site.classes) == ("classes", ("10", "1_0"))  # type: ignore[attr-defined]
    assert (code.kind, len(code.classes)) == ("classes", 12)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="code = '0_0' of the case c0"):
        targets(tmp_path, "case,site,code\n" + rows, named=["code"], kinds={"code": "number"})


def test_a_bad_target_does_not_cost_the_others(tmp_path: Path) -> None:
    found = table(tmp_path, "case,site,ill,note\na,x,yes,\nb,x,no,\n")
    asked = targets_of(found, found.cases, named=(), others=("case",), kinds={})
    assert [one.name for one in asked.found] == ["ill"]
    assert {name: error.found for name, error in asked.refused.items()} == {
        "site": "site = 'x' for all cases",
        "note": "no value of note",
    }


def test_classes_may_have_commas(tmp_path: Path) -> None:
    text = "case;x\na;1,5\nb;2\n"
    found = targets(tmp_path, text, kinds={"x": "classes"})["x"]
    assert found.classes == ("1,5", "2")  # type: ignore[attr-defined]
    found = targets(tmp_path, text + "c;a,b\n")["x"]
    assert found.classes == ("1,5", "2", "a,b")  # type: ignore[attr-defined]


def test_columns_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a column 'x'") as caught:
        targets(tmp_path, named=("x",))
    assert caught.value.setting == "targets"


def test_a_row_of_a_case_is_that_of_all_its_channels_where_nothing_else_is(tmp_path: Path) -> None:
    known = {"a_T1": "a", "a_T2": "a", "b_T1": "b", "b_T2": "b", "c": "c", "c_0001": "c", "d": ""}
    rows = "case,x\na,1\nb,2\nb_T1,3\nc,4\nd,5\nlost,6\n"
    found = of_scans(table(tmp_path, rows), known)
    values = {"a_T1": "1", "a_T2": "1", "b": "2", "b_T1": "3", "c": "4", "d": "5", "lost": "6"}
    assert found.columns["x"] == values
    assert found.cases == [*values]
    assert found.case_of == {scan: case for scan, case in known.items() if case}
    assert of_scans(found, known) == found
