"""A real CT series, and the DICOM segmentation of it that the page gives out."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from pydicom import dcmread

from mass3d.io.read import read_label, read_volume
from mass3d.transfer.results import Entry
from server.test_rounds import made, results
from servers import client_of, site_of

pytestmark = pytest.mark.data
SERIES = Path("reader", "dicom", "ct_20_slices")


def test_the_result_of_a_real_series_is_downloaded_slice_by_slice(
    data_dir: Path, tmp_path: Path
) -> None:
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    site = site_of(tmp_path / "project", data_dir / SERIES)
    client = client_of(site)
    (name,) = site.scans.cases
    case = site.scans.case(name)
    scan = read_volume(case.scan)
    truth = read_label(data_dir / f"{SERIES}_seg.nii.gz", like=scan)
    values = sorted(set(np.unique(truth.voxels).tolist()) - {0})
    assert values
    names = {f"structure {value}": value for value in values}
    site.set_structures([{"name": one, "value": value} for one, value in names.items()])
    results(made(site, 1, **names), **{name: Entry(source="s", result="r")})
    found = site.rounds.newest()
    assert found is not None
    truth.save(found.label_map(name))

    assert client.get(f"/api/cases/{quote(name)}/image.nii?level=small").status_code == 200
    answer = client.get(f"/api/cases/{quote(name)}/result.dcm")
    assert answer.status_code == 200, answer.text
    (tmp_path / "answer.dcm").write_bytes(answer.content)
    segmentation = highdicom.seg.segread(tmp_path / "answer.dcm")
    assert [one.SegmentLabel for one in segmentation.SegmentSequence] == list(names)
    series = case.series
    assert series is not None
    # whoever made it anonymous has emptied the identifiers; they stand in front of each file, too
    uids = [
        dcmread(one.file.path, stop_before_pixels=True).file_meta.MediaStorageSOPInstanceUID
        for one in series.slices
    ]
    stored = segmentation.get_pixels_by_source_instance(
        uids, combine_segments=True, relabel=False, assert_missing_frames_are_empty=True
    )  # (slices, rows, columns), numbers of segments
    ours = scan.source.from_canonical(truth.voxels).transpose(2, 1, 0)
    np.testing.assert_array_equal(np.array([0, *values])[stored], ours)
