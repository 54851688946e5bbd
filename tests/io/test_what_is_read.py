"""The page on what is read and the code say the same sentences."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "what-is-read.md").read_text(encoding="utf-8")
READERS = ("read", "in_memory")
WRITERS = ("segmentation.py", "source_headers.py")
SOURCES = [
    *(ROOT / "src" / "mass3d" / "io" / f"{name}.py" for name in READERS),
    *sorted((ROOT / "src" / "mass3d" / "io" / "formats").glob("*.py")),
    *sorted((ROOT / "src" / "mass3d" / "io" / "dicom").glob("*.py")),
    *(ROOT / "src" / "mass3d" / "volume" / f"{name}.py" for name in ("doubts", "ranges")),
]
GAP = "\0"  # for what differs from file to file


def sentences(tree: ast.AST) -> list[str]:
    """Every text of a module, with gaps for what is filled in."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else GAP for part in node.values]
            found.append("".join(str(part) for part in parts))
    return found


TREES = {
    path.name: ast.parse(path.read_text(encoding="utf-8"))
    for path in SOURCES
    if path.name not in WRITERS
}
CODE = "\n".join(text for tree in TREES.values() for text in sentences(tree))
SAID = re.findall(r"`([^`\n]+)`", PAGE)


@pytest.mark.parametrize(
    "sentence", [text for text in SAID if " " in text and not text.startswith("tests/")]
)
def test_every_sentence_of_the_page_is_one_of_the_code(sentence: str) -> None:
    for piece in re.split("…|: ", sentence):
        assert piece.strip(" ()") in CODE, piece


@pytest.mark.parametrize("name", TREES)
def test_every_refusal_of_the_code_is_on_the_page(name: str) -> None:
    said = "\n".join(SAID)
    for node in ast.walk(TREES[name]):
        if not (isinstance(node, ast.keyword) and node.arg == "found"):
            continue
        if isinstance(node.value, ast.Name):
            continue  # a helper's, whose callers have the words
        for text in sentences(node.value):
            pieces = [piece.strip(" ()") for piece in text.split(GAP)]
            longest = max(pieces, key=len)
            assert len(longest) < 4 or longest in said, f"{name}: {text!r}"
