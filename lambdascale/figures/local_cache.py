"""Loading from each node's own host memory, in shifted orders against all in order (paper.md d.1).

Above, how much of the model the loading nodes hold together; shifted, they cover it long before any of
them holds all. Below, the tokens per second that this gives.
"""

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pandas import DataFrame, Series

from lambdascale.figures import style


@style.styled
def draw(blocks: DataFrame, tokens: DataFrame, *, provenance: str) -> Figure:
    """Draw both panels with one curve per run.

    blocks: one row per block of a loading node with `run`, `block`, `verified_s`; tokens: `run`, `time_s`.
    """
    style.need(blocks, "blocks", "run block verified_s")
    style.need(tokens, "tokens", "run time_s")
    runs = style.labels(blocks)
    end_s = 1.02 * float(max(blocks["verified_s"].max(), tokens["time_s"].max()))
    sheet, (shares, counts) = style.panels(
        "Loading from host memory: shifted and in order", [2.2, 2.2], provenance
    )
    for run, color in zip(runs, sns.color_palette("colorblind", len(runs)), strict=True):
        _share(shares, run, blocks[blocks["run"] == run], end_s, color)
        _count(counts, run, tokens.loc[tokens["run"] == run, "time_s"], end_s, color)
    shares.set(ylim=(0, 1.04), ylabel="share of the model")
    shares.yaxis.set_major_formatter(PercentFormatter(1.0))
    shares.legend(loc="lower right", title="covered by all nodes together")
    counts.set(xlim=(0, end_s), ylabel="tokens so far", xlabel="time since the run started (s)")
    counts.set_ylim(bottom=0)
    counts.legend(loc="upper left", title="first token")
    return sheet


def _share(panel: Axes, run: str, blocks: DataFrame, end_s: float, color: object) -> None:
    """A step at every block that no node of the run had before."""
    first = np.sort(blocks.groupby("block")["verified_s"].min().to_numpy(float))
    num_blocks = int(blocks["block"].max()) + 1
    times = np.concatenate([[0.0], first, [end_s]])
    held = np.append(np.arange(len(first) + 1), len(first)) / num_blocks
    label = f"{run}: at {first[-1]:.2f} s"
    panel.step(times, held, where="post", color=color, linewidth=2, label=label)


def _count(panel: Axes, run: str, times: Series, end_s: float, color: object) -> None:
    """A step at every token."""
    steps = np.sort(times.to_numpy(float))
    label = f"{run}: at {steps[0]:.2f} s"
    so_far = np.append(np.arange(len(steps) + 1), len(steps))
    times_s = np.concatenate([[0.0], steps, [end_s]])
    panel.step(times_s, so_far, where="post", color=color, linewidth=2, label=label)
