"""Box plots of scores: structures from top to bottom, every case a dot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mass3d.pages.pictures import Rgb

INK, PAPER = "#16202b", "#ffffff"
COLOURS = ("#0d7a68", "#a2a9b1")  # of what is scored, and what it is compared with
MAX_STRUCTURES = 60  # beyond, nobody reads the picture
MAX_NAME = 40  # letters of a name
STEP = 0.36  # between the boxes of a structure


def box_plot(
    scores: Mapping[str, Sequence[Sequence[float]]], label: str, names: Sequence[str] = ()
) -> Rgb:
    """A picture of the scores (cases,) of one or two methods, for each structure.

    Boxes are quartiles, whiskers reach to the furthest case within 1.5 of their distance. names:
    of the methods, for a legend.
    """
    shown = dict(list(scores.items())[:MAX_STRUCTURES])
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(shown)), dpi=110, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    methods = max(map(len, shown.values()))
    for number in range(methods):
        offset = (number - (methods - 1) / 2) * STEP
        values = [np.asarray(one[number], float) for one in shown.values()]
        places = np.arange(len(shown)) + offset
        colour = COLOURS[number]
        axes.boxplot(
            values,
            positions=places.tolist(),
            orientation="horizontal",
            widths=0.8 * STEP,
            showfliers=False,
            boxprops={"color": colour},
            whiskerprops={"color": colour},
            capprops={"color": colour},
            medianprops={"color": INK},
        )
        for place, dots in zip(places, values, strict=True):
            axes.plot(dots, np.full(len(dots), place), ".", color=colour, alpha=0.5, markersize=5)
        if names:
            axes.plot([], [], "s", color=colour, label=_plain(names[number]))
    axes.set_yticks(range(len(shown)), [_plain(name) for name in shown])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    if names:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    figure.tight_layout()
    canvas.draw()  # type: ignore[no-untyped-call]  # of the library
    drawn: Rgb = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]  # likewise
    return drawn[..., :3].copy()


def _plain(name: str) -> str:
    """A name that the library takes for text and not for formulas, of no endless length."""
    short = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
    return short.replace("$", r"\$")
