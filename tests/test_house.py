"""Sizes of the house: what a newcomer reads stays short, and so do functions and verbs.

Files of less than three lines are left out. Lines of a function count its decorators and docstring.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

import mass3d

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(mass3d.__file__).parent
MAX_APPS_LINES = 3000
MAX_MEDIAN_LINES = 10
MAX_FUNCTION_LINES = 60
MAX_NEWCOMER_LINES = 200
# What docs/index.md tells a newcomer to read, in an hour.
NEWCOMER = {
    "README.md": MAX_NEWCOMER_LINES,
    "docs/explanation/data-model.md": MAX_NEWCOMER_LINES,
    "src/mass3d/views/pair.py": MAX_NEWCOMER_LINES,
    "src/mass3d/model/incontext.py": MAX_NEWCOMER_LINES,
    "src/mass3d/apps/pretrain.py": MAX_NEWCOMER_LINES,
    "src/mass3d/training/fit.py": MAX_NEWCOMER_LINES,
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, int]]:
    """Every function of the package with its number of lines."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        if text.count("\n") < 3:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                yield f"{path.relative_to(SOURCE)}:{node.name}", length(node)


def length(node: Function) -> int:
    """Lines of a function, decorators included."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    assert node.end_lineno is not None
    return node.end_lineno - first + 1


LENGTHS = dict(functions())


def lines(path: Path) -> int:
    return path.read_text().count("\n")


def test_verbs_stay_thin() -> None:
    assert sum(lines(path) for path in (SOURCE / "apps").rglob("*.py")) <= MAX_APPS_LINES


def test_half_of_the_functions_are_a_few_lines_long() -> None:
    assert statistics.median(LENGTHS.values()) <= MAX_MEDIAN_LINES


def test_no_function_is_longer_than_a_page() -> None:
    long = {name: n for name, n in LENGTHS.items() if n > MAX_FUNCTION_LINES}
    assert not long


@pytest.mark.parametrize("name", NEWCOMER)
def test_what_a_newcomer_reads_is_short(name: str) -> None:
    assert lines(ROOT / name) < NEWCOMER[name]


def test_the_newcomers_files_are_those_of_the_documentation() -> None:
    page = (ROOT / "docs" / "index.md").read_text()
    told = page.partition("**To read the code**")[2]
    for name in NEWCOMER:
        assert Path(name).name in told, name
