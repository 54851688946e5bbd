"""Attacks on `mass3d serve`: from other pages, by names and paths, by what is sent, by killing."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import psutil
import pytest
from starlette.testclient import TestClient

from mass3d.server.site import Site
from mass3d.transfer.results import Entry
from mass3d.volume.nifti import nifti_start
from running import Server, started
from server.test_rounds import made, results
from servers import a_label, client_of, label_bytes, site_of, write_scan

SECRET = b"SECRET-OF-SOMEBODY-ELSE"
HTML = "<img src=x onerror=alert(1)>&\"' %41"
TURNED = "\u202e"  # what follows is shown from right to left
PATHS = (
    "..",
    "../..",
    "../secret",
    "../../secret.nii",
    "/etc/passwd",
    "//etc/passwd",
    "..\\secret",
    "....//secret",
    "a/../../secret",
    "a\0.nii.gz",
    "\0",
    "file:///etc/passwd",
    "link",
    ".",
    "",
    "a.nii.gz",
    "labels/a",
    "A",
    "%00",
    "~",
    "CON",
    "a" * 5000,
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    write_scan(tmp_path / "scans" / "a.nii.gz")
    write_scan(tmp_path / "scans" / f"{HTML}.nii.gz", seed=1)
    write_scan(
        tmp_path / "secret.nii.gz",
        np.frombuffer(SECRET * 30, np.uint8)[:504].reshape(9, 8, 7, order="F"),
    )
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "scans" / "link.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    made = site_of(tmp_path / "project", tmp_path / "scans")
    made.set_structures([{"name": "liver"}])
    return made


@pytest.fixture
def client(site: Site) -> TestClient:
    return client_of(site)


@pytest.fixture
def server(tmp_path: Path, site: Site) -> Iterator[Server]:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").touch()
    with started(tmp_path / "run", tmp_path / "scans", tmp_path / "served") as found:
        yield found


def encodings(path: str) -> set[str]:
    """A path as somebody may send it: coded once, twice, and in full."""
    once = quote(path, safe="")
    full = "".join(f"%{byte:02x}" for byte in path.encode())
    return {once, quote(once, safe=""), full, quote(path, safe="/")}


def asked(case: str) -> list[tuple[str, str]]:
    """Every address that takes a case."""
    top = f"/api/cases/{case}"
    gets = ("image.nii?level=full", "image.nii?level=small", "thumbnail.jpg", "result.nii.gz")
    kinds = ("labels.nii?which=drawn", "labels.nii?which=start", "result.dcm")
    return [
        *(("GET", f"{top}/{name}") for name in (*gets, *kinds)),
        *(("PUT", f"{top}/labels"), ("DELETE", f"{top}/labels"), ("PUT", f"{top}/reference")),
    ]


def test_no_path_leads_out_whatever_it_is_and_however_it_is_coded(
    site: Site, server: Server, tmp_path: Path
) -> None:
    before = {path for path in tmp_path.rglob("*") if "served" not in path.parts}
    for path in PATHS:
        for coded in encodings(path):
            status, content = server.ask("GET", f"/api/cases/{coded}/image.nii?level=full")
            assert status in (400, 404, 405, 414, 422), (path, coded, content[:200])
            assert SECRET not in content
    for name in ("../index.html", "../../routes.py", "/etc/passwd", "..%2f..%2froutes.py", "%00"):
        for coded in (quote(name, safe="/%"), quote(name, safe="%")):
            status, content = server.ask("GET", f"/assets/{coded}")
            assert status in (400, 404), name
            assert b"def application" not in content
    for target in ("/../../etc/passwd", "//etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/api/../x"):
        status, content = server.ask("GET", target)
        assert status in (400, 404)
        assert b"root:" not in content
    assert before == {path for path in tmp_path.rglob("*") if "served" not in path.parts}
    assert server.get("/api/project")["scans"] == 3
    for name in site.scans.cases:
        status, _ = server.ask("GET", f"/api/cases/{quote(name, safe='')}/thumbnail.jpg")
        assert status == (422 if name == "link" else 200)


@pytest.mark.parametrize("path", PATHS)
def test_every_address_looks_ids_up_and_joins_none(
    site: Site, client: TestClient, tmp_path: Path, path: str
) -> None:
    before = {found: found.stat().st_mtime_ns for found in tmp_path.rglob("*") if found.is_file()}
    for method, address in asked(quote(path, safe="")):
        answer = client.request(method, address, content=b'{"use": true}')
        nothing_to_remove = (method, path) == ("DELETE", "link")
        assert nothing_to_remove or 400 <= answer.status_code < 500, (method, address)
        assert SECRET not in answer.content
    after = {found: found.stat().st_mtime_ns for found in tmp_path.rglob("*") if found.is_file()}
    assert {found for found in after if "cache" not in found.parts} == set(before)
    for found, stamp in before.items():
        assert "cache" in found.parts or after[found] == stamp


def test_other_parameters_are_words_of_a_list(client: TestClient) -> None:
    for value in ("../secret", "/etc/passwd", "drawn\0", "", "found/../.."):
        for address in (
            f"/api/cases/a/labels.nii?which={quote(value, safe='')}",
            f"/api/cases/a/image.nii?level={quote(value, safe='')}",
            f"/api/cases?round={quote(value, safe='')}",
        ):
            assert client.get(address).status_code == 422, address
    for job in ("../1", "1%2f..", "-1", "1.5", "9" * 400):
        assert client.post(f"/api/jobs/{job}/cancel").status_code in (404, 405, 422)


def test_a_link_in_the_project_that_somebody_puts_there_leads_nowhere(
    site: Site, client: TestClient, tmp_path: Path
) -> None:
    site.project.label("a").parent.mkdir(exist_ok=True)
    site.project.label("a").symlink_to(tmp_path / "secret.nii.gz")
    answer = client.get("/api/cases/a/labels.nii?which=drawn")
    assert SECRET not in answer.content
    assert answer.status_code == 404
    client.put("/api/cases/a/labels", content=label_bytes(a_label(1)))
    assert not site.project.label("a").is_symlink()  # replaced, not written through
    assert SECRET[:6] in gzip.decompress((tmp_path / "secret.nii.gz").read_bytes())


def test_a_link_among_results_leads_nowhere(site: Site, client: TestClient, tmp_path: Path) -> None:
    one = made(site, 1, "a", liver=1)
    results(one, a=Entry(source="s", result="r"))
    one.label_map("a").symlink_to(tmp_path / "secret.nii.gz")
    (one.found / "pictures").mkdir()
    (one.found / "pictures" / "a.jpg").symlink_to(tmp_path / "secret")
    for address in ("result.nii.gz", "labels.nii?which=found", "labels.nii?which=start"):
        assert client.get(f"/api/cases/a/{address}").status_code == 404
    assert client.get("/api/cases/a/thumbnail.jpg").status_code == 200  # of the scan
    one.task.unlink()
    one.task.symlink_to(tmp_path / "secret")
    assert client.get("/api/task.task").status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_without_the_token_no_address_says_or_does_anything(site: Site, method: str) -> None:
    draw = label_bytes(a_label(1))
    client_of(site).put("/api/cases/a/labels", content=draw)
    stranger = client_of(site, **{"X-Mass3d": "1"})
    for address in (
        *("/", "/api/project", "/api/cases", "/api/jobs", "/api/structures", "/api/task.task"),
        *("/api/jobs/1/cancel", "/assets/x"),
        *(path for _, path in asked("a")),
    ):
        answer = stranger.request(method, address, content=draw)
        assert answer.status_code == 403, address
        assert b"liver" not in answer.content
    assert site.labels.is_drawn("a")


def test_another_page_in_the_same_browser_changes_nothing(site: Site) -> None:
    """It has the cookie at most, and cannot send the header, read an answer or use its own name."""
    browser = client_of(site, Cookie="mass3d_token_1=a-token-of-some-length")
    for method, address in (("POST", "/api/jobs"), ("DELETE", "/api/cases/a/labels")):
        answer = browser.request(method, address, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403
    answer = browser.get("/api/project", headers={"Host": "evil.example:1"})
    assert answer.status_code == 403
    answer = browser.get("/api/project", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"}
    assert browser.options("/api/structures", headers=asked).status_code == 403


def test_names_are_data_wherever_they_come_from(site: Site, client: TestClient) -> None:
    (case,) = (name for name in site.scans.cases if name.startswith("<img"))
    for name in (
        HTML,
        f"a{TURNED}b",
        "</script><script>alert(1)</script>",
        "{{7*7}}",
        "${x}",
        "a;b",
    ):
        answer = client.put(
            "/api/structures", json=[{"name": "liver"}, {"name": name[:20].strip()}]
        )
        assert answer.headers["content-type"] == "application/json"
        assert answer.status_code in (200, 422)
    coded = quote(quote(case, safe=""), safe="")  # this client decodes once more than a server
    answer = client.put(f"/api/cases/{coded}/labels", content=label_bytes(a_label(1)))
    assert answer.status_code == 200, answer.text
    client.put(f"/api/cases/{coded}/reference", json={"use": True})
    told = client.get("/api/project")
    assert told.headers["content-type"] == "application/json"
    assert case in told.json()["references"]
    page = client.get("/").text
    assert "onerror" not in page
    answer = client.get("/api/cases/<script>alert(1)</script>/thumbnail.jpg")
    assert answer.headers["content-type"] == "application/json"
    assert "<script>" not in answer.text


def bomb(shape: tuple[int, int, int], filled: int) -> bytes:
    """A packed NIfTI file that promises a shape, and holds so many zeros."""
    start = nifti_start(shape, np.uint8, np.diag([2.0, 3.0, 4.0, 1.0]))
    return gzip.compress(start + bytes(filled), mtime=0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"\x1f\x8b", 422),
        (os.urandom(3000), 422),
        (label_bytes(a_label(1))[:360], 422),
        (label_bytes(np.zeros((9, 8, 6), np.uint8)), 422),
        (bomb((9, 8, 7), 10**8), 413),
        (bomb((2000, 2000, 2000), 10**6), 422),
        (bomb((30000, 30000, 30000), 10), 422),
        (bytes(10**7), 413),
        (label_bytes(a_label(1))[:40] + struct.pack("<8h", 7, *[32767] * 7) + bytes(500), 422),
        (label_bytes(np.full((9, 8, 7), np.nan, np.float32)), 422),
        (label_bytes(np.full((9, 8, 7), 1e30, np.float32)), 422),
    ],
)
def test_a_broken_or_endless_upload_is_refused_in_little_time_and_memory(
    site: Site, client: TestClient, body: bytes, status: int
) -> None:
    process = psutil.Process()
    before, began = process.memory_info().rss, time.process_time()
    answer = client.put("/api/cases/a/labels", content=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    assert process.memory_info().rss - before < 2**28
    assert time.process_time() - began < 5
    assert not site.labels.is_drawn("a")
    assert not list((site.project.cache / "uploads").iterdir())


def test_a_length_that_lies_is_not_believed(server: Server) -> None:
    for length in ("99999999999999", "-5", "1e3", "0x10", ""):
        status, _ = server.ask("PUT", "/api/cases/a/labels", b"", **{"Content-Length": length})
        assert status in (400, 413)
    assert server.get("/api/project")["scans"] == 3


def test_two_browsers_at_once_lose_nothing(tmp_path: Path) -> None:
    names = [f"case {number}" for number in range(12)]
    for number, name in enumerate(names):
        write_scan(tmp_path / "scans" / f"{name}.nii.gz", seed=number)
    site = site_of(tmp_path / "project", tmp_path / "scans")
    site.set_structures([{"name": "liver"}])
    failed: list[str] = []

    def work(client: TestClient, own: list[str]) -> None:
        with client as browser:
            for name in own:
                for method, what, body in (
                    ("PUT", "labels", label_bytes(a_label(1))),
                    ("PUT", "reference", b'{"use": true}'),
                    ("GET", "thumbnail.jpg", b""),
                ):
                    address = f"/api/cases/{quote(name)}/{what}"
                    answer = browser.request(method, address, content=body)
                    if answer.status_code != 200:
                        failed.append(answer.text)

    # made before the threads: FastAPI silences a warning of pydantic while it builds an application
    clients = [(client_of(site), names[part::3]) for part in range(3)]
    threads = [threading.Thread(target=work, args=args) for args in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sorted(site.project.state().references) == sorted(names)
    assert site.labels.drawn() == sorted(names)
    assert not list(site.project.folder.rglob(".partial-*"))


def test_a_file_that_is_sent_in_the_same_moment_by_two_is_one_of_theirs(
    site: Site, client: TestClient
) -> None:
    site.set_structures([{"name": "liver"}, {"name": "spleen"}])
    bodies = [label_bytes(a_label(value)) for value in (1, 2)]

    def send(browser: TestClient, body: bytes) -> None:
        with browser:
            for _ in range(5):
                assert browser.put("/api/cases/a/labels", content=body).status_code == 200

    # FastAPI cannot describe routes in two threads at once, and no server does
    given = [(client_of(site), body) for body in bodies]
    threads = [threading.Thread(target=send, args=one) for one in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = client.get("/api/cases/a/labels.nii?which=drawn").content
    assert set(np.unique(np.frombuffer(kept[352:], np.uint8))) in ({0, 1}, {0, 2})


@pytest.mark.slow
def test_a_server_killed_in_the_midst_of_a_job_loses_no_case_and_goes_on(
    cohort: Path, trained: Path, task_file: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    scans = cohort / "imagesTr"
    with started(trained, scans, project, "--device", "cpu") as server:
        (project / "rounds" / "1").mkdir(parents=True)
        shutil.copy(task_file, project / "rounds" / "1" / "task.task")
        server.post("/api/jobs", {"kind": "segment"})
        while not (job := server.get("/api/jobs")[0])["done"]:
            assert job["state"] in ("queued", "running"), job
            time.sleep(0.05)
        (number, _) = json.loads((project / "jobs" / "1.json").read_text())["process"]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    until = time.monotonic() + 60
    while psutil.pid_exists(number) and psutil.Process(number).status() != "zombie":
        assert time.monotonic() < until, "the job outlives its server"
        time.sleep(0.1)
    assert json.loads((project / "jobs" / "1.json").read_text())["state"] == "running"
    found = project / "rounds" / "1" / "found"
    cases = json.loads((found / "cases.json").read_text())["cases"]
    whole = {name for name, entry in cases.items() if entry["result"]}
    assert 1 <= len(whole) < 4
    before = {name: (found / f"{name}.nii.gz").stat().st_mtime_ns for name in whole}
    with started(trained, scans, project, "--device", "cpu", "--set", "resume=false") as server:
        job = server.get("/api/jobs")[0]
        assert job["state"] == "interrupted"
        assert server.get("/api/project")["rounds"][0]["segmented"] == len(whole)
    with started(trained, scans, project, "--device", "cpu") as server:
        job = server.ended()
        assert (job["id"], job["state"], job["done"]) == (1, "done", 4)
        assert all(row["segmented"] for row in server.get("/api/cases")["cases"])
    assert before == {name: (found / f"{name}.nii.gz").stat().st_mtime_ns for name in whole}
