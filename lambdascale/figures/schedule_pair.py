"""Two or more plans above one another on the same ticks: the paper's Figure 5 a and b, naive against k-way.

naive    node 2  |0|1|2|3|        one row per destination, one cell per tick; number = block
k-way    node 2  |2|3|0|1|        PP1: from here on its members hold the whole model between them
"""

from collections.abc import Hashable
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.experiments.plan_report import PlanReport
from lambdascale.figures import schedule, style

_PLAN = "panel algorithm num_nodes num_sources num_blocks num_ticks coverage_tick pipeline_tick lower_bound"
_PIPELINE = "#d55e00"


@style.styled
def draw(plans: DataFrame, transfers: DataFrame, pipelines: DataFrame) -> Figure:
    """Draw one panel per plan; x tick, y node, colour and number block.

    plans: one row per panel (see `plan_frames.summary`); transfers: `panel tick src dst block`; pipelines:
    one row per member, `panel pipeline node tick`.
    """
    style.need(plans, "plans", _PLAN)
    style.need(transfers, "transfers", "panel tick src dst block")
    style.need(pipelines, "pipelines", "panel pipeline node tick")
    reports = {str(row["panel"]): _report(row, transfers) for row in plans.to_dict("records")}
    heights = [schedule.height_of(report) for report in reports.values()]
    sheet, panels = style.panels("Which block arrives when and where", heights, "simulated")
    end = max(report["num_ticks"] for report in reports.values())
    for panel, (name, report) in zip(panels, reports.items(), strict=True):
        schedule.fill(panel, report)
        _pipelines(panel, pipelines[pipelines["panel"] == name], end)
        panel.set_xlim(0.5, end + 0.8)
        panel.set_title(f"{name}: {schedule.title_of(report)}", pad=24)
    panels[-1].set_xlabel(schedule.X_LABEL)
    return sheet


def _report(row: dict[Hashable, Any], transfers: DataFrame) -> PlanReport:
    """The report that the frames were made from."""
    mine = transfers[transfers["panel"] == row["panel"]]
    rows = mine[["tick", "src", "dst", "block"]].to_dict("records")
    return cast(PlanReport, {**row, "transfers": rows})


def _pipelines(panel: Axes, pipelines: DataFrame, end: int) -> None:
    """A bar behind the row of each member, from when its pipeline can serve."""
    for row in pipelines.to_dict("records"):
        node, tick = row["node"], row["tick"]
        panel.plot(
            [tick + 0.5, end + 0.5], [node + 0.36] * 2, lw=4, color=_PIPELINE, alpha=0.7,
            solid_capstyle="butt", gid=row["pipeline"],
        )  # fmt: skip
        panel.text(
            1.01, node, row["pipeline"], va="center", fontsize="small", color=_PIPELINE,
            transform=panel.get_yaxis_transform(),
        )  # fmt: skip
