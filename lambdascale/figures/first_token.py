"""Time to first token as a cumulative distribution, one curve per run (the paper's Fig. 9 d–f and 11).

A request without a first token stays in the denominator: its curve ends below 1.
"""

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style

Values = npt.NDArray[np.float64]


@style.styled
def draw(requests: DataFrame, *, provenance: str) -> Figure:
    """Draw the share of requests that had their first token within x seconds of their arrival.

    requests: one row per request with `run` and `ttft_s` (NaN: none was produced).
    """
    style.need(requests, "requests", "run ttft_s")
    runs = style.labels(requests)
    sheet, (panel,) = style.panels("Time to first token", [3.4], provenance)
    for run, color in zip(runs, sns.color_palette("colorblind", len(runs)), strict=True):
        _curve(panel, run, requests.loc[requests["run"] == run, "ttft_s"].to_numpy(float), color)
    panel.set(xlabel="time to first token (s)", ylabel="share of requests", ylim=(0, 1.02))
    panel.set_xlim(left=0)
    panel.legend(loc="lower right", title="median · 90th percentile")
    return sheet


def cumulative(ttft: Values) -> tuple[Values, Values]:
    """Return the times and the share of all that had a first token by then; NaN: none was produced."""
    reached = np.sort(ttft[np.isfinite(ttft)])
    return np.append(0.0, reached), np.arange(len(reached) + 1) / len(ttft)


def _curve(panel: Axes, run: str, ttft: np.ndarray, color: object) -> None:
    times, share = cumulative(ttft)
    label = f"{run}: {_quantile(ttft, 0.5)} · {_quantile(ttft, 0.9)}"
    panel.step(times, share, where="post", color=color, linewidth=2, label=label)


def _quantile(ttft: np.ndarray, share: float) -> str:
    """The smallest time by which at least `share` of all requests had a first token."""
    value = np.sort(np.where(np.isfinite(ttft), ttft, np.inf))[int(np.ceil(share * len(ttft))) - 1]
    return f"{value:.2f} s" if np.isfinite(value) else "never"
