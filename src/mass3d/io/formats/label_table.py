"""A table of label names, as a NIfTI header extension holds it.

The form is Caret's XML: key, colour and name of every value. Connectome Workbench reads it under
the code of extensions that is its own; TotalSegmentator writes and reads it under code 0, and its
reader, nibabel's, knows no content of the other code. So it is written under both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from mass3d.config import MAX_LABEL_VALUE
from mass3d.io.colours import Colour

CODES: Final = (0, 30)  # of nobody, which comes first, and of Caret
BLOCK: Final = 16  # the size of an extension is a multiple of this, of which 8 bytes come before
# What XML cannot hold, whatever is written around it.
UNHELD: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
KEPT: Final = {'"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
ATTACK: Final = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


class LabelName(NamedTuple):
    """What a label value is called, and shown as."""

    value: int
    name: str
    colour: Colour


def table_xml(labels: Iterable[LabelName]) -> bytes:
    """The content of the extension, padded with spaces so that no reader meets zeros in XML."""
    background = '<Label Key="0" Red="0" Green="0" Blue="0" Alpha="0">background</Label>'
    lines = [background, *map(_line, labels)]
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<CaretExtension>\n<VolumeInformation Index="0">\n<LabelTable>\n'
        + "\n".join(lines)
        + "\n</LabelTable>\n<VolumeType>Label</VolumeType>\n"
        "</VolumeInformation>\n</CaretExtension>\n"
    ).encode()
    return text + b" " * (-(len(text) + BLOCK // 2) % BLOCK)


def _line(label: LabelName) -> str:
    red, green, blue = (f"{part / 255:.6f}" for part in label.colour)
    name = escape(UNHELD.sub("\ufffd", label.name), KEPT)
    return (
        f'<Label Key="{label.value}" Red="{red}" Green="{green}" Blue="{blue}" Alpha="1">'
        f"{name}</Label>"
    )


def names_in(content: bytes) -> dict[str, int] | None:
    """Name -> value of the table in an extension, by value, without background.

    None where there is no whole table: voxels are as good without, so nothing is an error.
    """
    try:
        pairs = [(int(one.attrib["Key"]), one.text or "") for one in _lines(content)]
    except (KeyError, ValueError):
        return None
    named = sorted((value, name) for value, name in pairs if name and 0 < value <= MAX_LABEL_VALUE)
    once = all(len(set(column)) == len(named) for column in zip(*named, strict=True))
    return {name: value for value, name in named} if named and once else None


def colours_in(content: bytes) -> dict[int, Colour]:
    """Value -> colour of the table in an extension; empty where there is no whole table."""
    try:
        return {
            int(one.attrib["Key"]): (_byte(one, "Red"), _byte(one, "Green"), _byte(one, "Blue"))
            for one in _lines(content)
        }
    except (KeyError, ValueError, OverflowError):
        return {}


def _lines(content: bytes) -> list[ElementTree.Element]:
    """The lines of the table in an extension; none where it is not whole."""
    if b"<CaretExtension" not in content or ATTACK.search(content):
        return []
    try:
        table = next(ElementTree.fromstring(content.rstrip(b"\0 \r\n\t")).iter("LabelTable"))
    except (ElementTree.ParseError, StopIteration):
        return []
    return list(table.iter("Label"))


def _byte(line: ElementTree.Element, part: str) -> int:
    return min(255, max(0, round(255 * float(line.attrib[part]))))
