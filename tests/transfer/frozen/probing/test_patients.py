"""Which scans are kept in one fold, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mass3d.errors import ConfigError, DataError
from mass3d.transfer.frozen.probing.labels import Table, of_scans, read_table
from mass3d.transfer.frozen.probing.patients import Patients, no_targets, patients_of

ROWS = "case,sex,{}\na,F,p1\nb,M,p2\nc,,p2\n"
SCANS = {"a": "1", "b": "2", "c": "3", "no row": "4"}


def table(folder: Path, text: str, case: str = "case") -> Table:
    path = folder / "labels.csv"
    path.write_text(text)
    return read_table(path, case_column=case)


def of_cases(folder: Path, *cases: str) -> Patients:
    rows = "".join(f"{case},{number}\n" for number, case in enumerate(cases))
    found = table(folder, f"case,x\n{rows}")
    return patients_of(found, None, {case: case for case in cases})


@pytest.mark.parametrize(
    "called",
    [
        *("patient", "Patient", "patient_id", "Patient_ID", "PatientID", "PATIENT ID"),
        *("subject", "Subject-ID", "participant", "participant_id", " Participant Id "),
    ],
)
def test_a_column_that_is_called_so_groups_scans(tmp_path: Path, called: str) -> None:
    found = table(tmp_path, ROWS.format(called))
    patients = patients_of(found, None, SCANS)
    assert patients.of == {"a": "p1", "b": "p2", "c": "p2"}
    assert patients.plain() == {"by": "column", "column": called.strip()}
    assert patients.how == f"Patients are those of the column {called.strip()!r}."
    assert "sex" not in no_targets(found, None)
    assert set(no_targets(found, None)) == {"case", called.strip()}


@pytest.mark.parametrize("called", ["id", "patients", "subject_age", "inpatient", "patient_name"])
def test_other_columns_group_nothing(tmp_path: Path, called: str) -> None:
    found = table(tmp_path, ROWS.format(called))
    patients = patients_of(found, None, SCANS)
    assert patients.of == {"a": "a", "b": "b", "c": "c"}
    assert patients.plain() == {"by": "scans", "column": None}
    assert patients.how == "Every scan counted as a patient of its own."
    assert no_targets(found, None) == ("case",)
    named = patients_of(found, called, SCANS)
    assert named.of == {"a": "p1", "b": "p2", "c": "p2"}
    assert named.column == called


def test_the_names_of_cases_are_no_patients(tmp_path: Path) -> None:
    found = table(tmp_path, "participant_id,sex\na,F\nb,M\n", case="participant_id")
    assert patients_of(found, None, {"a": "1", "b": "2"}).by == "scans"
    assert no_targets(found, None) == ("participant_id",)


def test_two_columns_of_patients_must_say_the_same_or_one_be_named(tmp_path: Path) -> None:
    rows = "case,patient,Subject_ID,x\na,1,{}\nb,2,{}\nc,01,{}\n"
    same = table(tmp_path, rows.format("s,1", "t,2", "s,3"))
    found = patients_of(same, None, {"a": "1", "b": "2", "c": "3"})
    assert found.of == {"a": "1", "b": "2", "c": "1"}
    assert no_targets(same, None) == ("case", "patient", "Subject_ID")
    other = table(tmp_path, rows.format("s,1", "t,2", "u,3"))
    with pytest.raises(ConfigError, match="columns 'patient' and 'Subject_ID', which group") as got:
        patients_of(other, None, {})
    assert got.value.setting == "patient_column"
    assert patients_of(other, "Subject_ID", {"a": "1", "c": "3"}).of == {"a": "s", "c": "u"}


def test_without_a_column_the_subject_in_the_name_does(tmp_path: Path) -> None:
    found = of_cases(tmp_path, "sub-01_ses-1", "sub-01_ses-2", "sub-02", "mass_sub-02_T1w", "x")
    assert found.of == {
        "sub-01_ses-1": "sub-01",
        "sub-01_ses-2": "sub-01",
        "sub-02": "sub-02",
        "mass_sub-02_T1w": "sub-02",
        "x": "x",
    }
    assert found.plain() == {"by": "names", "column": None}
    assert found.how == (
        "Patients are the subjects in the names of the scans (sub-01, sub-02); "
        "1 scan without one counted by itself."
    )


def test_a_column_decides_before_names(tmp_path: Path) -> None:
    found = table(tmp_path, "case,patient\nsub-01_ses-1,p\nsub-01_ses-2,q\nsub-02,q\n")
    patients = patients_of(found, None, {case: case for case in found.cases})
    assert patients.of == {"sub-01_ses-1": "p", "sub-01_ses-2": "q", "sub-02": "q"}


def test_a_number_is_one_patient_however_it_is_spelled(tmp_path: Path) -> None:
    """As in a table of which a spreadsheet has read some parts as numbers."""
    names = ["07", "7", " 7.0 ", "A7", "8", "12345678901234567890", "12345678901234567891", "1_0"]
    rows = "".join(f"c{number},{name}\n" for number, name in enumerate([*names, "10"]))
    found = table(tmp_path, f"case,patient\n{rows}")
    patients = patients_of(found, None, {case: case for case in found.cases})
    assert list(patients.of.values()) == ["7", "7", "7", *names[3:], "10"]
    assert patients.told == ("'07', '7', '7.0' in the column patient are taken as one patient",)


def test_patients_that_differ_in_capitals_only_are_told(tmp_path: Path) -> None:
    found = table(tmp_path, "case,patient\na,P1\nb,p1\nc,p2\n")
    patients = patients_of(found, None, {"a": "1", "b": "2", "c": "3"})
    assert len(set(patients.of.values())) == 3
    assert patients.told == (
        "patients in the column patient differ in capitals only, each counts by itself: 'P1', 'p1'",
    )


def test_a_case_without_a_patient_and_a_column_that_is_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no patient of the case b"):
        patients_of(table(tmp_path, "case,patient\na,p\nb,NA\n"), None, {"a": "1", "b": "2"})
    found = table(tmp_path, ROWS.format("who"))
    with pytest.raises(DataError, match="no sex of the case c"):
        patients_of(found, "sex", SCANS)
    with pytest.raises(ConfigError, match="a column 'x'") as caught:
        patients_of(found, "x", SCANS)
    assert caught.value.setting == "patient_column"


def test_one_scan_under_two_names_is_one_patient(tmp_path: Path) -> None:
    rows = "case,x,patient\na,1,p\nb,2,q\nc,3,q\nd,4,r\n"
    found = patients_of(table(tmp_path, rows), None, {"a": "s", "b": "s", "c": "t", "d": "u"})
    assert found.of["a"] == found.of["b"] == found.of["c"] != found.of["d"]
    assert found.told == ("b is the same scan as a, so both are kept in one fold",)


def test_channels_of_a_case_are_of_one_patient(tmp_path: Path) -> None:
    found = table(tmp_path, "case,x\nP_0_T1,1\nP_0_FLAIR,1\nP_1_T1,2\nsub-1_T1,2\nlone,3\n")
    known = {"P_0_T1": "P_0", "P_0_FLAIR": "P_0", "P_1_T1": "P_1", "sub-1_T1": "sub-1", "lone": ""}
    scans = {name: name for name in known}
    patients = patients_of(of_scans(found, known), None, scans)
    assert patients.of == {**known, "lone": "lone"}
    assert patients.plain() == {"by": "names", "column": None}
    assert patients.how == (
        "Patients are the subjects in the names of the scans (sub-1) and the cases that scans are "
        "channels of (P_0, P_1); 1 scan without one counted by itself."
    )
    column = table(tmp_path, "case,patient\nP_0,a\nP_1,a\n")
    assert set(patients_of(of_scans(column, known), None, scans).of.values()) == {"a"}
