"""Requests per second of traces, and instances kept for one of them (the paper's Fig. 1).

▲ real          above the axis: recorded by others, as counts
┼──────────     one panel per trace
▼ generated     below it: made here from that trace's statistics, so peaks are as high, not as timed
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style

COLORS = {"real": "#0173b2", "generated": "#de8f05"}
MINUTE_S = 60.0
_KEPT, _BUSY = "0.75", "#029e73"


@style.styled
def draw(
    rates: DataFrame, instances: DataFrame, *, titles: Mapping[str, str], tenant: str
) -> Figure:
    """Draw one panel per trace, and one with the instances kept for a trace's requests.

    rates: one row per bin with `trace`, `kind` (real, generated), `from_s`, `requests_per_s`;
    instances: one row per change with `from_s`, `busy`, `kept`. `titles`: trace → title of its panel;
    `tenant`: title of the last.
    """
    style.need(rates, "rates", "trace kind from_s requests_per_s")
    style.need(instances, "instances", "from_s busy kept")
    traces = style.labels(rates, "trace")
    heights = [1.5] * len(traces) + [1.7]
    sheet, (*panels, last) = style.panels(
        "Requests come in surges, and instances idle after them", heights, "simulated"
    )
    for panel, trace in zip(panels, traces, strict=True):
        _mirrored(panel, rates[rates["trace"] == trace])
        panel.set(title=titles[trace], ylabel="requests/s")
    _steps(last, instances)
    end_min = rates["from_s"].max() / MINUTE_S
    last.set(title=tenant, ylabel="instances", xlabel="time (minutes)", xlim=(0, end_min))
    return sheet


def _mirrored(panel: Axes, rates: DataFrame) -> None:
    for kind, sign in (("real", 1), ("generated", -1)):
        mine = rates[rates["kind"] == kind]
        begins = mine["from_s"].to_numpy() / MINUTE_S
        edges = np.append(begins, 2 * begins[-1] - begins[-2])
        values = sign * mine["requests_per_s"].to_numpy()
        panel.stairs(values, edges, fill=True, color=COLORS[kind], gid=kind)
        panel.text(
            1.01, 0.5 + 0.25 * sign, kind, transform=panel.transAxes, va="center",
            color=COLORS[kind], weight="bold",
        )  # fmt: skip
    most = 1.1 * rates["requests_per_s"].max()
    panel.set_ylim(-most, most)
    panel.axhline(0, color="0.4", lw=0.8)
    panel.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")


def _steps(panel: Axes, instances: DataFrame) -> None:
    minutes = instances["from_s"] / MINUTE_S
    for what, color, label in (
        ("kept", _KEPT, "kept, idle"),
        ("busy", _BUSY, "serving"),
    ):
        panel.fill_between(
            minutes, instances[what], step="post", color=color, lw=0, label=label, gid=what
        )
    panel.set_ylim(bottom=0)
    style.legend_beside(panel)
