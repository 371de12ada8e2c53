"""Nodes that are assigned to models over time, below the requests they are for (the paper's Fig. 10).

The area below a curve is GPU time, which the legend gives. Runs are compared, so their curves overlap;
models share the nodes, so theirs are stacked.
"""

from collections.abc import Sequence
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

Steps = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]  # times, nodes from then on


@style.styled
def draw(
    allocations: DataFrame,
    requests: DataFrame,
    *,
    provenance: str,
    by: str = "run",
    bin_s: float | None = None,
    end_s: float | None = None,
    gpus_per_node: int = 1,
) -> Figure:
    """Draw the request rate in bins of `bin_s` seconds (None: chosen), and the nodes of each run or model.

    allocations: one row per interval with `run` or `model` (whichever `by` is), `from_s`, `until_s` (NaN:
    up to `end_s`, by default the last time known); requests: `run`, `arrival_s`, of which the first run's
    are drawn: all runs have the same. GPU time counts `gpus_per_node`.
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
    _draw_nodes(nodes, allocations, by, end_s, gpus_per_node)
    nodes.set(xlim=(0, end_s), ylabel="nodes assigned", xlabel="time since the run started (s)")
    return sheet


def _draw_nodes(
    panel: Axes, allocations: DataFrame, by: str, end_s: float, gpus_per_node: int
) -> None:
    names = style.labels(allocations, by)
    if by == "model":
        names.sort()
    labels, steps = [], []
    for name in names:
        mine = ended(allocations[allocations[by] == name], end_s)
        gpu_s = gpus_per_node * (mine["until_s"] - mine["from_s"]).sum()
        labels.append(f"{name or 'the model'}: {gpu_s:,.0f} GPU-s")
        steps.append(nodes_over_time(mine, end_s))
    (_areas if by == "model" else _curves)(panel, labels, steps)
    panel.set_ylim(bottom=0)
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2,
        fontsize="small", handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip


def _curves(panel: Axes, labels: Sequence[str], steps: Sequence[Steps]) -> None:
    colors = sns.color_palette("colorblind", len(labels))
    for order, (label, (times, counts), color) in enumerate(
        zip(labels, steps, colors, strict=True)
    ):
        on_top = 3 - order / len(labels)  # the first
        panel.step(times, counts, where="post", color=color, lw=2, label=label, zorder=on_top)


def _areas(panel: Axes, labels: Sequence[str], steps: Sequence[Steps]) -> None:
    colors = sns.color_palette("colorblind", len(labels))
    grid = np.unique(np.concatenate([times for times, _ in steps]))
    base = np.zeros(len(grid))
    for label, (times, counts), color in zip(labels, steps, colors, strict=True):
        top = base + counts[np.searchsorted(times, grid, side="right") - 1]
        panel.fill_between(grid, base, top, step="post", color=color, lw=0, label=label)
        base = top


def ended(allocations: DataFrame, end_s: float) -> DataFrame:
    """Return the same intervals, all of which end by `end_s`."""
    return allocations.assign(until_s=allocations["until_s"].fillna(end_s).clip(upper=end_s))


def nodes_over_time(allocations: DataFrame, end_s: float) -> Steps:
    """Return when the number of nodes changes, and what it is from then on, up to `end_s`."""
    allocations = ended(allocations, end_s)
    changes = np.concatenate([[0.0], allocations["from_s"], allocations["until_s"], [end_s]])
    num = len(allocations)
    signs = np.concatenate([[0], np.ones(num, int), -np.ones(num, int), [0]])
    times, index = np.unique(changes, return_inverse=True)
    counts = np.cumsum(np.bincount(index, signs)).round().astype(int)
    counts[-1:] = counts[-2:-1]  # what ends with the run is drawn up to there
    return times, counts
