"""The moving picture of the README, from the screenshots of the story in a browser.

MASS3D_SCREENSHOTS=shots pytest tests/server/test_page.py tests/pages/test_reports_in_browser.py
python tools/write_story.py shots docs/images/story.webp
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from mass3d.files import write_bytes

# Screenshots in the order of the story, and what each shows.
FRAMES: Final = (
    ("2-drawing", "1  One scan, one structure: brush it, or load a label"),
    ("3-reference", "2  Use it as the example, and make the task"),
    ("5-segmented", "3  All other scans are segmented, the doubtful ones first"),
    ("6-correcting", "4  Correct the worst, use it as a second example"),
    ("7-again", "5  Run again"),
    ("report-segment", "6  The reports can be looked through, offline"),
)
STAGE: Final = (0, 50, 980, 738)  # of a screenshot 1280 pixels wide: without head, side and foot
WIDTH: Final = 840
BAR: Final = 40  # pixels of the line of words
QUALITY: Final = 70  # words stay sharp
PAUSE_MS: Final = 2200
GROUND: Final = (18, 22, 27)
INK: Final = (219, 226, 234)


def frame(screenshot: Path, words: str) -> Image.Image:
    """The stage of a screenshot over a line of words."""
    with Image.open(screenshot) as whole:
        stage = whole.convert("RGB").crop(STAGE)
    height = round(WIDTH * stage.height / stage.width)
    picture = Image.new("RGB", (WIDTH, height + BAR), GROUND)
    picture.paste(stage.resize((WIDTH, height), Image.Resampling.LANCZOS))
    font = ImageFont.load_default(size=19)
    ImageDraw.Draw(picture).text((16, height + BAR // 2), words, INK, font, anchor="lm")
    return picture


def moving(frames: list[Image.Image]) -> bytes:
    """A WebP that shows one after the other, for ever."""
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=PAUSE_MS,
        loop=0,
        quality=QUALITY,
        method=6,
    )
    return buffer.getvalue()


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("screenshots", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    frames = [frame(given.screenshots / f"{name}-1280.png", words) for name, words in FRAMES]
    write_bytes(given.output, moving(frames))


if __name__ == "__main__":
    main()
