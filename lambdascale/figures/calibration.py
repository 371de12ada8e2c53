"""What a machine costs: measured times over size, and the lines that were fitted through them.

Both axes are logarithmic; a cost of an operation shows as the flat part on the left. The number in each title
is the median of |measured ÷ fitted − 1|.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from pandas import DataFrame, Series

from lambdascale.figures import style

COLUMNS = 3
CROWDED = 2  # decades of an axis from which only powers of ten are labelled
_HEIGHT = 2.5  # inches of a row
_NEEDED = "series unit x seconds fitted_s residual"


@style.styled
def draw(table: DataFrame, provenance: str = "measured") -> Figure:
    """Draw one panel per series; table: `series unit x seconds fitted_s residual`."""
    style.need(table, "table", _NEEDED)
    names = style.labels(table, "series")
    rows = -(-len(names) // COLUMNS)
    sheet = style.Sheet(
        figsize=(9.0, rows * _HEIGHT + 0.7), layout=ConstrainedLayoutEngine(rect=(0, 0.05, 1, 0.95))
    )
    axes = sheet.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel, name in zip(axes, names, strict=False):
        _series(panel, name, table[table["series"] == name].sort_values("x"))
    for panel in axes[len(names) :]:
        panel.remove()
    sheet.suptitle("Measured costs and the lines fitted through them", x=0.01, ha="left")
    style.stamp(sheet, provenance)
    return sheet


def _series(panel: Axes, name: str, rows: DataFrame) -> None:
    x = np.geomspace(rows["x"].min(), rows["x"].max(), 50)
    panel.plot(
        x, np.interp(x, rows["x"], rows["fitted_s"]), color=style.REFERENCE_COLOR, label="fitted"
    )
    panel.scatter(rows["x"], rows["seconds"], s=26, color="#0173b2", label="measured", zorder=2)
    miss = rows["residual"].abs().median()
    panel.set(xscale="log", yscale="log", title=f"{name}: within {miss:.0%}")
    panel.set(xlabel=str(rows["unit"].iloc[0]), ylabel="time")
    _ticks(panel.xaxis, rows["x"], "")
    _ticks(panel.yaxis, rows["seconds"], "s")


def _ticks(axis: Axis, values: "Series[float]", unit: str) -> None:
    """Few round numbers with prefixes: powers of ten alone would be too few, all would overlap."""
    low, high = values.min(), values.max()
    decades = np.log10(high / low)
    axis.set_major_locator(
        LogLocator(subs=(1.0,) if decades > CROWDED else (1.0, 2.0, 5.0), numticks=6)
    )
    axis.set_major_formatter(EngFormatter(unit, sep=" " if unit else ""))
    axis.set_minor_formatter(NullFormatter())
