"""Time to first token over the rate at which requests come, a panel per model (the paper's Fig. 9 a–c).

Bars span what other phases of the autoscaler's poll give.
"""

from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of, in_order

_COLUMNS = "panel rate system ttft_s least_s most_s"
_MARKERS = "osDv^X"


@style.styled
def draw(points: DataFrame, *, provenance: str, title: str, what: str) -> Figure:
    """Draw `what` of the times to first token: `panel rate system ttft_s least_s most_s`."""
    style.need(points, "points", _COLUMNS)
    panels, systems = style.labels(points, "panel"), in_order(points["system"])
    sheet, (row,) = style.grid(title, [3.0], [3.4] * len(panels), provenance)
    for axes, name in zip(row, panels, strict=True):
        for number, system in enumerate(systems):
            mine = points[(points["panel"] == name) & (points["system"] == system)]
            span = [mine["ttft_s"] - mine["least_s"], mine["most_s"] - mine["ttft_s"]]
            axes.errorbar(
                mine["rate"], mine["ttft_s"], yerr=span, color=color_of(system), label=system,
                marker=_MARKERS[number % len(_MARKERS)], ms=5, capsize=2, lw=1.6,
                ls="--" if system == "ideal" else "-",
            )  # fmt: skip
        axes.set(title=name, xlabel="requests/s", yscale="log")
        axes.set_xticks(sorted(points.loc[points["panel"] == name, "rate"].unique()))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    row[0].set_ylabel(f"{what} of the times to first token (s)")
    style.legend_below(sheet, row[0], ncols=6)
    return sheet
