from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mass3d.errors import DataError
from mass3d.io.datasets.label_names import common_names, label_colours, label_names
from mass3d.io.formats.label_table import LabelName, names_in, table_xml
from mass3d.io.formats.nifti import read_extensions
from mass3d.io.read import read_label
from mass3d.io.write import write_label
from mass3d.volume.geometry import SourceGrid

LIVER, CYST = LabelName(1, "liver", (255, 0, 128)), LabelName(7, "cyst <a> & ]]> b", (0, 51, 255))
GRID = SourceGrid.nearest((3, 4, 5), np.diag((-1.0, -1.0, 2.0, 1.0)))
LABELS = np.random.default_rng(0).choice([0, 1, 7], GRID.grid.shape)

# As TotalSegmentator writes it, under code 0.
FOREIGN = (
    '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  <Date><![CDATA[2013-07-14T05:45:09]]>'
    '</Date>   <VolumeInformation Index="0">   <LabelTable>\n'
    '<Label Key="1" Red="0.0" Green="1.0" Blue="0.0" Alpha="1"><![CDATA[spleen]]></Label>\n'
    '<Label Key="2" Red="0.0" Green="0.0" Blue="1.0" Alpha="1"><![CDATA[kidney_right]]></Label>\n\n'
    "  </LabelTable>  <StudyMetaDataLinkSet>  </StudyMetaDataLinkSet> <VolumeType><![CDATA[Label]]>"
    "</VolumeType>   </VolumeInformation></CaretExtension>\n              "
)


def written(path: Path, *names: LabelName) -> Path:
    write_label(path, LABELS, GRID, names=names)
    return path


def foreign(path: Path, content: bytes, *, code: int = 0, kind: Any = nib.Nifti1Image) -> Path:
    image = kind(np.ones((2, 2, 2), np.uint8), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))
    image.to_filename(path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_names_that_were_written_are_read_back_and_change_no_voxel(
    tmp_path: Path, name: str
) -> None:
    plain, named = written(tmp_path / f"plain_{name}"), written(tmp_path / name, LIVER, CYST)
    assert label_names(named) == {LIVER.name: 1, CYST.name: 7}
    assert label_names(plain) == {}
    first, second = read_label(plain), read_label(named)
    np.testing.assert_array_equal(first.voxels, second.voxels)
    assert (first.grid, first.source, first.repairs) == (second.grid, second.source, ())
    assert read_extensions(plain) == []


def test_nibabel_finds_names_and_colours_under_both_codes(tmp_path: Path) -> None:
    header = nib.load(written(tmp_path / "a.nii.gz", LIVER, CYST)).header
    assert isinstance(header, nib.Nifti1Header)
    first, second = header.extensions
    assert (first.get_code(), second.get_code()) == (0, 30)
    content = bytes(first.get_content())  # as TotalSegmentator reads it
    assert content == second.content
    assert not content.strip(b" ").endswith(b"\0")
    assert b'<Label Key="1" Red="1.000000" Green="0.000000" Blue="0.501961" Alpha="1">' in content
    assert (len(content) + 8) % 16 == 0


def test_an_extension_leaves_all_other_bytes_as_they_are(tmp_path: Path) -> None:
    plain = (tmp_path / "plain.nii", tmp_path / "named.nii")
    bare, named = (
        written(path, *names).read_bytes()
        for path, names in zip(plain, ((), (LIVER,)), strict=True)
    )
    (offset,) = struct.unpack_from("<f", named, 108)
    assert named[int(offset) :] == bare[352:]
    assert (bare[:108], bare[112:348]) == (named[:108], named[112:348])


def test_the_table_of_totalsegmentator_is_read(tmp_path: Path) -> None:
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        path = foreign(tmp_path / "a.nii.gz", FOREIGN.encode(), kind=kind)
        assert label_names(path) == {"spleen": 1, "kidney_right": 2}


def test_colours_are_those_of_the_first_table_that_tells_all_values_apart(tmp_path: Path) -> None:
    ours = written(tmp_path / "ours.nii.gz", LIVER, CYST)
    plain = written(tmp_path / "plain.nii.gz")
    white = written(
        tmp_path / "white.nii.gz", *(one._replace(colour=(255,) * 3) for one in (LIVER, CYST))
    )
    theirs = foreign(tmp_path / "theirs.nii.gz", FOREIGN.encode())
    broken = foreign(tmp_path / "broken.nii.gz", FOREIGN.replace('Red="0.0"', 'Red="red"').encode())
    both = {LIVER.value: LIVER.colour, CYST.value: CYST.colour}
    assert label_colours([plain, white, theirs, broken, ours], [1, 7]) == both
    assert label_colours([theirs], [1, 2]) == {1: (0, 255, 0), 2: (0, 0, 255)}
    assert label_colours([broken, theirs.with_name("white.nii.gz")], [1, 2]) == {}
    assert label_colours([ours], [7]) == {7: CYST.colour}


@given(st.dictionaries(st.integers(1, 65535), st.text(min_size=1, max_size=20), max_size=5))
def test_any_names_that_xml_can_hold_come_back(names: dict[int, str]) -> None:
    held = {value: name for value, name in names.items() if name.isprintable()}
    once = {name: value for value, name in held.items()}
    content = table_xml(LabelName(value, name, (1, 2, 3)) for value, name in held.items())
    expected = once if once and len(once) == len(held) else None
    assert names_in(content) == expected


def test_a_letter_that_xml_cannot_hold_is_replaced() -> None:
    assert names_in(table_xml([LabelName(3, "a\0b\ud800\r\n", (0, 0, 0))])) == {"a�b�\r\n": 3}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a comment",
        b"<CaretExtension>",
        b"<CaretExtension></CaretExtension>",
        b"<CaretExtension><LabelTable></LabelTable></CaretExtension>",
        b'<CaretExtension><LabelTable><Label Key="a">b</Label></LabelTable></CaretExtension>',
        b"<CaretExtension><LabelTable><Label>b</Label></LabelTable></CaretExtension>",
        b'<CaretExtension><LabelTable><Label Key="0">b</Label></LabelTable></CaretExtension>',
        FOREIGN.replace('Key="2"', 'Key="1"').encode(),
        FOREIGN.replace("kidney_right", "spleen").encode(),
        FOREIGN.replace(" <Caret", '<!DOCTYPE a [<!ENTITY b "c">]> <Caret').encode(),
        FOREIGN.encode()[:-100],
    ],
)
def test_what_is_no_whole_table_names_nothing(tmp_path: Path, content: bytes) -> None:
    assert label_names(foreign(tmp_path / "a.nii", content or b"\0")) == {}


def test_sizes_that_cannot_be_are_not_followed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii", LIVER)
    whole = path.read_bytes()
    for size in (0, 7, -16, 2**31 - 1):
        path.write_bytes(whole[:352] + struct.pack("<i", size) + whole[356:])
        assert label_names(path) == {}
    path.write_bytes(whole[:348] + b"\0" + whole[349:])  # the header says that there are none
    assert label_names(path) == {}


def test_big_endian_extensions_are_read(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    image = nib.Nifti1Image(np.ones((2, 2, 2), ">u1"), np.eye(4), header)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(30, table_xml([LIVER])))
    image.to_filename(tmp_path / "a.nii")
    assert label_names(tmp_path / "a.nii") == {"liver": 1}


def test_a_cut_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(written(tmp_path / "b.nii", LIVER).read_bytes()[:300]))
    with pytest.raises(DataError):
        label_names(path)


def test_other_formats_name_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.mha"
    file.write_bytes(b"ObjectType = Image\nNDims = 3\n")
    assert label_names(file) == {}


def test_tables_together_name_what_is_shown() -> None:
    one, two = Path("one"), Path("two")
    tables = {one: {"liver": 1, "spleen": 2}, two: {"spleen": 2, "cyst": 9}}
    assert common_names(tables, {2, 9, 4}) == {"spleen": 2, "cyst": 9}
    assert common_names(tables, {3}) is None
    with pytest.raises(DataError, match=r"two: found a table .* says liver = 2.*one says"):
        common_names({one: {"liver": 1}, two: {"liver": 2}}, {1, 2})
    with pytest.raises(DataError, match="1 = spleen; expected 1 = liver"):
        common_names({one: {"liver": 1}, two: {"spleen": 1}}, {1})
