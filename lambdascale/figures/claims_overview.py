"""Every claim that has a number in the paper: ours ÷ the paper's, within what is accepted.

13B to 8 nodes, FaaSNet ÷ …   ├────●──┤      a bar: the accepted range; a dot: our median, a line: all values
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas import DataFrame

from lambdascale.figures import style

COLORS = {"in": "#0173b2", "partly": "#de8f05", "out": "#d55e00"}
_NAMES = {"in": "in the accepted range", "partly": "some values are", "out": "not"}
_RIGHT = 2.5  # times the paper's value; an open end is drawn to here


@style.styled
def draw(frame: DataFrame, *, provenance: str) -> Figure:
    """Draw one row per claim, in the order of `frame`; 1 is the paper's value.

    frame: `statement least most low median high state`, all but the first and last ÷ the paper's value (least
    and most may be infinite); state is one of COLORS.
    """
    style.need(frame, "frame", "statement least most low median high state")
    sheet, (panel,) = style.panels("Ours ÷ the paper's", [0.6 + 0.3 * len(frame)], provenance)
    right = max(_RIGHT, 1.1 * float(frame["high"].max()))
    for row, claim in enumerate(frame.to_dict("records")):
        _row(panel, row, claim, right)
    panel.axvline(1, color=style.REFERENCE_COLOR, linestyle=":", linewidth=2)
    panel.set_yticks(range(len(frame)), list(frame["statement"]), fontsize="small")
    panel.set(ylim=(len(frame) - 0.5, -0.5), xlim=(0, right), xlabel="÷ the paper's value")
    panel.grid(visible=False, axis="y")
    handles = [
        Line2D([], [], color=color, marker="o", linestyle="none", label=_NAMES[state])
        for state, color in COLORS.items()
    ]
    sheet.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False)
    return sheet


def _row(panel: Axes, row: int, claim: Mapping[Any, Any], right: float) -> None:
    least, most = np.clip([claim["least"], claim["most"]], 0, right)
    panel.barh(row, most - least, left=least, height=0.6, color="0.88", zorder=1)
    color = COLORS[str(claim["state"])]
    panel.plot([claim["low"], claim["high"]], [row, row], color=color, linewidth=2, zorder=2)
    panel.plot(claim["median"], row, "o", color=color, zorder=3)
