"""Two results side by side: time to first token, nodes assigned, tokens per second, phases of a scale-out.

The first is drawn in colour, the second in grey. A panel without data in either is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from lambdascale.errors import ConfigError
from lambdascale.figures import style
from lambdascale.figures.first_token import cumulative
from lambdascale.figures.gpu_allocation import nodes_over_time
from lambdascale.figures.throughput import bin_edges

COLORS = ("#0173b2", "0.6")
COLUMNS = {
    "ttft": ("requests", "ttft_s"),
    "nodes": ("allocations", "from_s until_s"),
    "tokens": ("tokens", "time_s"),
    "phases": ("scale_outs", "phase seconds"),
}
_WIDTH, _HEIGHT = 4.4, 2.9  # inches of a panel
_STRIP = 0.25  # for the stamp


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its name in the legend and its tables, named as in COLUMNS."""

    name: str
    tables: Mapping[str, DataFrame]
    end_s: float


@style.styled
def draw(
    sides: Sequence[Side], *, provenance: str, panels: Sequence[str] = tuple(COLUMNS)
) -> Figure:
    """Draw the named panels of one or two sides, two in a row. Raises ConfigError if none has data."""
    shown = [panel for panel in panels if any(_has(side, panel) for side in sides)]
    if not shown:
        raise ConfigError("neither run has requests, nodes, tokens or scale-outs; choose others")
    rows = -(-len(shown) // 2)
    height = rows * _HEIGHT + 0.5
    layout = ConstrainedLayoutEngine(rect=(0, _STRIP / height, 1, 1 - _STRIP / height))
    sheet = style.Sheet(figsize=(2 * _WIDTH, height), layout=layout)
    axes = sheet.subplots(rows, 2, squeeze=False).ravel()
    for panel, axis in zip(shown, axes, strict=False):
        _DRAW[panel](axis, [side for side in sides if _has(side, panel)], _colors(sides))
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    handles = [axes[0].plot([], [], color=c, lw=3)[0] for _, c in zip(sides, COLORS, strict=False)]
    names = [side.name for side in sides]
    sheet.legend(handles, names, loc="outside upper left", ncols=1, frameon=False)
    style.stamp(sheet, provenance)
    return sheet


def _has(side: Side, panel: str) -> bool:
    table, columns = COLUMNS[panel]
    frame = side.tables[table]
    return not frame.empty and set(columns.split()) <= set(frame.columns)


def _colors(sides: Sequence[Side]) -> dict[str, str]:
    return {side.name: color for side, color in zip(sides, COLORS, strict=False)}


def _ttft(panel: Axes, sides: Sequence[Side], colors: Mapping[str, str]) -> None:
    for side in reversed(sides):
        times, share = cumulative(side.tables["requests"]["ttft_s"].to_numpy(float))
        panel.step(times, share, where="post", color=colors[side.name], lw=2)
    panel.set(xlabel="time to first token (s)", ylabel="share of requests", ylim=(0, 1.02))
    panel.set_xlim(left=0)


def _nodes(panel: Axes, sides: Sequence[Side], colors: Mapping[str, str]) -> None:
    for side in reversed(sides):
        times, counts = nodes_over_time(side.tables["allocations"], side.end_s)
        panel.step(times, counts, where="post", color=colors[side.name], lw=2)
    panel.set(xlabel="time (s)", ylabel="nodes assigned")
    panel.set_ylim(bottom=0)
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))


def _tokens(panel: Axes, sides: Sequence[Side], colors: Mapping[str, str]) -> None:
    last_s = max(float(side.tables["tokens"]["time_s"].max()) for side in sides)
    edges = bin_edges(last_s, None)
    for side in reversed(sides):
        counts, _ = np.histogram(side.tables["tokens"]["time_s"], edges)
        panel.stairs(counts / np.diff(edges), edges, color=colors[side.name], lw=2)
    panel.set(xlabel="time (s)", ylabel="tokens/s", xlim=(0, edges[-1]))


def _phases(panel: Axes, sides: Sequence[Side], colors: Mapping[str, str]) -> None:
    """The mean seconds of each phase over all scale-outs."""
    means = [
        side.tables["scale_outs"].groupby("phase", sort=False)["seconds"].mean() for side in sides
    ]
    names = list(dict.fromkeys(name for mean in means for name in mean.index))
    width = 0.8 / len(sides)
    for place, (side, mean) in enumerate(zip(sides, means, strict=True)):
        rows = np.arange(len(names)) - 0.4 + width * (place + 0.5)
        panel.barh(rows, mean.reindex(names).fillna(0), width, color=colors[side.name])
    panel.set_yticks(range(len(names)), names, fontsize="small")
    panel.invert_yaxis()
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("mean time in this phase of a scale-out (s)")


_DRAW: Mapping[str, Callable[[Axes, Sequence[Side], Mapping[str, str]], None]] = {
    "ttft": _ttft,
    "nodes": _nodes,
    "tokens": _tokens,
    "phases": _phases,
}
