"""What a fault costs: blocks that arrive changed, and a node that dies in the middle (beyond the paper).

On the left a dot per run and a line through the means; on the right a mark per node that dies, round for a
receiver, square for a source, and a line through the medians.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of, in_order

_SOURCES = 2  # with one, a source that dies takes blocks with it
_WAYS = {
    "restarted": ("restart from zero", style.REFERENCE_COLOR),
    "repaired": ("repair, as our agents send", color_of("lambdascale")),
    "in_step": ("repair, in step (a barrier)", "#56b4e9"),
}
_MARKS = {"receiver": "o", "source": "s"}
_RUNS = "receivers system share seed last_s healthy_s"
_DEATHS = "nodes sources role at wire_s undisturbed_s repaired_s in_step_s restarted_s"


@style.styled
def draw(runs: DataFrame, deaths: DataFrame, provenance: str) -> Figure:
    """Draw a panel of simulated runs with changed blocks, and one of predicted deaths per number of nodes.

    runs: `receivers system share seed last_s healthy_s`, a row per run.
    deaths: `nodes sources role at wire_s` and `undisturbed_s repaired_s in_step_s restarted_s`, a row per
    node that dies; only those of two sources are drawn.
    """
    style.need(runs, "runs", _RUNS)
    deaths = deaths[deaths["sources"] == _SOURCES]
    style.need(deaths, "deaths", _DEATHS)
    counts = sorted(deaths["nodes"].unique())
    title = "What a fault costs: blocks that arrive changed, a node that dies"
    sheet, (panels,) = style.grid(
        title, [3.4], [4.6, *[max(4.2, 6.4 / len(counts))] * len(counts)], provenance
    )
    names = in_order(style.labels(runs, "system"))
    _changed(panels[0], runs, names)
    for panel, count in zip(panels[1:], counts, strict=True):
        _died(panel, deaths[deaths["nodes"] == count])
        panel.set_title(f"2 → {count} nodes, one dies (predicted)")
        panel.sharey(panels[1])
    panels[1].set_ylabel("survivors complete,\ns ÷ (bytes ÷ 49.2 GB/s)")
    sheet.legend(handles=_legend(names), loc="outside lower center", ncols=3, frameon=False)
    return sheet


def _changed(panel: Axes, runs: DataFrame, names: Sequence[str]) -> None:
    shares = sorted(runs["share"].unique())
    for name, aside in zip(names, _asides(len(names)), strict=True):
        mine = runs[runs["system"] == name]
        ratios = mine["last_s"] / mine["healthy_s"]
        x = mine["share"].map(shares.index) + aside
        panel.plot(x, ratios, "o", ms=5, mfc="none", color=color_of(name), gid="runs")
        means = ratios.groupby(mine["share"]).mean()
        panel.plot(np.arange(len(means)) + aside, means, "-", lw=2, color=color_of(name))
    panel.set_xticks(range(len(shares)), [f"{share:.3g}" for share in 100 * np.array(shares)])
    panel.set_xlabel("block writes that arrive changed, %")
    panel.set_ylabel("last receiver complete\n÷ the same without a fault")
    panel.set_title(f"1 → {runs['receivers'].iloc[0] + 1} nodes, blocks change (simulated)")
    panel.grid(visible=False, axis="x")


def _died(panel: Axes, rows: DataFrame) -> None:
    moments = sorted(rows["at"].unique())
    for (way, (_, color)), aside in zip(_WAYS.items(), _asides(len(_WAYS)), strict=True):
        y = rows[f"{way}_s"] / rows["wire_s"]
        x = rows["at"].map(moments.index) + aside
        for role, mark in _MARKS.items():
            mine = rows["role"] == role
            panel.plot(
                x[mine] + (0.05 if role == "source" else -0.05), y[mine], mark, ms=5, mfc="none",
                color=color, gid="deaths",
            )  # fmt: skip
        panel.plot(
            np.arange(len(moments)) + aside, y.groupby(rows["at"]).median(), "-", lw=2, color=color
        )
    panel.axhline(
        (rows["undisturbed_s"] / rows["wire_s"]).iloc[0], ls=":", lw=1.5, color="black", zorder=1
    )
    panel.set_xticks(range(len(moments)), [f"{100 * moment:g}" for moment in moments])
    panel.set_xlabel("moment of death, % of the multicast")
    panel.grid(visible=False, axis="x")


def _asides(count: int) -> list[float]:
    """Places around a tick, left to right, so that marks do not hide each other."""
    return [float(place) for place in np.linspace(-0.18, 0.18, count)]


def _legend(names: Sequence[str]) -> list[Line2D]:
    lines = [(name, color_of(name)) for name in names] + list(_WAYS.values())
    return [
        *(Line2D([], [], lw=2, color=color, label=label) for label, color in lines),
        Line2D([], [], ls=":", lw=1.5, color="black", label="nobody dies"),
        *(
            Line2D([], [], ls="", marker=m, mfc="none", color="black", label=f"a {role} dies")
            for role, m in _MARKS.items()
        ),
    ]
