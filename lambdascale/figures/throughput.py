"""Tokens per second over time, by who sampled them: execution pipelines or replicas (the paper's Fig. 8).

One panel per run with the same axes, so that the area lost while waiting for the load is seen.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.errors import ConfigError
from lambdascale.figures import style

_COLUMNS = "run time_s kind"
_NUM_BINS = 60


@style.styled
def draw(tokens: DataFrame, *, provenance: str, bin_s: float | None = None) -> Figure:
    """Draw tokens/s in bins of `bin_s` seconds (chosen from the longest run if not given).

    tokens: one row per token with `run`, `time_s` (since the scale-out started), `kind` (replica, pipeline).
    """
    style.need(tokens, "tokens", _COLUMNS)
    edges = bin_edges(float(tokens["time_s"].max()), bin_s)
    runs = style.labels(tokens)
    sheet, axes = style.panels("Throughput while scaling out", [1.9] * len(runs), provenance)
    for panel, run in zip(axes, runs, strict=True):
        _stack(panel, tokens[tokens["run"] == run], edges)
        panel.set_title(run)
        panel.set_ylabel("tokens/s")
    highest = max(panel.get_ylim()[1] for panel in axes)
    for panel in axes:
        panel.set(ylim=(0, highest), xlim=(0, edges[-1]))
    axes[-1].set_xlabel("time since the scale-out started (s)")
    style.legend_beside(axes[0], title="sampled by")
    return sheet


def bin_edges(end_s: float, bin_s: float | None) -> npt.NDArray[np.floating[Any]]:
    """Return edges from 0 past `end_s`; unless given, the width is the 1, 2 or 5 that makes at most about 60.

    >>> bin_edges(1.0, 0.5).tolist()
    [0.0, 0.5, 1.0, 1.5]
    """
    if bin_s is not None and bin_s <= 0:
        raise ConfigError(f"bin_s is {bin_s}; it must be positive")
    width = nice(end_s / _NUM_BINS) if bin_s is None else bin_s
    return np.arange(int(end_s // width) + 2) * width


def nice(width: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    scale = float(10 ** np.floor(np.log10(max(width, 1e-6))))
    return next(
        step * scale for step in (1.0, 2.0, 5.0, 10.0) if step * scale >= width * (1 - 1e-9)
    )


def _stack(panel: Axes, tokens: DataFrame, edges: npt.NDArray[np.floating[Any]]) -> None:
    base = np.zeros(len(edges) - 1)
    for kind, color in reversed(style.KIND_COLORS.items()):
        counts, _ = np.histogram(tokens.loc[tokens["kind"] == kind, "time_s"], edges)
        top = base + counts / np.diff(edges)
        panel.stairs(top, edges, baseline=base, fill=True, color=color, label=kind)
        base = top
