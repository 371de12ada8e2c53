"""Who has GPUs when: requests, a row per system, GPU time so far; a column per model (the paper's Fig. 10).

Behind each system's area the paper's system is drawn as a dotted line.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of, in_order

PAPERS = "lambdascale-paper"
_ROW, _LAST = 0.75, 2.5


@style.styled
def draw(allocation: DataFrame, rates: DataFrame, *, provenance: str, title: str) -> Figure:
    """Draw `panel system time_s gpus`, from each time on, and `panel from_s until_s requests_per_s`."""
    style.need(allocation, "allocation", "panel system time_s gpus")
    style.need(rates, "rates", "panel from_s until_s requests_per_s")
    panels, systems = style.labels(allocation, "panel"), in_order(allocation["system"])
    heights = [_ROW, *[_ROW] * len(systems), _LAST]
    widths = [max(3.4, 7.0 / len(panels))] * len(panels)
    sheet, grid = style.grid(title, heights, widths, provenance)
    for column, name in enumerate(panels):
        mine = allocation[allocation["panel"] == name]
        _column([row[column] for row in grid], mine, rates[rates["panel"] == name], systems)
        grid[0][column].set_title(name)
    grid[0][0].set_ylabel("req/s", fontsize="small")
    for row, system in zip(grid[1:], systems, strict=False):
        row[0].set_ylabel(system.replace("lambdascale", "λScale"), fontsize="x-small")
    grid[-1][0].set_ylabel("GPU-seconds so far")
    return sheet


def _column(
    rows: Sequence[Axes], mine: DataFrame, rates: DataFrame, systems: Sequence[str]
) -> None:
    end_s, most = float(mine["time_s"].max()), 1.08 * float(mine["gpus"].max())
    edges = np.append(rates["from_s"], rates["until_s"].iloc[-1])
    rows[0].stairs(rates["requests_per_s"], edges, fill=True, color="0.6")
    papers = mine[mine["system"] == PAPERS]
    for axes, system in zip(rows[1:], systems, strict=False):
        own = mine[mine["system"] == system]
        axes.fill_between(
            own["time_s"], own["gpus"], step="post", color=color_of(system), lw=0, alpha=0.75
        )
        axes.step(papers["time_s"], papers["gpus"], ":", where="post", color="black", lw=0.8)
        axes.set_ylim(0, most)
        axes.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    for system in systems:
        _cumulate(rows[-1], mine[mine["system"] == system], system, end_s)
    for axes in rows:
        axes.set_xlim(0, end_s)
        axes.tick_params(labelbottom=axes is rows[-1], labelsize="small")
    rows[-1].set(xlabel="time (s)", ylim=(0, 1.8 * rows[-1].dataLim.y1))  # room for the legend
    rows[-1].legend(fontsize="x-small", loc="upper left", frameon=False, handlelength=1)


def _cumulate(axes: Axes, own: DataFrame, system: str, end_s: float) -> None:
    """The area below the steps; what is held at last is held to the end."""
    times = np.append(own["time_s"], max(end_s, own["time_s"].iloc[-1]))
    area = np.append(0.0, np.cumsum(np.diff(times) * own["gpus"]))
    dashed = "--" if system == "ideal" else "-"
    label = f"{system}: {area[-1]:,.0f}"
    axes.plot(times, area, dashed, color=color_of(system), lw=1.6, label=label)
