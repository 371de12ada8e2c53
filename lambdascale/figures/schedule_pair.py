"""Two or more plans above one another on the same ticks: the paper's Figure 5, naive against k-way.

naive    node 2  |0|1|2|3|        one row per destination, one cell per tick; number = block
k-way    node 2  |2|3|0|1|        the dashed line: a pipeline's members hold the whole model
"""

from collections.abc import Mapping

from matplotlib.figure import Figure

from lambdascale.errors import ConfigError
from lambdascale.experiments.plan_report import PlanReport
from lambdascale.figures import schedule, style


@style.styled
def draw(reports: Mapping[str, PlanReport]) -> Figure:
    """Draw one panel per named report; x tick, y node, colour and number block."""
    if not reports:
        raise ConfigError("no plans to draw; give at least one report")
    heights = [schedule.height_of(report) for report in reports.values()]
    sheet, panels = style.panels("Which block arrives when and where", heights, "simulated")
    end = max(report["num_ticks"] for report in reports.values())
    for panel, (name, report) in zip(panels, reports.items(), strict=True):
        schedule.fill(panel, report)
        panel.set_xlim(0.5, end + 0.8)
        panel.set_title(f"{name}: {schedule.title_of(report)}", pad=24)
    panels[-1].set_xlabel(schedule.X_LABEL)
    return sheet
