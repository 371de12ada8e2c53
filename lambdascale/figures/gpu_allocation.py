"""Nodes that are assigned to models over time, below the requests they are for (the paper's Fig. 10).

The area below a curve is GPU time, which the legend gives.
"""

from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from lambdascale.errors import ConfigError
from lambdascale.figures import style
from lambdascale.figures.throughput import bin_edges


@style.styled
def draw(
    allocations: DataFrame,
    requests: DataFrame,
    *,
    provenance: str,
    by: str = "run",
    bin_s: float | None = None,
    end_s: float | None = None,
) -> Figure:
    """Draw the request rate in bins of `bin_s` seconds (None: chosen), and the nodes of each `by`.

    allocations: one row per interval with `run` or `model` (whichever `by` is), `from_s`, `until_s` (NaN:
    up to `end_s`, by default the last time known); requests: `run`, `arrival_s`, of which the first run's
    are drawn: all runs have the same.
    """
    style.need(allocations, "allocations", f"{by} from_s until_s")
    style.need(requests, "requests", "run arrival_s")
    known = [allocations["from_s"].max(), allocations["until_s"].max(), requests["arrival_s"].max()]
    end_s = float(np.nanmax(known)) if end_s is None else end_s
    if end_s <= 0:
        raise ConfigError(f"the run ends at {end_s} s; give end_s")
    sheet, (rate, nodes) = style.panels(
        "Nodes assigned, and the requests they are for", [1.5, 2.4], provenance
    )
    arrivals = requests.loc[requests["run"] == requests["run"].iloc[0], "arrival_s"]
    edges = bin_edges(end_s, bin_s)
    counts, _ = np.histogram(arrivals, edges)
    rate.stairs(counts / np.diff(edges), edges, fill=True, color="0.6", gid="rate")
    rate.set(ylabel="requests/s")
    _draw_nodes(nodes, allocations, by, end_s)
    nodes.set(xlim=(0, end_s), ylabel="nodes assigned", xlabel="time since the run started (s)")
    return sheet


def _draw_nodes(panel: Axes, allocations: DataFrame, by: str, end_s: float) -> None:
    names = style.labels(allocations, by)
    colors = sns.color_palette("colorblind", len(names))
    for order, (name, color) in enumerate(zip(names, colors, strict=True)):
        mine = allocations[allocations[by] == name].fillna({"until_s": end_s})
        mine = mine.assign(until_s=mine["until_s"].clip(upper=end_s))
        gpu_s = (mine["until_s"] - mine["from_s"]).sum()
        times, counts = _steps(mine, end_s)
        label = f"{name or 'the model'}: {gpu_s:,.0f} GPU-s"
        on_top = 3 - order / len(names)  # the first
        panel.step(times, counts, where="post", color=color, lw=2, label=label, zorder=on_top)
    panel.set_ylim(0, 1.25 * panel.get_ylim()[1])  # room for the legend
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(loc="upper right")


def _steps(allocations: DataFrame, end_s: float) -> tuple[np.ndarray[Any, Any], ...]:
    """When the number of nodes changes, and what it is from then on."""
    changes = np.concatenate([[0.0], allocations["from_s"], allocations["until_s"], [end_s]])
    num = len(allocations)
    signs = np.concatenate([[0], np.ones(num, int), -np.ones(num, int), [0]])
    times, index = np.unique(changes, return_inverse=True)
    counts = np.cumsum(np.bincount(index, signs)).round().astype(int)
    counts[-1:] = counts[-2:-1]  # what ends with the run is drawn up to there
    return times, counts
