"""How much of a model receivers hold together over time, by the order in which sources send (Algorithm 1).

A pipeline needs all of it. k sources that send in different orders get there in 1/k of the time.
"""

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style


@style.styled
def draw(coverage: DataFrame, *, provenance: str, title: str) -> Figure:
    """Draw one panel per `panel`, one line per `order`.

    coverage: one row per block that is new to the receivers, `panel order time_s share`.
    """
    style.need(coverage, "coverage", "panel order time_s share")
    names = style.labels(coverage, "panel")
    sheet, (row,) = style.grid(title, [2.6], [4.5] * len(names), provenance)
    for panel, name in zip(row, names, strict=True):
        _lines(panel, coverage[coverage["panel"] == name])
        panel.set(title=name, xlabel="time since the scale-out began (s)", xlim=(0, None))
        panel.set(ylim=(0, 1.03))
        panel.legend(title="k-way order", loc="lower right")
    row[0].set_ylabel("share held together")
    return sheet


def _lines(panel: Axes, coverage: DataFrame) -> None:
    orders = style.labels(coverage, "order")
    colors = sns.color_palette("colorblind", len(orders))
    for width, (order, color) in enumerate(zip(orders, colors, strict=True)):
        mine = coverage[coverage["order"] == order]
        seconds = mine["time_s"].max()
        panel.step(
            mine["time_s"], mine["share"], where="post", color=color, lw=3.5 - width, gid=order,
            label=f"{order}: {seconds:.2f} s",
        )  # fmt: skip
