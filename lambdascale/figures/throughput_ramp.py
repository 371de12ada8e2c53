"""Tokens per second since a scale-out began, a row per request and a line per system (the paper's Fig. 8).

left    the first moments: who ramps up when (▼), and on which steps
right   the whole run, in which systems that read an SSD come late
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of, in_order, line_of


@style.styled
def draw(
    throughput: DataFrame,
    ramps: DataFrame,
    *,
    provenance: str,
    title: str,
    zoom: Mapping[str, float],
) -> Figure:
    """Draw one row per panel.

    throughput: one row per bin with `panel`, `system`, `from_s`, `tokens_per_s`; ramps: one row per run with
    `panel`, `system`, `ramp_s`. zoom: panel → seconds that the left side shows.
    """
    style.need(throughput, "throughput", "panel system from_s tokens_per_s")
    style.need(ramps, "ramps", "panel system ramp_s")
    names = style.labels(throughput, "panel")
    sheet, rows = style.grid(title, [1.75] * len(names), [5.4, 4.0], provenance)
    for (near, far), name in zip(rows, names, strict=True):
        mine = throughput[throughput["panel"] == name]
        for panel in (near, far):
            _lines(panel, mine)
            panel.set_ylim(0, 1.18 * mine["tokens_per_s"].max())
        _marks(near, ramps[ramps["panel"] == name])
        near.set(title=name, ylabel="tokens/s", xlim=(0, zoom[name]))
        far.set(title="whole run", xlim=(0, None))
    for panel in rows[-1]:
        panel.set_xlabel("time since the scale-out began (s)")
    style.legend_below(sheet, rows[0][0], ncols=3)
    return sheet


def _lines(panel: Axes, throughput: DataFrame) -> None:
    for order, name in enumerate(in_order(throughput["system"])):
        mine = throughput[throughput["system"] == name]
        begins = mine["from_s"].to_numpy(float)
        edges = np.append(begins, 2 * begins[-1] - begins[-2])
        panel.stairs(
            mine["tokens_per_s"], edges, baseline=None, color=color_of(name), ls=line_of(name),
            lw=1.8, label=name, gid=name, zorder=5 - 0.1 * order,
        )  # fmt: skip


def _marks(panel: Axes, ramps: DataFrame) -> None:
    """Where each system's receivers make their first token."""
    for row in ramps.to_dict("records"):
        panel.plot(
            row["ramp_s"], 0.94, "v", ms=7, color=color_of(row["system"]), mec="white", gid="ramp",
            transform=panel.get_xaxis_transform(), clip_on=True, zorder=9,
        )  # fmt: skip
