"""A planned multicast: in which tick each block reaches each node (the paper's Fig. 5c, for any plan).

    node 5   | |8|9|10|…|0|1|…     one row per destination, one cell per tick; colour and number = block

A tick in which a node receives two blocks shows one above the other. White: nothing arrives.
"""

from itertools import chain

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lambdascale.experiments.plan_report import PlanReport
from lambdascale.figures import style

_NUMBERED_TICKS, _NUMBERED_NODES = 40, 24  # beyond these a cell has no room for its block's number
_TALLEST = 8.0  # inches

Halves = npt.NDArray[
    np.float64
]  # [2 · destinations, ticks]: the block in each half cell, NaN for none


X_LABEL = "tick in which the block arrives"


@style.styled
def draw(report: PlanReport) -> Figure:
    """Draw x tick, y node, colour block; dashed lines mark coverage and the first pipeline."""
    title = f"{report['algorithm']}: {title_of(report)}"
    sheet, (panel,) = style.panels(title, [height_of(report)], "simulated")
    mesh = fill(panel, report)
    panel.set_xlabel(X_LABEL)
    sheet.colorbar(mesh, ax=panel, label="block", pad=0.01).locator = MaxNLocator(integer=True)
    return sheet


def fill(panel: Axes, report: PlanReport) -> QuadMesh:
    """Draw a plan into `panel` and return the coloured cells."""
    first, stop, ticks = report["num_sources"], report["num_nodes"], report["num_ticks"]
    halves = half_cells(report)
    mesh = panel.pcolormesh(
        np.arange(ticks + 1) + 0.5,
        np.arange(first, stop + 0.25, 0.5) - 0.5,
        halves,
        cmap=sns.color_palette("viridis", as_cmap=True),
        vmin=0,
        vmax=max(1, report["num_blocks"] - 1),
    )
    panel.hlines(np.arange(first, stop) - 0.5, 0.5, ticks + 0.5, color="white", linewidth=0.8)
    if ticks <= _NUMBERED_TICKS and stop - first <= _NUMBERED_NODES:
        _write_numbers(panel, halves, first)
    _mark(panel, report["coverage_tick"], "-", "whole model among nodes")
    _mark(panel, report["pipeline_tick"], "--", "in one pipeline")
    _mark(panel, report["lower_bound"], ":", "lower bound")
    panel.set(xlim=(0.5, ticks + 0.8), ylim=(stop - 0.5, first - 0.5), ylabel="node")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(visible=False)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize="small")
    return mesh


def height_of(report: PlanReport) -> float:
    """Return the inches that a panel of this plan needs."""
    return min(_TALLEST, 0.8 + 0.33 * (report["num_nodes"] - report["num_sources"]))


def title_of(report: PlanReport) -> str:
    """Say in a line what the plan does."""
    early, end = report["pipeline_tick"], report["num_ticks"]
    return (
        f"{report['num_sources']} → {report['num_nodes']} nodes in {end} ticks, "
        f"first pipeline at tick {early}"
    )


def half_cells(report: PlanReport) -> Halves:
    """Return which block arrives where and when: upper and lower half of each (node, tick) cell."""
    first = report["num_sources"]
    halves = np.full((2 * (report["num_nodes"] - first), report["num_ticks"]), np.nan)
    for row in report["transfers"]:
        upper, tick = 2 * (row["dst"] - first), row["tick"] - 1
        start = upper if np.isnan(halves[upper, tick]) else upper + 1
        halves[start : upper + 2, tick] = row["block"]
    return halves


def _write_numbers(panel: Axes, halves: Halves, first: int) -> None:
    """Number each cell, and both halves of a cell that holds two blocks."""
    dark = np.nanmax(halves) / 2
    for upper in range(0, len(halves), 2):
        pairs = zip(halves[upper], halves[upper + 1], strict=True)
        node = first + upper / 2
        cells = ((t, a, b) for t, (a, b) in enumerate(pairs, start=1) if not np.isnan(a))
        texts = chain.from_iterable(
            [(t, node, a)] if a == b else [(t, node - 0.25, a), (t, node + 0.25, b)]
            for t, a, b in cells
        )
        for x, y, block in texts:
            color = "white" if block < dark else "black"
            size = 7 if y == node else 5.5
            panel.text(x, y, f"{block:.0f}", ha="center", va="center", color=color, fontsize=size)


def _mark(panel: Axes, tick: int, line: str, label: str) -> None:
    panel.axvline(
        tick + 0.5, color="#d55e00", linestyle=line, linewidth=2, label=f"{label} ({tick})"
    )
