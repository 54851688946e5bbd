"""A folder of embeddings: what equal scans are known by."""

from __future__ import annotations

from pathlib import Path

from mass3d.transfer.frozen.folder import EmbeddingsFolder, Entry, Index


def test_equal_scans_are_known_by_content_and_those_of_an_earlier_version_by_file(
    tmp_path: Path,
) -> None:
    index = Index(model="m", maps=((8, 4),), overlap=0.25, untrained=True, dense=False)
    entries = {
        "zipped": Entry(source="a", result="", content="1"),
        "plain": Entry(source="b", result="", content="1"),
        "before": Entry(source="a", result=""),
        "alone": Entry(source="c", result=""),
    }
    folder = EmbeddingsFolder(tmp_path, index, entries)
    assert folder.contents(entries) == {"zipped": "1", "plain": "1", "before": "1", "alone": "c"}
    assert folder.contents(["alone"]) == {"alone": "c"}
