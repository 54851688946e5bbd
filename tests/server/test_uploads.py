"""What a browser sends, within bounds."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from mass3d.server import uploads as room
from mass3d.server.refusal import Refused
from mass3d.server.site import Site
from mass3d.server.uploads import most_bytes, plain_nifti
from servers import a_label, label_bytes

PLAIN = label_bytes(a_label(1))


def written(folder: Path, content: bytes) -> Path:
    (folder / "up.nii").write_bytes(content)
    return folder / "up.nii"


def test_plain_files_stay_and_packed_ones_are_unpacked(tmp_path: Path) -> None:
    assert plain_nifti(written(tmp_path, PLAIN), 10**6).read_bytes() == PLAIN
    found = plain_nifti(written(tmp_path, gzip.compress(PLAIN)), len(PLAIN))
    assert found.read_bytes() == PLAIN
    two = gzip.compress(PLAIN[:400]) + gzip.compress(PLAIN[400:])
    assert plain_nifti(written(tmp_path, two), 10**6).read_bytes() == PLAIN


def test_no_more_is_unpacked_than_fits(tmp_path: Path) -> None:
    bomb = gzip.compress(PLAIN + bytes(10**8))
    with pytest.raises(Refused) as caught:
        plain_nifti(written(tmp_path, bomb), 5_000_000)
    assert caught.value.status == 413
    assert (tmp_path / "unpacked.nii").stat().st_size <= 5_000_000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "an empty file"),
        (b"hello, this is no image at all" * 100, "content that begins"),
        (b"NRRD0004\n" * 100, "another kind of file"),
        (gzip.compress(b"x" * 1000, mtime=0), "content that begins"),
        (gzip.compress(PLAIN, mtime=0)[:-9], "a damaged or incomplete image"),
        (gzip.compress(PLAIN, mtime=0)[:-5] + b"xxxxx", "a damaged or incomplete image"),
        (bytes(128) + b"DICM" + bytes(500), "a DICOM file"),
    ],
)
def test_what_is_no_nifti_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(Refused, match=told) as caught:
        plain_nifti(written(tmp_path, content), 10**6)
    assert (caught.value.status, caught.value.where) == (422, "the label map")


def test_the_bound_is_that_of_the_grid_in_the_largest_type() -> None:
    label = np.zeros((20, 30, 40), np.float64)
    assert len(label_bytes(label)) < most_bytes(label.shape) < 2 * len(label_bytes(label)) + 2**22


def test_a_long_body_is_refused_by_its_length_and_while_it_comes(
    site: Site, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ROOM", 1000)
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 10_000
            yield bytes(10_000)

    answer = client.put("/api/cases/a/labels", content=bytes(100_000))
    assert answer.status_code == 413
    answer = client.put("/api/cases/a/labels", content=endless())
    assert answer.status_code == 413
    assert answer.json()["error"]["found"] == "a longer body"
    answer = client.put("/api/cases/a/labels", content=b"", headers={"Content-Length": "-1"})
    assert answer.status_code == 413
    assert not list((site.project.cache / "uploads").iterdir())
    assert not site.labels.is_drawn("a")


def test_a_body_of_many_pieces_arrives_whole(
    site: Site, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "PIECE", 50)
    site.set_structures([{"name": "liver"}])
    content = gzip.compress(PLAIN)
    pieces = (content[at : at + 7] for at in range(0, len(content), 7))
    answer = client.put("/api/cases/a/labels", content=pieces)
    assert answer.status_code == 200, answer.text
    assert zlib.crc32(PLAIN) == zlib.crc32(gzip.decompress(content))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 200_000, b"1" * (2**20 + 1)])
def test_a_body_that_is_no_json_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.put("/api/structures", content=body)
    assert answer.status_code == (413 if len(body) > 2**20 else 422)
    assert answer.json()["error"]["message"]
