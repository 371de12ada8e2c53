"""How long a multicast takes, a panel per model and a group of bars per number of nodes (the paper's Fig. 7).

▮ simulated   ◇ the authors' own record, where there is one   ┈ bytes ÷ wire, which nothing is faster than

A bar that is too long for its panel is cut, and its seconds are written on it.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of, in_order

Row = Mapping[Hashable, Any]

_TITLE = "Pipelined multicast stays near one copy; trees, groups and seeds do not"
_GROUP = 0.84  # of the distance between groups
_CUT = 1.6  # times the longest bar but for the one system that is longest


@style.styled
def draw(latency: DataFrame, *, provenance: str) -> Figure:
    """Draw one panel per size.

    latency: `size nodes system seconds wire_s recorded_s` (NaN: no record).
    """
    style.need(latency, "latency", "size nodes system seconds wire_s recorded_s")
    sizes, names = style.labels(latency, "size"), in_order(latency["system"])
    widths = [0.9 + 1.1 * latency.loc[latency["size"] == s, "nodes"].nunique() for s in sizes]
    scale = 9.5 / sum(widths)
    sheet, (row,) = style.grid(_TITLE, [3.3], [scale * w for w in widths], provenance)
    for panel, size in zip(row, sizes, strict=True):
        _panel(panel, latency[latency["size"] == size], names)
        panel.set(title=f"Llama-2 {size}", xlabel="nodes, one source")
    row[0].set_ylabel("until every node has every block (s)")
    sheet.legend(handles=_legend(names), loc="outside lower left", ncols=5, frameon=False)
    return sheet


def _panel(panel: Axes, latency: DataFrame, names: list[str]) -> None:
    counts = sorted(latency["nodes"].unique())
    top, width = _top(latency), _GROUP / len(names)
    for row in latency.to_dict("records"):
        place = names.index(row["system"]) - len(names) / 2 + 0.5
        _bar(panel, counts.index(row["nodes"]) + width * place, width, top, row)
    panel.axhline(latency["wire_s"].max(), ls=":", lw=2, color="black", gid="wire")
    panel.set_xticks(range(len(counts)), [str(count) for count in counts])
    panel.set_ylim(0, top)
    panel.grid(visible=False, axis="x")


def _bar(panel: Axes, at: float, width: float, top: float, row: Row) -> None:
    name, seconds = row["system"], row["seconds"]
    panel.bar(at, min(seconds, top), width, color=color_of(name), gid=name)
    if seconds > top:
        panel.text(
            at, 0.97 * top, f"{seconds:.2g} s", rotation=90, ha="center", va="top",
            fontsize="x-small", color="white", weight="bold",
        )  # fmt: skip
    if np.isfinite(row["recorded_s"]):
        panel.plot(at, row["recorded_s"], "D", ms=5, mfc="white", mec="black", gid="recorded")


def _top(latency: DataFrame) -> float:
    longest = latency.groupby("system")["seconds"].max().nlargest(2)
    return float(min(1.06 * max(longest.max(), latency["recorded_s"].max()), _CUT * longest.min()))


def _legend(names: list[str]) -> list[Patch | Line2D]:
    bars: list[Patch | Line2D] = [Patch(color=color_of(name), label=name) for name in names]
    record = Line2D(
        [], [], ls="", marker="D", mfc="white", mec="black", label="the authors' record"
    )
    wire = Line2D([], [], ls=":", lw=2, color="black", label="bytes ÷ 49.2 GB/s")
    return [*bars, record, wire]
