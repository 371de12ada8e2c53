"""A predicted multicast at one moment: which block has reached which node, and what is still to come.

    4 (0.25 × rate)  |  0  |  1  |…     a bar ends when its block arrives; colour and number = block;
    5 (killed)       |8|9|×             pale: after the moment shown

Below: the share of the model that a receiver holds on average, and that all receivers hold together.
"""

import math

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lambdascale.experiments.scenario import Outcome, Scenario
from lambdascale.figures import style

Bar = tuple[float, float, int]  # start and end in block times, block

_LANE = 0.84  # of a row
_NUMBERED_BARS, _NARROWEST = 400, 1 / 50  # a bar narrower than this share of the axis has no number
_TALLEST = 7.0  # inches
_PALE = 0.18
_KILLED_COLOR = "#d55e00"


@style.styled
def draw(outcome: Outcome, now: float = math.inf) -> Figure:
    """Draw x block times, y node; what happens after `now` is pale."""
    scenario = outcome.scenario
    now, end = min(now, outcome.span), max(1.0, outcome.span)
    height = min(_TALLEST, 0.5 + 0.27 * scenario.num_nodes)
    sheet, (nodes, shares) = style.panels(_title(scenario), [height, 1.3], "simulated")
    _draw_nodes(nodes, outcome, now, end)
    _draw_shares(shares, outcome, now)
    for panel in (nodes, shares):
        panel.axvline(now, color=_KILLED_COLOR, linewidth=1.5, gid="now")
        panel.axvline(outcome.bound, color=style.REFERENCE_COLOR, linestyle=":", linewidth=2)
    nodes.set_xlim(0, 1.02 * max(end, outcome.bound))
    shares.set_xlabel("block times (of a full link); dotted: lower bound without disturbance")
    return sheet


def bars(outcome: Outcome, node: int) -> list[Bar]:
    """Return a node's arrivals in order; a bar is as long as its link takes, but starts after the last."""
    width = 1 / outcome.scenario.rates[node]
    arrived = sorted(
        (time, block) for block, time in enumerate(outcome.times[node]) if 0 < time < math.inf
    )
    before = [0.0, *(time for time, _ in arrived)]
    return [(max(b, t - width), t, block) for b, (t, block) in zip(before, arrived, strict=False)]


def _title(scenario: Scenario) -> str:
    return (
        f"{scenario.algorithm}: {scenario.num_sources} → {scenario.num_nodes} nodes, "
        f"{scenario.num_blocks} blocks"
    )


def _label(scenario: Scenario, node: int) -> str:
    states = ["source"] if node < scenario.num_sources else []
    states += [f"{scenario.slow_rate:g} × rate"] if node == scenario.slow_node else []
    states += ["killed"] if node == scenario.killed_node else []
    return f"{node} ({', '.join(states)})" if states else str(node)


def _draw_nodes(panel: Axes, outcome: Outcome, now: float, end: float) -> None:
    scenario = outcome.scenario
    rows = range(scenario.num_nodes)
    panel.set_yticks(rows, [_label(scenario, node) for node in rows])
    panel.set_ylim(scenario.num_nodes - 0.5, -0.5)
    panel.set_ylabel("node")
    panel.grid(visible=False, axis="y")
    numbered = scenario.num_nodes * scenario.num_blocks <= _NUMBERED_BARS
    for node in rows:
        _draw_bars(panel, node, bars(outcome, node), now, scenario.num_blocks)
        if numbered:
            _number(panel, node, bars(outcome, node), now, end, scenario.num_blocks)
    for node in range(scenario.num_sources):
        panel.text(0.005, node, "holds every block", transform=panel.get_yaxis_transform(),
                   va="center", fontsize="small", color=style.REFERENCE_COLOR)  # fmt: skip
    if scenario.killed_node is not None:
        panel.plot(scenario.killed_at, scenario.killed_node, "X", color=_KILLED_COLOR, markersize=9)


def _draw_bars(panel: Axes, node: int, own: list[Bar], now: float, num_blocks: int) -> None:
    if not own:
        return
    norm, colors = Normalize(0, max(1, num_blocks - 1)), sns.color_palette("viridis", as_cmap=True)
    shades = colors(norm(np.array([block for _, _, block in own])))
    shades[:, 3] = [1.0 if stop <= now else _PALE for _, stop, _ in own]
    spans = [(start, stop - start) for start, stop, _ in own]
    lane = (node - _LANE / 2, _LANE)
    panel.broken_barh(spans, lane, facecolors=shades, edgecolor="white", linewidth=0.5)


def _number(
    panel: Axes, node: int, own: list[Bar], now: float, end: float, num_blocks: int
) -> None:
    for start, stop, block in own:
        if stop <= now and stop - start >= end * _NARROWEST:
            color = "white" if block < num_blocks / 2 else "black"
            panel.text((start + stop) / 2, node, str(block), ha="center", va="center", fontsize=7,
                       color=color)  # fmt: skip


def _draw_shares(panel: Axes, outcome: Outcome, now: float) -> None:
    arrived = {t for node in outcome.receivers for t in outcome.times[node] if t < math.inf}
    moments = sorted({0.0, outcome.scenario.killed_at, *arrived})
    moments = [moment for moment in moments if moment <= outcome.span]
    curves = (
        ("all receivers together", outcome.covered_share, style.KIND_COLORS["pipeline"]),
        ("a receiver on average", outcome.mean_share, style.KIND_COLORS["replica"]),
    )
    for label, share, color in curves:
        values = [share(moment) for moment in moments]
        label = f"{label}: {share(now):.0%}"
        panel.step(moments, values, where="post", color=color, label=label, linewidth=2)
    panel.set(ylim=(-0.04, 1.06), ylabel="of the model")
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel.legend(loc="lower right", fontsize="small", title=f"at {now:g} block times")
