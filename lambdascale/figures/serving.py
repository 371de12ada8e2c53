"""An endpoint over time: requests that wait and are served, and the copies that serve them."""

from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style

_PANELS = {
    "requests": {"waiting": "waiting for a slot", "in_flight": "being served"},
    "copies": {"gpu": "on GPUs", "host": "in host memory"},
}


@style.styled
def draw(history: DataFrame, *, provenance: str) -> Figure:
    """Draw requests above copies, both by the same time.

    history: one row per look with `time_s`, `waiting`, `in_flight`, `gpu`, `host`.
    """
    style.need(history, "history", "time_s waiting in_flight gpu host")
    sheet, panels = style.panels("An endpoint under a burst", [1.6, 1.2], provenance)
    for panel, (title, lines) in zip(panels, _PANELS.items(), strict=True):
        for column, label in lines.items():
            panel.step(history["time_s"], history[column], where="post", label=label)
        panel.set(ylabel=title, ylim=(0, None), xlim=(0, history["time_s"].max()))
        style.legend_beside(panel)
    panels[-1].set_xlabel("time since the endpoint was up (s)")
    return sheet
