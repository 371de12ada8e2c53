"""A trace with and without kills: when requests had first tokens, and when nodes died (beyond the paper)."""

from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style

_COLORS = ("#0173b2", "#d55e00")


@style.styled
def draw(requests: DataFrame, kills: DataFrame, *, provenance: str) -> Figure:
    """Draw a dot per request and a line per kill; beside it, the share of requests by time to first token.

    requests: `run arrival_s ttft_s`; kills: `run at_s`, possibly without rows.
    """
    style.need(requests, "requests", "run arrival_s ttft_s")
    sheet, (panels,) = style.grid(
        "A trace over HTTP while nodes are killed", [3.0], [6.4, 3.6], provenance
    )
    for run, color in zip(style.labels(requests), _COLORS, strict=False):
        mine = requests[requests["run"] == run].sort_values("ttft_s")
        panels[0].plot(
            mine["arrival_s"], mine["ttft_s"], "o", ms=4, alpha=0.6, color=color, label=run
        )
        shares = [(i + 1) / len(mine) for i in range(len(mine))]
        panels[1].step(mine["ttft_s"], shares, where="post", color=color, label=run)
    for number, at_s in enumerate(kills["at_s"]):
        label = "" if number else "an agent is killed"
        panels[0].axvline(at_s, ls=":", lw=1.5, color="black", gid="kills", label=label)
    panels[0].set(xlabel="arrival (s)", ylabel="time to first token (s)", yscale="log")
    panels[1].set(
        xlabel="time to first token (s)", xscale="log", ylabel="share of requests", ylim=(0, 1)
    )
    for axis in (panels[0].yaxis, panels[1].xaxis):
        style.plain_log(axis, (1.0, 3.0))
    style.legend_below(sheet, panels[0], ncols=3)
    return sheet
