"""The length of schedules over nodes or blocks, against the lower bound (paper.md c.4, for every algorithm).

Algorithms that need the same number of ticks at every point share a curve.
"""

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame, Series

from lambdascale.errors import ConfigError
from lambdascale.figures import style

_LABELS = {"nodes": "nodes (sources included)", "blocks": "blocks"}


@style.styled
def draw(frame: DataFrame, *, over: str) -> Figure:
    """Draw ticks, and ticks ÷ lower bound below, over `over` (nodes or blocks); both axes of ticks are log.

    frame: `algorithm nodes blocks ticks bound`, the other of nodes and blocks being constant.
    """
    style.need(frame, "frame", "algorithm nodes blocks ticks bound")
    if over not in _LABELS:
        raise ConfigError(f"over is {over!r}; use one of {', '.join(_LABELS)}")
    (fixed,) = _LABELS.keys() - {over}
    if frame[fixed].nunique() > 1:
        raise ConfigError(f"frame has several values of {fixed}; draw them over {fixed} instead")
    title = f"Length of a multicast with {frame[fixed].iloc[0]} {fixed}"
    sheet, (upper, lower) = style.panels(title, [2.6, 2.6], "simulated")
    curves = same_curves(frame, over)
    colors = sns.color_palette("colorblind", len(curves))
    bound = frame.groupby(over)["bound"].max()
    for (label, ticks), color in zip(curves.items(), colors, strict=True):
        upper.plot(ticks.index, ticks, color=color, label=label, linewidth=2)
        lower.plot(ticks.index, ticks / bound, color=color, linewidth=2)
    upper.plot(bound.index, bound, ":", color=style.REFERENCE_COLOR, label="lower bound", lw=2.5)
    lower.axhline(1, linestyle=":", color=style.REFERENCE_COLOR, linewidth=2.5)
    upper.set_ylabel("ticks until all have all")
    lower.set(xlabel=_LABELS[over], ylabel="ticks ÷ lower bound")
    style.legend_beside(upper)
    _scales(upper, lower, over)
    return sheet


def same_curves(frame: DataFrame, over: str) -> dict[str, "Series[int]"]:
    """Return ticks by `over` for each group of algorithms that agree everywhere, longest at the end first."""
    table = frame.pivot(index=over, columns="algorithm", values="ticks")
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in style.labels(frame, "algorithm"):
        groups.setdefault(tuple(table[name]), []).append(name)
    longest = sorted(groups.items(), key=lambda group: -group[0][-1])
    return {", ".join(names): table[names[0]] for _, names in longest}


def _scales(upper: Axes, lower: Axes, over: str) -> None:
    for panel in (upper, lower):
        panel.set_yscale("log", base=2)
        panel.yaxis.set_major_formatter("{x:g}")
    if over == "blocks":
        lower.set_xscale("log", base=2)
        lower.xaxis.set_major_formatter("{x:g}")
    else:
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
