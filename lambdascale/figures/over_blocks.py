"""Seconds over the number of blocks, a panel per question and a line per system.

Few blocks: relaying waits for whole blocks. Many: what an operation costs is paid often. ● and its number
mark what a system chooses by itself.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of, in_order


@style.styled
def draw(curves: DataFrame, *, provenance: str, title: str) -> Figure:
    """Draw one panel per `panel`.

    curves: `panel system blocks seconds chosen wire_s`, blocks in order.
    """
    style.need(curves, "curves", "panel system blocks seconds chosen wire_s")
    names = style.labels(curves, "panel")
    sheet, (row,) = style.grid(title, [3.0], [4.3] * len(names), provenance)
    for panel, name in zip(row, names, strict=True):
        mine = curves[curves["panel"] == name]
        _lines(panel, mine)
        counts = sorted(mine.loc[~mine["chosen"], "blocks"].unique())
        panel.set_xscale("log", base=2)
        panel.set_xticks(counts, [str(count) for count in counts], rotation=45)
        panel.minorticks_off()
        panel.set(title=name, xlabel="blocks", ylim=(0, 1.08 * mine["seconds"].max()))
    row[0].set_ylabel("seconds")
    style.legend_below(sheet, row[0], ncols=3)
    return sheet


def _lines(panel: Axes, curves: DataFrame) -> None:
    for name in in_order(curves["system"]):
        mine = curves[curves["system"] == name].sort_values("blocks")
        panel.plot(
            mine["blocks"], mine["seconds"], "o-", mfc="white", color=color_of(name), label=name
        )
        own = mine[mine["chosen"]]
        panel.plot(own["blocks"], own["seconds"], "o", color=color_of(name), gid="chosen")
        for count, seconds in zip(own["blocks"], own["seconds"], strict=True):
            panel.annotate(
                str(count), (count, seconds), (0, -16), textcoords="offset points", ha="center",
                fontsize="small", color=color_of(name), weight="bold",
            )  # fmt: skip
    wire_s = curves["wire_s"].max()
    panel.axhline(wire_s, ls=":", lw=2, color="black", label="bytes ÷ 49.2 GB/s")
