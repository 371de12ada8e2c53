"""Who does what when, a row per node and a panel per question (the paper's Fig. 6).

node 4   [r0][r1][r2][r3][r0]      colour: the request a step is for, or where a block comes from
node 5       [r0][r1][r2][r3]
"""

from collections.abc import Sequence

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from pandas import DataFrame

from lambdascale.figures import style

_UNIT_S = 1e-3  # of the x axis
Colors = dict[str, tuple[float, float, float]]


@style.styled
def draw(spans: DataFrame, *, provenance: str, title: str, together: bool = False) -> Figure:
    """Draw one panel per `panel`, each with a legend, and a time axis unless they go `together`.

    spans: one row per bar, `panel row start_s end_s kind`; rows from top to bottom as they come.
    """
    style.need(spans, "spans", "panel row start_s end_s kind")
    names = style.labels(spans, "panel")
    heights = [0.55 + 0.27 * spans.loc[spans["panel"] == n, "row"].nunique() for n in names]
    sheet, rows = style.grid(title, heights, [8.6], provenance)
    for (panel,), name in zip(rows, names, strict=True):
        _panel(panel, spans[spans["panel"] == name])
        panel.set_title(name)
        shown = spans if together else spans[spans["panel"] == name]
        panel.set_xlim(shown["start_s"].min() / _UNIT_S, shown["end_s"].max() / _UNIT_S)
    rows[-1][0].set_xlabel("time since the scale-out began (ms)")
    return sheet


def _panel(panel: Axes, spans: DataFrame) -> None:
    rows, kinds = style.labels(spans, "row"), sorted(style.labels(spans, "kind"))
    colors: Colors = dict(zip(kinds, sns.color_palette("colorblind", len(kinds)), strict=True))
    for at, row in enumerate(rows):
        _bars(panel, spans[spans["row"] == row], at, colors)
    panel.set_yticks(range(len(rows)), rows)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")
    _legend(panel, kinds, colors)


def _bars(panel: Axes, spans: DataFrame, at: int, colors: Colors) -> None:
    ranges = [
        (begin / _UNIT_S, (end - begin) / _UNIT_S)
        for begin, end in zip(spans["start_s"], spans["end_s"], strict=True)
    ]
    faces = [colors[kind] for kind in spans["kind"]]
    edge = "white" if len(ranges) < 60 else "none"
    panel.broken_barh(ranges, (at - 0.4, 0.8), facecolors=faces, edgecolor=edge, linewidth=0.5)


def _legend(panel: Axes, kinds: Sequence[str], colors: Colors) -> None:
    panel.legend(
        handles=[Patch(color=colors[kind], label=kind) for kind in kinds], loc="upper left",
        bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize="small",
    )  # fmt: skip
