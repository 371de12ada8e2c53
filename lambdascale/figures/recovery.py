"""What each node holds while others die: one lane per node, one panel per run (beyond the paper).

    node 4   ▁▂▃▄▅✕             how much of the model it holds, from none to all; ✕: its end is noticed
             [stage ]           the strip below: what it serves as meanwhile

A grey band reaches from the moment a death is noticed until what is left is planned anew: nothing new is
begun meanwhile, and what is in flight ends.
"""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from pandas import DataFrame

from lambdascale.figures import style

_HELD_COLOR, _DEATH_COLOR, _QUIET_COLOR = "#9ecae1", "#d55e00", "0.8"
_HEIGHT = 0.6  # of a lane that is full
_STRIP = (0.06, 0.18)  # below it
_KIND_NAMES = {"pipeline": "stage of a pipeline", "replica": "replica"}


@style.styled
def draw(
    held: DataFrame,
    losses: DataFrame,
    serving: DataFrame,
    tokens: DataFrame,
    *,
    provenance: str,
    title: str,
) -> Figure:
    """Draw one panel per run: x time in seconds, y node.

    held: `run node time_s share`, a row per change; losses: `run node time_s planned_s` (NaN: nothing was);
    serving: one row per stage, `run kind node formed_s dissolved_s` (NaN: still); tokens: a node's first
    one, `run node time_s`.
    """
    style.need(held, "held", "run node time_s share")
    runs = style.labels(held)
    heights = [0.3 + 0.5 * held.loc[held["run"] == run, "node"].nunique() for run in runs]
    sheet, axes = style.panels(title, heights, provenance)
    last = [held["time_s"].max(), serving["formed_s"].max(), tokens["time_s"].max()]
    end_s = 1.06 * DataFrame(last).max().item()
    for panel, run in zip(axes, runs, strict=True):
        mine = [frame[frame["run"] == run] for frame in (held, losses, serving, tokens)]
        _panel(panel, end_s, *mine)
        panel.set_title(run if len(runs) > 1 else "")
        panel.set_xlim(0, end_s)
    axes[-1].set_xlabel("time since the scale-out started (s)")
    sheet.legend(
        handles=_legend(answers=not tokens.empty), loc="outside lower left", ncols=3, frameon=False
    )
    return sheet


def _panel(
    panel: Axes,
    end_s: float,
    held: DataFrame,
    losses: DataFrame,
    serving: DataFrame,
    tokens: DataFrame,
) -> None:
    rows = {node: row for row, node in enumerate(sorted(held["node"].unique()))}
    for loss in losses.dropna(subset=["planned_s"]).to_dict("records"):
        panel.axvspan(loss["time_s"], loss["planned_s"], color=_QUIET_COLOR, lw=0, zorder=0)
    deaths = dict(zip(losses["node"], losses["time_s"], strict=True))
    for node, part in held.groupby("node"):
        _lane(panel, part, rows[node], deaths.get(node, end_s))
    _strips(panel, serving, rows, end_s)
    for node, time_s in deaths.items():
        panel.plot(time_s, rows[node], "X", color=_DEATH_COLOR, ms=11, mec="white", gid="deaths")
    places = [rows[node] - _HEIGHT / 2 for node in tokens["node"]]
    panel.plot(tokens["time_s"], places, "k*", ms=9, mec="white", mew=0.6, gid="tokens")
    panel.set_yticks(list(rows.values()), [f"node {node}" for node in rows])
    panel.set_ylim(len(rows) - 0.6, -0.75)
    panel.grid(visible=False, axis="y")


def _lane(panel: Axes, part: DataFrame, row: int, end_s: float) -> None:
    times = [*part["time_s"], end_s]
    tops = [row - _HEIGHT * share for share in [*part["share"], part["share"].iloc[-1]]]
    panel.fill_between(times, row, tops, step="post", color=_HELD_COLOR, lw=0, gid="held")
    whole = part[part["share"] == 1]
    complete = whole[whole["time_s"] > 0]["time_s"]
    panel.vlines(complete, row - _HEIGHT, row, color="black", lw=1.5, gid="complete")


def _strips(panel: Axes, serving: DataFrame, rows: Mapping[int, int], end_s: float) -> None:
    for stage in serving.fillna({"dissolved_s": end_s}).to_dict("records"):
        span = stage["formed_s"], stage["dissolved_s"] - stage["formed_s"]
        lane = rows[stage["node"]] + _STRIP[0], _STRIP[1]
        color = style.KIND_COLORS[stage["kind"]]
        panel.broken_barh([span], lane, facecolors=color, edgecolor="white")


def _legend(answers: bool) -> list[Patch | Line2D]:
    first = Line2D([], [], ls="", marker="*", color="black", ms=9, label="first token")
    return [
        Patch(color=_HELD_COLOR, label="share of the model held (full: all)"),
        *(Patch(color=style.KIND_COLORS[k], label=name) for k, name in _KIND_NAMES.items()),
        Line2D([], [], ls="", marker="X", color=_DEATH_COLOR, ms=9, label="its death is noticed"),
        Patch(color=_QUIET_COLOR, label="until planned anew"),
        Line2D([], [], ls="", marker="|", mew=1.5, color="black", ms=10, label="complete"),
        *([first] if answers else []),
    ]
