"""Where the model was when it was needed: shares of hot, memory and SSD starts (the paper's Fig. 3)."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pandas import DataFrame

from lambdascale.errors import ConfigError
from lambdascale.figures import style

KINDS = {
    "hot": ("hot: on the GPU already", "#029e73"),
    "warm": ("from host memory", "#0173b2"),
    "cold": ("from other nodes", "#de8f05"),
    "ssd": ("from SSD", "#d55e00"),
}
_NARROWEST = 0.06  # a smaller share has no number in it


@style.styled
def draw(starts: DataFrame, *, provenance: str, of: str = "starts") -> Figure:
    """Draw one bar per run (a trace each), stacked by how its starts found the model.

    starts: one row per start, or whatever rows are `of`, with `run`, `start` (hot, warm, cold or ssd).
    """
    style.need(starts, "starts", "run start")
    unknown = set(starts["start"]) - set(KINDS)
    if unknown:
        raise ConfigError(f"start is {min(unknown)!r}; use one of {', '.join(KINDS)}")
    runs = style.labels(starts)
    sheet, (panel,) = style.panels(
        "Where the model was when it was needed", [0.6 + 0.55 * len(runs)], provenance
    )
    shares = starts.groupby("run")["start"].value_counts(normalize=True).unstack(fill_value=0)
    left = np.zeros(len(runs))
    for kind, (label, color) in KINDS.items():
        if kind in shares:
            widths = shares.loc[runs, kind].to_numpy(float)
            _bars(panel, widths, left, label, color)
            left += widths
    counts = starts["run"].value_counts()
    panel.set_yticks(range(len(runs)), [f"{run}\n({counts[run]} {of})" for run in runs])
    panel.set(xlim=(0, 1), xlabel=f"share of {of}", ylim=(len(runs) - 0.5, -0.5))
    panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    panel.grid(visible=False, axis="y")
    style.legend_beside(panel)
    return sheet


def _bars(panel: Axes, widths: np.ndarray, left: np.ndarray, label: str, color: str) -> None:
    bars = panel.barh(range(len(widths)), widths, left=left, height=0.7, color=color, label=label)
    texts = [f"{width:.0%}" if width >= _NARROWEST else "" for width in widths]
    panel.bar_label(bars, texts, label_type="center", color="white", weight="bold")
