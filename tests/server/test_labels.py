"""Label maps that come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mass3d.io.datasets.label_names import label_names
from mass3d.io.formats.label_table import LabelName
from mass3d.io.read import read_label
from mass3d.server.labels import Labels, counted
from mass3d.server.project import State, Structure
from mass3d.server.refusal import Refused
from mass3d.server.site import Site
from servers import a_label, label_bytes, write_scan

STATE = State(
    model=Path("run"),
    inputs=(),
    structures=(
        Structure(name="liver", value=1, colour="#010203"),
        Structure(name="spleen", value=300, colour="#010203"),
    ),
)


def upload(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "upload.nii").write_bytes(content)
    return folder / "upload.nii"


def keep(site: Site, case_id: str, file: Path) -> dict[str, float]:
    return site.labels.keep(site.labels.checked(case_id, file, STATE), STATE)


def test_a_label_map_is_kept_on_the_grid_of_its_scan_with_its_names(
    site: Site, tmp_path: Path
) -> None:
    label = a_label(1).astype(np.uint16)
    label[8, 7, 6] = 300
    volumes = keep(site, "a", upload(tmp_path / "up", label_bytes(label)))
    assert volumes == {"liver": pytest.approx(18 * 0.024), "spleen": pytest.approx(0.024)}
    file = site.project.label("a")
    assert file.name == "a.nii.gz"
    found = read_label(file)
    assert found.source.shape == (9, 8, 7)
    np.testing.assert_array_equal(found.source.from_canonical(found.voxels), label)
    assert label_names(file) == {"liver": 1, "spleen": 300}
    assert STATE.names[0] == LabelName(1, "liver", (1, 2, 3))


def test_a_label_map_in_another_order_of_axes_lies_where_the_scan_does(
    site: Site, tmp_path: Path
) -> None:
    turned = np.array([[0, 0, -2.0, 16.0], [3.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])
    label = a_label(1)
    moved = label.transpose(1, 2, 0)[:, :, ::-1]
    keep(site, "a", upload(tmp_path / "up", label_bytes(moved, turned)))
    found = read_label(site.project.label("a"))
    np.testing.assert_array_equal(found.source.from_canonical(found.voxels), label)
    assert found.source.permutation == (2, 1, 0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (label_bytes(a_label(2)), "label values 2"),
        (label_bytes(a_label(*range(2, 6)).repeat(2, axis=0)), "a grid of"),
        (label_bytes(a_label(1), np.diag([2.0, 3.0, 4.1, 1.0])), "a grid of"),
        (label_bytes(a_label(1).astype(np.float32) / 2), "values that are not whole numbers"),
        (label_bytes(-a_label(1).astype(np.int16)), "label values from -1"),
        (label_bytes(a_label(1))[:-20], "a damaged or incomplete image"),
        (label_bytes(a_label(1))[:100], "a damaged or incomplete image"),
    ],
)
def test_what_is_no_label_map_of_the_scan_is_refused_and_the_old_one_stays(
    site: Site, tmp_path: Path, content: bytes, told: str
) -> None:
    keep(site, "a", upload(tmp_path / "up", label_bytes(a_label(1))))
    before = site.project.label("a").read_bytes()
    with pytest.raises(Refused, match=told) as caught:
        keep(site, "a", upload(tmp_path / "up", content))
    assert (caught.value.status, caught.value.where) == (422, "the label map")
    assert site.project.label("a").read_bytes() == before


def test_a_structure_that_goes_meanwhile_is_noticed(site: Site, tmp_path: Path) -> None:
    label = site.labels.checked("a", upload(tmp_path / "up", label_bytes(a_label(1))), STATE)
    with pytest.raises(Refused, match="there are none yet"):
        site.labels.keep(label, STATE.model_copy(update={"structures": ()}))
    assert not site.labels.is_drawn("a")


def test_an_empty_label_map_is_one(site: Site, tmp_path: Path) -> None:
    volumes = keep(site, "a", upload(tmp_path / "up", label_bytes(a_label())))
    assert volumes == {"liver": 0.0, "spleen": 0.0}
    assert site.labels.values_in_use() == {}


def test_values_in_use_are_known_of_files_that_came_by_themselves(
    site: Site, tmp_path: Path
) -> None:
    keep(site, "a", upload(tmp_path / "up", label_bytes(a_label(1))))
    again = Labels(site.project, site.scans)
    assert again.values_in_use() == {1: "a"}
    write_scan(site.project.label("b"), a_label(7, 1))
    site.project.label("c <&> d").write_bytes(b"damaged")
    assert again.values_in_use() == {1: "a", 7: "b"}
    assert again.values_in_use() == {1: "a", 7: "b"}
    (site.project.cache / "labels.json").write_text("[1]")
    assert Labels(site.project, site.scans).values_in_use() == {1: "a", 7: "b"}


def test_volumes_are_known_only_of_the_file_that_was_seen(site: Site, tmp_path: Path) -> None:
    facts = site.scans.facts()
    assert site.labels.known_volumes_ml("a", facts["a"], STATE) == {}
    keep(site, "a", upload(tmp_path / "up", label_bytes(a_label(1))))
    known = site.labels.known_volumes_ml("a", facts["a"], STATE)
    assert known["liver"] == pytest.approx(18 * 0.024)
    no_header = facts["a"].model_copy(update={"spacing_mm": None})
    assert site.labels.known_volumes_ml("a", no_header, STATE) == {}
    write_scan(site.project.label("a"), a_label(1))
    assert site.labels.known_volumes_ml("a", facts["a"], STATE) == {}


def test_voxels_are_counted_by_value() -> None:
    label = np.random.default_rng(0).integers(0, 5, (4, 5, 6)).astype(np.uint16)
    label[label == 3] = 9
    slow = {value: int((label == value).sum()) for value in (1, 2, 4, 9)}
    assert counted(label) == slow
