"""The first ticks of a binomial pipeline on the corners of a square (the paper's Fig. 5 c).

0 1 2 3 ─0→ 0          a panel per tick: what a node holds before it, and which block it sends to whom
   │0      │
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.errors import ConfigError
from lambdascale.figures import style

_APART = 0.1  # between two arrows of one edge


@style.styled
def draw(steps: DataFrame, *, title: str) -> Figure:
    """Draw one panel per tick.

    steps: `tick position node holds block to`; position: its corner, of four; block and to are -1 if it
    sends nothing. Raises ConfigError for larger sub-groups.
    """
    style.need(steps, "steps", "tick position node holds block to")
    if steps["position"].max() > 3:
        raise ConfigError("a square has four corners; draw a sub-group of at most four nodes")
    ticks = sorted(steps["tick"].unique())
    sheet, (row,) = style.grid(title, [2.7], [3.1] * len(ticks), "simulated")
    for panel, tick in zip(row, ticks, strict=True):
        _tick(panel, steps[steps["tick"] == tick])
        panel.set_title(f"tick {tick}")
    return sheet


def _tick(panel: Axes, steps: DataFrame) -> None:
    for row in steps.to_dict("records"):
        x, y = _corner(row["position"])
        if row["to"] >= 0:
            _arrow(panel, row["position"], row["to"], row["block"])
        text = f"node {row['node']}\n{row['holds'] or '–'}"
        panel.text(
            x, y, text, ha="center", va="center", fontsize="small", zorder=5,
            bbox={"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "0.4"},
        )  # fmt: skip
    panel.set(xlim=(-0.4, 1.4), ylim=(-0.35, 1.35), xticks=[], yticks=[])


def _corner(position: int) -> tuple[float, float]:
    return position & 1, 1 - (position >> 1)


def _arrow(panel: Axes, src: int, dst: int, block: int) -> None:
    """An arrow to the right of its way, so that two opposite ones stand apart."""
    (x0, y0), (x1, y1) = _corner(src), _corner(dst)
    aside = (y1 - y0) * _APART, (x0 - x1) * _APART
    begin = x0 + 0.26 * (x1 - x0) + aside[0], y0 + 0.26 * (y1 - y0) + aside[1]
    end = x0 + 0.74 * (x1 - x0) + aside[0], y0 + 0.74 * (y1 - y0) + aside[1]
    panel.annotate(
        "", end, begin, arrowprops={"arrowstyle": "-|>", "color": "#0173b2", "lw": 2}, zorder=3
    )
    middle = (begin[0] + end[0]) / 2 + 0.8 * aside[0], (begin[1] + end[1]) / 2 + 0.8 * aside[1]
    panel.text(*middle, str(block), ha="center", va="center", color="#0173b2", weight="bold")
