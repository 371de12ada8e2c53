"""Time to first token as a cumulative distribution, a panel per model (the paper's Fig. 9 d–f and 11).

A shade spans the runs that a curve is made of: seeds and phases. Requests without a first token stay in the
denominator.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of, in_order

_COLUMNS = "panel system share ttft_s least_s most_s"


@style.styled
def draw(curves: DataFrame, *, provenance: str, title: str) -> Figure:
    """Draw one curve per system: `panel system share ttft_s least_s most_s`."""
    style.need(curves, "curves", _COLUMNS)
    panels, systems = style.labels(curves, "panel"), in_order(curves["system"])
    widths = [max(3.4, 6.5 / len(panels))] * len(panels)
    sheet, (row,) = style.grid(title, [3.2], widths, provenance)
    for axes, name in zip(row, panels, strict=True):
        mine = curves[curves["panel"] == name]
        for system in systems:
            _curve(axes, mine[mine["system"] == system], system)
        _frame(axes, mine, name)
    row[0].set_ylabel("share of requests")
    style.legend_below(sheet, row[0], ncols=3 if len(panels) == 1 else 6)
    return sheet


def _curve(axes: Axes, mine: DataFrame, system: str) -> None:
    if mine.empty:
        return
    color, dashed = color_of(system), system == "ideal"
    times = np.append(0, mine["ttft_s"].replace(np.inf, np.nan))
    shares = np.append(0, mine["share"])
    axes.step(
        times, shares, where="post", color=color, lw=2, ls="--" if dashed else "-", label=system
    )
    if not np.allclose(mine["least_s"], mine["most_s"]):
        axes.fill_betweenx(
            mine["share"], mine["least_s"], mine["most_s"], color=color, alpha=0.13, lw=0
        )


def _frame(axes: Axes, mine: DataFrame, name: str) -> None:
    """Up to where nearly all of the slowest system's requests have begun."""
    end_s = mine.loc[mine["share"] <= 0.985, "ttft_s"].replace(np.inf, np.nan).max()
    axes.axhline(0.9, color="0.6", lw=0.8, ls=":")
    axes.set(title=name, xlabel="time to first token (s)", xlim=(0, 1.05 * end_s), ylim=(0, 1.02))
