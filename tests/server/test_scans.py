"""What is known of scans by their headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicoms import series
from mass3d.errors import DataError
from mass3d.io.datasets.cohort import find_cohort
from mass3d.io.read import Header
from mass3d.server import scans as room
from mass3d.server.refusal import Refused
from mass3d.server.scans import Scans, stamp_of
from scans import itk_image, write_detached
from servers import write_scan


def scans_of(folder: Path, *inputs: Path, links: bool = False) -> Scans:
    cases = {case.case_id: case for case in find_cohort(inputs).cases}
    return Scans(cases, inputs, folder, links)


def test_shape_and_spacing_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    turned = np.array([[0, 3.0, 0, 0], [0, 0, 4.0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])
    write_scan(tmp_path / "in" / "a.nii.gz", affine=turned)
    facts = scans_of(tmp_path, tmp_path / "in").facts()["a"]
    assert (facts.shape, facts.spacing_mm) == ((9, 8, 7), (2.0, 3.0, 4.0))
    assert (facts.modality, facts.error) == (None, None)


def test_headers_are_read_again_only_when_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz")
    read: list[str] = []
    real = room.read_grid

    def reading(scan: Path) -> Header:
        read.append(scan.name)
        return real(scan)

    monkeypatch.setattr(room, "read_grid", reading)
    first = scans_of(tmp_path / "cache", tmp_path / "in")
    assert (len(first.facts()), len(first.facts()), sorted(read)) == (
        2,
        2,
        ["a.nii.gz", "b.nii.gz"],
    )
    version = first.version
    again = scans_of(tmp_path / "cache", tmp_path / "in")
    assert (again.facts(), len(read)) == (first.facts(), 2)
    write_scan(tmp_path / "in" / "b.nii.gz", np.ones((5, 5, 5), np.int16))
    assert first.facts()["b"].shape == (5, 5, 5)
    assert (len(read), first.version) == (3, version + 1)
    (tmp_path / "cache" / "headers.json").write_text("{")
    assert len(scans_of(tmp_path / "cache", tmp_path / "in").facts()) == 2


def test_a_scan_that_cannot_be_read_has_its_error_and_the_others_are_there(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(b"nothing")
    known = scans_of(tmp_path, tmp_path)
    facts = known.facts()
    assert facts["a"].error is None
    assert "b.nii.gz: found content" in (facts["b"].error or "")
    (tmp_path / "a.nii.gz").unlink()
    assert known.facts()["a"].error
    assert stamp_of(tmp_path / "a.nii.gz") == ""


def test_names_and_tags_tell_the_modality_and_reading_does_once(tmp_path: Path) -> None:
    write_scan(tmp_path / "in" / "one_ct.nii.gz")
    write_scan(tmp_path / "in" / "two.nii.gz")
    series(tmp_path / "in" / "three", modality="MR")
    known = scans_of(tmp_path / "cache", tmp_path / "in")
    modalities = {name: one.modality for name, one in known.facts().items()}
    assert sorted(map(str, modalities.values())) == ["None", "ct", "mr"]
    known.learn(known.case("two"), "pet")
    known.learn(known.case("one_ct"), "pet")
    known.learn(known.case("two"), "mr")
    facts = scans_of(tmp_path / "cache", tmp_path / "in").facts()
    assert (facts["two"].modality, facts["one_ct"].modality) == ("pet", "ct")


def test_what_a_link_leads_to_elsewhere_is_not_shown_unless_that_is_wanted(tmp_path: Path) -> None:
    secret = write_scan(tmp_path / "elsewhere" / "secret.nii.gz")
    write_scan(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "link.nii.gz").symlink_to(secret)
    (tmp_path / "in" / "own.nii.gz").symlink_to(tmp_path / "in" / "a.nii.gz")
    known = scans_of(tmp_path, tmp_path / "in")
    facts = known.facts()
    assert facts["own"].error is None
    assert "leads out of the given folders" in (facts["link"].error or "")
    assert facts["link"].shape is None
    with pytest.raises(DataError, match="leads out"):
        known.readable("link")
    assert known.readable("own").case_id == "own"
    wanted = scans_of(tmp_path / "other", tmp_path / "in", links=True)
    assert wanted.facts()["link"].error is None
    assert wanted.readable("link").case_id == "link"
    # a link that is given itself is what was asked for
    (tmp_path / "given").symlink_to(tmp_path / "elsewhere")
    assert scans_of(tmp_path / "third", tmp_path / "given").facts()["secret"].error is None


def test_voxels_beside_a_header_that_are_a_link_elsewhere_are_not_read(tmp_path: Path) -> None:
    beside = write_detached(tmp_path / "in" / "a.mhd", itk_image(), "a.raw")
    known = scans_of(tmp_path, tmp_path / "in")
    assert known.facts()["a"].error is None
    beside.rename(tmp_path / "outside.raw")
    beside.symlink_to(tmp_path / "outside.raw")
    with pytest.raises(DataError, match="leads out of the given folders"):
        known.readable("a")


def test_an_id_that_is_none_is_not_found(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz")
    known = scans_of(tmp_path, tmp_path)
    for name in ("", "..", "../a", "a.nii.gz", "/etc/passwd"):
        with pytest.raises(Refused) as caught:
            known.readable(name)
        assert caught.value.status == 404
