"""The addresses, as the page asks them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from starlette.testclient import TestClient

from dicoms import series
from mass3d.files import VERSION
from mass3d.io.read import read_volume
from mass3d.server import routes
from mass3d.server.site import Site
from mass3d.transfer.results import Entry
from server.test_rounds import draw, made, results
from servers import a_label, client_of, label_bytes, site_of

ODD = quote("c <&> d")


def image_of(tmp_path: Path, content: bytes) -> nib.Nifti1Image:
    (tmp_path / "answer.nii").write_bytes(content)
    return nib.load(tmp_path / "answer.nii")


def test_a_project_says_what_is_chosen(client: TestClient, site: Site) -> None:
    said = client.get("/api/project").json()
    assert said == {
        "name": "project",
        "version": VERSION,
        "model": "run",
        "scans": 3,
        "structures": [],
        "references": [],
        "round": 0,
        "rounds": [],
        "stale": False,
        "commands": {"task": "", "segment": ""},
    }
    said = client.put("/api/structures", json=[{"name": "liver"}, {"name": "<b>"}]).json()
    assert [one["value"] for one in said["structures"]] == [1, 2]
    draw(site, "a", 1)
    said = client.put("/api/cases/a/reference", json={"use": True}).json()
    assert (said["references"], said["stale"]) == (["a"], True)
    assert said["commands"]["task"].startswith("mass3d task -i ")
    assert "rounds/1/task.task" in said["commands"]["task"]
    results(made(site, 1, "a", liver=1, **{"<b>": 2}), a=Entry(source="s", result="r"))
    said = client.get("/api/project").json()
    assert (said["round"], said["stale"]) == (1, False)
    assert said["rounds"] == [
        {
            "round": 1,
            "references": ["a"],
            "structures": ["liver", "<b>"],
            "dice": {
                name: {"itself": 0.9877, "others": None, "affine": None}
                for name in ("liver", "<b>")
            },
            "segmented": 1,
        }
    ]
    assert "rounds/2/task.task" in said["commands"]["task"]
    assert said["commands"]["segment"].startswith("mass3d segment ")
    said = client.put("/api/cases/a/reference", json={"use": False}).json()
    assert (said["references"], said["stale"]) == ([], True)


def test_structures_that_label_maps_use_stay(client: TestClient, site: Site) -> None:
    client.put("/api/structures", json=[{"name": "liver"}, {"name": "spleen"}])
    draw(site, "a", 2)
    answer = client.put("/api/structures", json=[{"name": "liver"}])
    assert answer.status_code == 409
    assert "the value 2" in answer.json()["error"]["message"]
    assert client.put("/api/structures", json=[{"name": "spleen", "value": 2}]).status_code == 200
    renamed = client.put("/api/structures", json=[{"name": "other", "value": 2}])
    assert [one["name"] for one in renamed.json()["structures"]] == ["other"]


@pytest.mark.parametrize("body", ["{}", "[1]", '[{"name": 1}]', "null", '"x"'])
def test_structures_that_are_none_are_refused(client: TestClient, body: str) -> None:
    answer = client.put("/api/structures", content=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["found"].startswith("structures that are not right")


def test_the_table_is_sent_again_only_when_it_has_changed(client: TestClient, site: Site) -> None:
    first = client.get("/api/cases")
    assert [row["id"] for row in first.json()["cases"]] == ["a", "b", "c <&> d"]
    tag = first.headers["etag"]
    again = client.get("/api/cases", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    site.set_structures([{"name": "liver"}])
    draw(site, "a", 1)
    assert client.get("/api/cases", headers={"If-None-Match": tag}).status_code == 200
    assert client.get("/api/cases?round=1").status_code == 404
    for number in ("x", "-1", "1e9", "99999999999"):
        answer = client.get("/api/cases", params={"round": number})
        assert answer.status_code == 422
        assert answer.json()["error"]["message"]


def test_images_come_with_a_window(client: TestClient, site: Site, tmp_path: Path) -> None:
    for level in ("small", "full"):
        answer = client.get(f"/api/cases/{ODD}/image.nii", params={"level": level})
        assert answer.headers["x-mass3d-window"] == "-150 260"
        image = image_of(tmp_path, answer.content)
        scan = nib.load(site.scans.case("c <&> d").path)
        np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(scan.dataobj))
    assert client.get("/api/cases/a/image.nii?level=huge").status_code == 422
    assert client.get("/api/cases/no/image.nii?level=full").status_code == 404
    assert client.get("/api/cases/a/thumbnail.jpg?v=1").headers["content-type"] == "image/jpeg"
    assert client.get("/api/cases/no/thumbnail.jpg").status_code == 404


def test_a_label_map_is_taken_given_back_and_removed(
    client: TestClient, site: Site, tmp_path: Path
) -> None:
    client.put("/api/structures", json=[{"name": "liver"}])
    label = a_label(1)
    for body in (label_bytes(label), gzip.compress(label_bytes(label))):
        answer = client.put(f"/api/cases/{ODD}/labels", content=body)
        assert answer.json() == {"volumes_ml": {"liver": pytest.approx(0.432)}}
    assert not list((site.project.cache / "uploads").iterdir())
    for which in ("drawn", "start"):
        answer = client.get(f"/api/cases/{ODD}/labels.nii", params={"which": which})
        image = image_of(tmp_path, answer.content)
        np.testing.assert_array_equal(np.asarray(image.dataobj), label)
    assert client.put(f"/api/cases/{ODD}/reference", json={"use": True}).status_code == 200
    answer = client.delete(f"/api/cases/{ODD}/labels")
    assert (answer.status_code, answer.json()["references"]) == (200, [])
    assert client.get(f"/api/cases/{ODD}/labels.nii?which=start").status_code == 404
    cases: list[tuple[Any, int]] = [({"use": True}, 409), ({"use": 1}, 422), ({}, 422), ([], 422)]
    for asked, status in cases:
        answer = client.put("/api/cases/a/reference", json=asked)
        assert answer.status_code == status
    answer = client.put("/api/cases/a/labels", content=label_bytes(a_label(9)))
    assert (answer.status_code, "label values 9" in answer.text) == (422, True)
    assert client.put("/api/cases/no/labels", content=b"x").status_code == 404
    assert client.delete("/api/cases/no/labels").status_code == 404
    assert client.get("/api/cases/a/labels.nii").status_code == 422


def test_results_are_given_and_downloaded(client: TestClient, site: Site, tmp_path: Path) -> None:
    assert client.get("/api/cases/a/labels.nii?which=found").status_code == 404
    assert client.get("/api/task.task").status_code == 404
    one = made(site, 1, "a", liver=1)
    results(one, **{"c <&> d": Entry(source="s", result="r")})
    file = one.label_map("c <&> d")
    file.write_bytes(gzip.compress(label_bytes(a_label(1))))
    for which in ("found", "start"):
        answer = client.get(f"/api/cases/{ODD}/labels.nii", params={"which": which})
        np.testing.assert_array_equal(
            np.asarray(image_of(tmp_path, answer.content).dataobj), a_label(1)
        )
    assert client.get("/api/cases/b/labels.nii?which=found").status_code == 404
    assert client.get(f"/api/cases/{ODD}/labels.nii?which=drawn").status_code == 404
    answer = client.get(f"/api/cases/{ODD}/result.nii.gz")
    assert answer.content == file.read_bytes()
    assert answer.headers["content-disposition"].startswith("attachment; filename")
    assert "<" not in answer.headers["content-disposition"]
    assert client.get("/api/cases/b/result.nii.gz").status_code == 404
    assert client.get("/api/task.task").content == b"task"
    answer = client.get(f"/api/cases/{ODD}/result.dcm")
    assert (answer.status_code, "no DICOM series" in answer.text) == (409, True)


def test_the_result_of_a_series_is_downloaded_as_dicom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series(tmp_path / "scans" / "one")
    site = site_of(tmp_path / "project", tmp_path / "scans")
    client = client_of(site)
    (name,) = site.scans.cases
    site.set_structures([{"name": "liver"}])
    results(made(site, 1, liver=1), **{name: Entry(source="s", result="r")})
    scan = read_volume(site.scans.case(name).scan)
    found = site.rounds.newest()
    assert found is not None
    scan.with_voxels((scan.voxels > 0).astype(np.uint8)).save(found.label_map(name))
    monkeypatch.setattr("mass3d.io.dicom.segmentation.find_spec", lambda _: None)
    answer = client.get(f"/api/cases/{quote(name)}/result.dcm")
    assert (answer.status_code, "highdicom" in answer.text) == (409, True)
    monkeypatch.undo()
    for _ in range(2):
        answer = client.get(f"/api/cases/{quote(name)}/result.dcm")
        (tmp_path / "answer.dcm").write_bytes(answer.content)
        segments = dcmread(tmp_path / "answer.dcm").SegmentSequence
        assert [one.SegmentLabel for one in segments] == ["liver"]


def test_jobs_are_asked_for_by_kind(client: TestClient) -> None:
    assert client.get("/api/jobs").json() == []
    wrong: list[Any] = [{"kind": "all"}, {"kind": ["task"]}, {}, [], None]
    for body in wrong:
        assert client.post("/api/jobs", json=body).status_code == 422
    answer = client.post("/api/jobs", json={"kind": "task"})
    assert (answer.status_code, "no reference" in answer.text) == (409, True)
    for action in ("cancel", "resume"):
        assert client.post(f"/api/jobs/1/{action}").status_code == 404
        assert client.post(f"/api/jobs/x/{action}").status_code == 422


def test_a_job_is_started_and_cancelled(client: TestClient, site: Site) -> None:
    site.set_structures([{"name": "liver"}])
    draw(site, "a", 1)
    site.use_reference("a", use=True)
    site.jobs.program = ("/bin/sh", "-c", "sleep 60")
    answer = client.post("/api/jobs", json={"kind": "both"})
    assert answer.status_code == 202
    job = answer.json()
    assert (job["id"], job["state"] in ("queued", "running"), job["total"]) == (1, True, 3)
    assert client.post("/api/jobs", json={"kind": "both"}).status_code == 409
    assert client.post("/api/jobs/1/cancel").status_code == 200
    site.jobs.close()
    assert client.get("/api/jobs").json()[0]["state"] == "cancelled"


def test_only_listed_files_of_the_page_are_given(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page"
    (page / "assets" / "deep").mkdir(parents=True)
    (page / "index.html").write_text("<p>hello")
    (page / "assets" / "app-1.js").write_text("1")
    (page / "assets" / "deep" / "x.wasm").write_bytes(b"2")
    (page / "assets" / "link.js").symlink_to(tmp_path / "project" / "project.json")
    monkeypatch.setattr(routes, "PAGE", page)
    client = client_of(site)
    assert client.get("/").text == "<p>hello"
    script = client.get("/assets/app-1.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    assert client.get("/assets/deep/x.wasm").headers["content-type"] == "application/wasm"
    for name in ("link.js", "app-2.js", "", "%2e%2e", "%2e%2e/index.html", "deep"):
        assert client.get(f"/assets/{name}").status_code == 404, name


def test_a_fault_of_ours_is_told_without_what_is_inside(
    client: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(site, "about", broken)
    answer = client.get("/api/project")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["error"]["found"] == "an unexpected RuntimeError"
    (site.project.folder / "project.json").write_text("{")
    answer = client.get("/api/cases")
    assert (answer.status_code, "a damaged project" in answer.text) == (422, True)


def test_other_addresses_and_ways_are_not_there(client: TestClient) -> None:
    for path in ("/docs", "/openapi.json", "/redoc", "/api", "/api/projects", "/x", "/api/cases/"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert json.loads(answer.text)["error"]["message"]
    assert client.post("/api/project").status_code == 405
    assert client.delete("/api/jobs").status_code == 405
