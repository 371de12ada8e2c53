"""What a death costs, by its moment: going on with what is left, or beginning again (beyond the paper)."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of

_COLORS = {"repair": color_of("lambdascale"), "restart from zero": style.REFERENCE_COLOR}
_LINES = {"source": ("s", "-"), "receiver": ("o", "--")}


@style.styled
def draw(deaths: DataFrame, *, provenance: str) -> Figure:
    """Draw when the last survivor is complete, and the bytes that are sent again; a mark per death.

    deaths: `way role at complete_s healthy_s resent_gb`; `at` is a share of the undisturbed time.
    """
    style.need(deaths, "deaths", "way role at complete_s healthy_s resent_gb")
    title = "One node dies: going on with what is left, or beginning again"
    sheet, (panels,) = style.grid(title, [3.2], [4.4, 4.4], provenance)
    ratios = deaths["complete_s"] / deaths["healthy_s"]
    _panel(panels[0], deaths.assign(y=ratios), "last survivor complete\n÷ the same if nobody dies")
    _panel(panels[1], deaths.assign(y=deaths["resent_gb"]), "sent again to survivors (GB)")
    panels[0].axhline(1, ls=":", lw=1.5, color="black", zorder=1)
    panels[0].set_ylim(bottom=0.95)
    style.legend_below(sheet, panels[0], ncols=2)
    return sheet


def _panel(panel: Axes, deaths: DataFrame, name: str) -> None:
    for (way, role), part in deaths.groupby(["way", "role"], sort=False):
        mark, line = _LINES[str(role)]
        panel.plot(
            100 * part["at"], part["y"], marker=mark, ls=line, ms=6, mfc="none",
            color=_COLORS[str(way)], label=f"{way}, a {role} dies", gid="deaths",
        )  # fmt: skip
    panel.set_xlabel("moment of death, % of the undisturbed time")
    panel.set_ylabel(name)
