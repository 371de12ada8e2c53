"""How long a model stays in host memory before it is evicted (the paper's Fig. 2).

A residency that had not ended when the run did has no length; those are counted in the legend.
"""

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pandas import DataFrame

from lambdascale.errors import ConfigError
from lambdascale.figures import style

KEEP_ALIVE_S = 15.0
_TIMER_S = 1e-3  # a copy leaves when its timer fires, which may be a little after its keep-alive
_SHOWN = 0.98  # of the stays; the axis does not follow the few longest
_TIERS = {"gpu": "GPU memory", "host": "host memory", "ssd": "SSD"}


@style.styled
def draw(
    residency: DataFrame, *, provenance: str, tier: str = "host", mark_s: float = KEEP_ALIVE_S
) -> Figure:
    """Draw the share of residencies in `tier` that lasted at most x seconds; a line at `mark_s`.

    residency: one row per stay with `run`, `tier`, `from_s`, `until_s` (NaN: it had not ended).
    """
    style.need(residency, "residency", "run tier from_s until_s")
    mine = residency[residency["tier"] == tier]
    ended = mine.assign(seconds=mine["until_s"] - mine["from_s"]).dropna(subset=["seconds"])
    if ended.empty:
        raise ConfigError(f"no residency in tier {tier} has ended; run for longer")
    sheet, (panel,) = style.panels(f"How long a model stays in {_TIERS[tier]}", [3.4], provenance)
    runs = style.labels(mine)
    for run, color in zip(runs, sns.color_palette("colorblind", len(runs)), strict=True):
        seconds = np.sort(ended.loc[ended["run"] == run, "seconds"].to_numpy(float))
        _curve(panel, run, seconds, int((mine["run"] == run).sum()) - len(seconds), mark_s, color)
    panel.axvline(
        mark_s, color=style.REFERENCE_COLOR, linestyle="--", linewidth=1.5, zorder=1, gid="mark"
    )
    panel.text(
        mark_s, 1.04, f" {mark_s:g} s", color=style.REFERENCE_COLOR, va="bottom", ha="center"
    )
    panel.set(xlabel="time from loading to eviction (s)", ylabel="share of residencies")
    right_s = max(1.05 * ended["seconds"].quantile(_SHOWN), 1.2 * mark_s)
    panel.set(xlim=(0, right_s), ylim=(0, 1.03))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel.legend(loc="lower right")
    return sheet


def _curve(
    panel: Axes, run: str, seconds: np.ndarray, num_open: int, mark_s: float, color: object
) -> None:
    share = np.arange(len(seconds) + 1) / max(1, len(seconds))
    within = np.mean(seconds <= mark_s + _TIMER_S) if len(seconds) else 0.0
    label = f"{run}: {within:.0%} of {len(seconds)} within {mark_s:g} s"
    label += f" ({num_open} not ended)" if num_open else ""
    panel.step(np.append(0, seconds), share, where="post", color=color, linewidth=2, label=label)
