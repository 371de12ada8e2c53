"""Where the time of a scale-out goes: its named phases on one time axis, one panel per run."""

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style


@style.styled
def draw(phases: DataFrame, *, provenance: str) -> Figure:
    """Draw one bar per phase, labelled with its seconds; phases may overlap.

    phases: one row per phase with `run`, `phase`, `start_s` (negative: during set-up), `seconds`, in the
    order to draw.
    """
    style.need(phases, "phases", "run phase start_s seconds")
    runs, names = style.labels(phases), style.labels(phases, "phase")
    heights = [0.5 + 0.32 * int((phases["run"] == run).sum()) for run in runs]
    sheet, axes = style.panels("Phases of a scale-out", heights, provenance)
    colors = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    for panel, run in zip(axes, runs, strict=True):
        _bars(panel, phases[phases["run"] == run], colors)
        panel.set_title(run)
    axes[-1].set_xlabel("time since the scale-out started (s)")
    return sheet


def _bars(panel: Axes, phases: DataFrame, colors: dict[str, tuple[float, float, float]]) -> None:
    rows = range(len(phases))
    bars = panel.barh(
        rows,
        phases["seconds"],
        left=phases["start_s"],
        height=0.7,
        color=[colors[name] for name in phases["phase"]],
    )
    panel.bar_label(bars, [f"{seconds:.2f} s" for seconds in phases["seconds"]], padding=4)
    if (phases["start_s"] < 0).any():
        panel.axvline(0, color=style.REFERENCE_COLOR, linewidth=1)
    panel.set_yticks(rows, phases["phase"])
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.grid(visible=False, axis="y")
