"""What each optimisation saves of a multicast: bars at one assumed cost, and how they depend on that cost.

left    seconds until every node has every block, per configuration
right   the same over the cost of a piece, which is unknown
"""

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style


@style.styled
def draw(rows: DataFrame, *, provenance: str, title: str, piece_us: float) -> Figure:
    """Draw the bars at `piece_us` and the lines over all costs.

    rows: `configuration piece_us complete_s wire_s`.
    """
    style.need(rows, "rows", "configuration piece_us complete_s wire_s")
    names = style.labels(rows, "configuration")
    colors = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    sheet, ((bars, lines),) = style.grid(title, [2.7], [5.6, 3.9], provenance)
    _bars(bars, rows[rows["piece_us"] == piece_us], colors)
    bars.set_title(f"a piece of 1 MB costs {piece_us:g} µs")
    for name in names:
        mine = rows[rows["configuration"] == name]
        lines.plot(mine["piece_us"], mine["complete_s"], "o-", color=colors[name], gid=name)
    lines.set(title="over the cost of a piece", xlabel="cost of a piece (µs)", ylabel="seconds")
    lines.set(xscale="log", yscale="log")
    for panel, across in ((bars, bars.axvline), (lines, lines.axhline)):
        across(rows["wire_s"].max(), ls=":", lw=2, color="black")
        panel.set_axisbelow(True)
    return sheet


def _bars(panel: Axes, rows: DataFrame, colors: dict[str, tuple[float, float, float]]) -> None:
    names = rows["configuration"]
    drawn = panel.barh(names, rows["complete_s"], color=[colors[name] for name in names])
    panel.bar_label(drawn, [f"{seconds:.2f} s" for seconds in rows["complete_s"]], padding=4)
    panel.invert_yaxis()
    panel.margins(x=0.16)
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("until every node has every block (s); dotted: bytes ÷ 49.2 GB/s")
