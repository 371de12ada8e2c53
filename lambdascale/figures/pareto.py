"""GPU-seconds against time to first token: a curve per system over its keep-alive, a panel per policy.

Lower and further left is better. The number at a point is the keep-alive in seconds.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of, in_order

_ROWS = {"ttft_p90_s": "P90", "ttft_p99_s": "P99"}


@style.styled
def draw(points: DataFrame, *, provenance: str, title: str) -> Figure:
    """Draw both quantiles: `panel system gpu_keep_alive_s gpu_s ttft_p90_s ttft_p99_s`."""
    style.need(points, "points", "panel system gpu_keep_alive_s gpu_s ttft_p90_s ttft_p99_s")
    panels, systems = style.labels(points, "panel"), in_order(points["system"])
    widths = [max(4.2, 8.4 / len(panels))] * len(panels)
    sheet, grid = style.grid(title, [2.6] * len(_ROWS), widths, provenance)
    for row, (column, what) in zip(grid, _ROWS.items(), strict=True):
        for axes, name in zip(row, panels, strict=True):
            mine = points[points["panel"] == name]
            for system in systems:
                _curve(axes, mine[mine["system"] == system], column, system)
            axes.set(yscale="log", xscale="log")
            axes.margins(x=0.08, y=0.1)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(lambda value, _: f"{value:g}")
                axis.set_minor_formatter(lambda value, _: f"{value:g}")
            axes.tick_params(which="both", labelsize="x-small")
        row[0].set_ylabel(f"{what} of times to first token (s)")
    for axes, name in zip(grid[0], panels, strict=True):
        axes.set_title(name)
    for axes in grid[-1]:
        axes.set_xlabel("GPU-seconds")
    style.legend_below(sheet, grid[0][0], ncols=6)
    return sheet


def _curve(axes: Axes, mine: DataFrame, column: str, system: str) -> None:
    mine = mine.sort_values("gpu_keep_alive_s")
    dashed = "--" if system == "ideal" else "-"
    axes.plot(
        mine["gpu_s"], mine[column], dashed, marker="o", ms=4, lw=1.6, color=color_of(system),
        label=system,
    )  # fmt: skip
    for point in mine.to_dict("records"):
        axes.annotate(
            f"{point['gpu_keep_alive_s']:g}", (point["gpu_s"], point[column]), xytext=(3, 3),
            textcoords="offset points", fontsize="xx-small", color=color_of(system),
        )  # fmt: skip
