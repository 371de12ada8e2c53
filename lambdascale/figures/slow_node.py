"""One slow receiver: when every other one holds the model, and when it first serves (beyond the paper).

A dot per receiver, in units of bytes ÷ wire: open if no receiver is slow, filled if one is, a triangle for
that one. A bar is the median moment at which a receiver that is not slow first serves.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of, in_order

_NONE = -1  # in column `slow`
_ASIDE = 0.2  # above a system's place is without a slow receiver, below it with one
_SPREAD = 0.1
_PLANNED = {"circulant, predicted": "lambdascale", "weighted, predicted": "weighted"}


@style.styled
def draw(frame: DataFrame, provenance: str) -> Figure:
    """Draw a panel per number of receivers.

    frame: `receivers system slow node is_slow complete_s serves_s wire_s`, one row per receiver and run;
    `slow` is a node, or -1.
    """
    style.need(frame, "frame", "receivers system slow node is_slow complete_s serves_s wire_s")
    counts = sorted(frame["receivers"].unique())
    names = in_order(style.labels(frame, "system"))
    title = "One receiver at a quarter of the rate: when each holds the model"
    sheet, (panels,) = style.grid(
        title, [0.62 * len(names) + 0.6], [max(4.6, 8 / len(counts))] * len(counts), provenance
    )
    for panel, count in zip(panels, counts, strict=True):
        _panel(panel, frame[frame["receivers"] == count], names)
        panel.set_title(f"{count} receivers")
        panel.set_yticks(range(len(names)), names if panel is panels[0] else [""] * len(names))
    sheet.legend(handles=_legend(), loc="outside lower center", ncols=3, frameon=False)
    return sheet


def _panel(panel: Axes, rows: DataFrame, names: list[str]) -> None:
    for at, name in enumerate(names):
        mine = rows[rows["system"] == name]
        color = color_of(_PLANNED.get(name, name))
        for is_even, side in ((True, -_ASIDE), (False, _ASIDE)):
            _dots(panel, at + side, mine[(mine["slow"] == _NONE) == is_even], color, is_even)
    panel.axvline(1, ls=":", lw=1.5, color="black", zorder=0)
    panel.set_xscale("log", base=2)
    panel.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    panel.set_xlim(0.85, 1.2 * (rows["complete_s"] / rows["wire_s"]).max())
    panel.set_xlabel("seconds ÷ (bytes ÷ 49.2 GB/s)")
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")


def _dots(panel: Axes, at: float, rows: DataFrame, color: str, is_even: bool) -> None:
    fast, slow = rows[~rows["is_slow"]], rows[rows["is_slow"]]
    for part, mark in ((fast, "o"), (slow, "^")):
        spread = np.linspace(-_SPREAD, _SPREAD, len(part)) if len(part) > 1 else np.zeros(len(part))
        panel.plot(
            part["complete_s"] / part["wire_s"], at + spread, mark, ms=5, color=color,
            mfc="none" if is_even else color, gid="receivers",
        )  # fmt: skip
    serves = (fast["serves_s"] / fast["wire_s"]).median()
    if np.isfinite(serves):
        panel.plot([serves] * 2, [at - 0.16, at + 0.16], "-", lw=1.5, color="black", gid="serves")


def _legend() -> list[Line2D]:
    grey = style.REFERENCE_COLOR
    return [
        Line2D([], [], ls="", marker="o", mfc="none", color=grey, label="no receiver is slow"),
        Line2D([], [], ls="", marker="o", color=grey, label="one is: the others"),
        Line2D([], [], ls="", marker="^", color=grey, label="the slow one"),
        Line2D([], [], lw=1.5, color="black", label="median first token"),
        Line2D([], [], ls=":", lw=1.5, color="black", label="one copy: bytes ÷ 49.2 GB/s"),
    ]
