"""Predicted over measured: how far the simulation can be trusted (the first figure of the report).

Above, both times on logarithmic axes with the line where they are equal; below, by how much the prediction is
off, which the logarithms hide. Grey: the simulator was calibrated on it. Hollow: a device was slower than
its floor, so the point measures the processor and is not counted.
"""

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style

BAND = 0.10
SHOWN = 0.5  # of error: the lower panel is no taller, so that most points can be told apart
_NEEDED = "kind measured_s predicted_s ratio overruns in_sample provenance"
_IN_SAMPLE = "0.6"


@style.styled
def draw(points: DataFrame) -> Figure:
    """Draw one mark per point; points: `kind measured_s predicted_s ratio overruns in_sample provenance`."""
    style.need(points, "points", _NEEDED)
    provenance = ", ".join(
        dict.fromkeys(name for names in points["provenance"] for name in names.split(", "))
    )
    title = "Predicted over measured, out of sample"
    sheet, (above, below) = style.panels(title, [4.2, 2.2], provenance)
    low, high = _limits(points)
    above.fill_between([low, high], *_around([low, high]), color="0.92", label="± 10 %", zorder=0)
    above.plot(
        [low, high], [low, high], "-", color=style.REFERENCE_COLOR, linewidth=1, label="equal"
    )
    below.axhspan(-100 * BAND, 100 * BAND, color="0.92", zorder=0)
    below.axhline(0, color=style.REFERENCE_COLOR, linewidth=1)
    _marks(above, points, "predicted_s")
    _marks(below, points.assign(error=100 * (points["ratio"] - 1)), "error")
    _axes(above, below, low, high)
    largest = 100 * min(SHOWN, max(1.5 * BAND, 1.1 * (points["ratio"] - 1).abs().max()))
    below.set_ylim(-largest, largest)
    style.legend_beside(above)
    return sheet


def _limits(points: DataFrame) -> tuple[float, float]:
    both = points[["measured_s", "predicted_s"]]
    return float(both.min().min()) / 1.15, float(both.max().max()) * 1.15


def _around(values: list[float]) -> tuple[list[float], list[float]]:
    return [(1 - BAND) * value for value in values], [(1 + BAND) * value for value in values]


def _marks(panel: Axes, points: DataFrame, column: str) -> None:
    """One collection per kind, and one for all that is in sample; hollow ones beside them."""
    outside = points[~points["in_sample"]]
    kinds = style.labels(points, "kind")
    colors = dict(zip(kinds, sns.color_palette("colorblind", len(kinds)), strict=True))
    groups = [("in sample", points[points["in_sample"]], _IN_SAMPLE)]
    groups += [(kind, outside[outside["kind"] == kind], colors[kind]) for kind in kinds]
    for name, group, color in groups:
        kept = group[group["overruns"] == 0]
        hollow = group[group["overruns"] > 0]
        panel.scatter(kept["measured_s"], kept[column], s=26, color=[color], label=name, zorder=2)
        panel.scatter(
            *(hollow["measured_s"], hollow[column]),
            s=26, facecolors="none", edgecolors=[color], linewidths=1.0, zorder=2,
        )  # fmt: skip
    if (points["overruns"] > 0).any():
        panel.scatter([], [], s=26, facecolors="none", edgecolors="0.3", label="floor overrun")


def _axes(above: Axes, below: Axes, low: float, high: float) -> None:
    above.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    above.set_ylabel("predicted (s)")
    below.set(xlabel="measured (s)", ylabel="error (%)")
    for axis in (above.xaxis, above.yaxis):
        style.plain_log(axis, (1.0, 2.0, 5.0))
