"""Multicast latency over the number of nodes, beside the time of one copy (the paper's Fig. 7).

One copy at link rate is the bound below which no multicast can go. A solid line is measured (or
emulated: real bytes over paced links), a dashed one simulated.
"""

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pandas import DataFrame

from lambdascale.figures import style

_LINES = {"measured": "-", "emulated": "-", "simulated": "--"}
_MARKERS = {"measured": "o", "emulated": "o", "simulated": "D"}


@style.styled
def draw(frame: DataFrame) -> Figure:
    """Draw the median latency per (system, provenance) over nodes; a bar spans all repetitions.

    frame: `system nodes blocks seconds one_copy_s provenance`; one curve per (system, blocks, provenance).
    """
    style.need(frame, "frame", "system nodes blocks seconds one_copy_s provenance")
    provenance = ", ".join(style.labels(frame, "provenance"))
    sheet, (panel,) = style.panels(
        "Multicast latency beside the time of one copy", [3.6], provenance
    )
    one_copy = frame.groupby("nodes")["one_copy_s"].max()
    panel.plot(
        one_copy.index, one_copy, ":", color=style.REFERENCE_COLOR, label="one copy at link rate"
    )
    _curves(panel, frame)
    panel.set(xlabel="nodes (sources included)", ylabel="time until every node has every block (s)")
    panel.set_ylim(0, 1.1 * max(frame["seconds"].max(), one_copy.max()))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend_beside(panel)
    return sheet


def _curves(panel: Axes, frame: DataFrame) -> None:
    systems = style.labels(frame, "system")
    colors = dict(zip(systems, sns.color_palette("colorblind", len(systems)), strict=True))
    many_blocks = frame["blocks"].nunique() > 1
    for key, part in frame.groupby(["system", "blocks", "provenance"], sort=False):
        system, blocks, provenance = (str(value) for value in key)
        spread = part.groupby("nodes")["seconds"].agg(["median", "min", "max"])
        panel.errorbar(
            spread.index,
            spread["median"],
            yerr=[spread["median"] - spread["min"], spread["max"] - spread["median"]],
            color=colors[system],
            linestyle=_LINES[provenance],
            marker=_MARKERS[provenance],
            fillstyle="none" if provenance == "simulated" else "full",
            capsize=3,
            label=f"{system}{f', {blocks} blocks' if many_blocks else ''} ({provenance})",
        )
