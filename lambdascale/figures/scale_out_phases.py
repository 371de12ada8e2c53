"""Where the time of each scale-out goes: its named phases as one stacked bar.

The phases fill the whole time from the first queued request on, so a bar is as long as the scale-out took.
"""

from collections.abc import Mapping

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from pandas import DataFrame

from lambdascale.cluster.records import SCALE_PHASES, START_UP
from lambdascale.figures import style

MOST = 20  # scale-outs of a run that are drawn: the longest ones
_SEEN = 0.001  # of the longest scale-out: a shorter phase is in no legend, for it cannot be seen
_WIDE = 0.065  # of the axis: a narrower phase has no number in it
_LIGHT = 0.6
_LEGEND_INCHES = 0.7


@style.styled
def draw(
    scale_outs: DataFrame,
    starts: DataFrame | None = None,
    *,
    provenance: str,
    most: int = MOST,
) -> Figure:
    """Draw one bar per scale-out, one panel per run; of more than `most` the longest ones.

    scale_outs: one row per phase, in order, with `run`, `scale_out`, `model`, `phase`, `seconds`; starts:
    one row per node with `run`, `scale_out`, `start`, by which the bars are named, too.
    """
    style.need(scale_outs, "scale_outs", "run scale_out model phase seconds")
    if starts is not None:
        style.need(starts, "starts", "run scale_out start")
    parts = {run: scale_outs[scale_outs["run"] == run] for run in style.labels(scale_outs)}
    chosen = {run: _longest(part, most) for run, part in parts.items()}
    legend = _LEGEND_INCHES / len(chosen)
    heights = [0.4 + 0.34 * len(numbers) + legend for numbers in chosen.values()]
    sheet, axes = style.panels("Where the time of a scale-out goes", heights, provenance)
    longest = scale_outs.groupby(["run", "scale_out"])["seconds"].sum().max()
    colors = _colors()
    for panel, (run, numbers) in zip(axes, chosen.items(), strict=True):
        named = {n: _name(parts[run], starts, run, n) for n in numbers}
        _bars(panel, parts[run], named, colors, longest)
        total = parts[run]["scale_out"].nunique()
        few = f": the {len(numbers)} longest of {total} scale-outs" if len(numbers) < total else ""
        panel.set(title=f"{run}{few}", xlim=(0, 1.14 * longest))
    axes[-1].set_xlabel("time since the first request was queued (s)")
    seconds = scale_outs.groupby("phase")["seconds"].max()
    handles = [Patch(color=color, label=phase) for phase, color in colors.items()
               if seconds.get(phase, 0.0) > _SEEN * longest]  # fmt: skip
    sheet.legend(handles=handles, loc="outside lower left", ncols=5, frameon=False,
                 title="time until it was …", alignment="left")  # fmt: skip
    return sheet


def _colors() -> dict[str, tuple[float, float, float]]:
    """One colour per phase; those of the start-up are shades of one."""
    others = [phase for phase in SCALE_PHASES if phase not in START_UP]
    shades = sns.light_palette("0.2", len(START_UP) + 1)[1:]
    return {
        **dict(zip(START_UP, shades, strict=True)),
        **dict(zip(others, sns.color_palette("colorblind"), strict=True)),
    }


def _longest(scale_outs: DataFrame, most: int) -> list[int]:
    """The numbers of the `most` longest scale-outs, in the order in which they happened."""
    seconds = scale_outs.groupby("scale_out")["seconds"].sum().nlargest(most)
    return [number for number in scale_outs["scale_out"].unique() if number in seconds.index]


def _name(scale_outs: DataFrame, starts: DataFrame | None, run: str, number: int) -> str:
    """Number and model of a scale-out, and how its nodes started."""
    model = scale_outs.loc[scale_outs["scale_out"] == number, "model"].iloc[0]
    name = f"scale-out {number}  {model}".rstrip()
    if starts is None:
        return name
    mine = starts[(starts["run"] == run) & (starts["scale_out"] == number)]
    return f"{name}: " + ", ".join(f"{n} {how}" for how, n in mine["start"].value_counts().items())


def _bars(
    panel: Axes,
    scale_outs: DataFrame,
    named: Mapping[int, str],
    colors: dict[str, tuple[float, float, float]],
    longest: float,
) -> None:
    for row, number in enumerate(named):
        mine = scale_outs[scale_outs["scale_out"] == number]
        end_s = 0.0
        for phase, seconds in zip(mine["phase"], mine["seconds"], strict=True):
            (bar,) = panel.barh(row, seconds, left=end_s, height=0.72, color=colors[phase])
            if seconds > _WIDE * longest:
                panel.text(end_s + seconds / 2, row, f"{seconds:.2f}", ha="center", va="center",
                           color=_readable(colors[phase]), fontsize="small")  # fmt: skip
            bar.set_gid("phase")
            end_s += seconds
        panel.text(end_s, row, f" {end_s:.2f} s", va="center", fontsize="small", gid="total")
    panel.set_yticks(range(len(named)), named.values())
    panel.set_ylim(len(named) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")


def _readable(color: tuple[float, float, float]) -> str:
    """The colour of text on `color`, by its luminance (ITU-R BT.601)."""
    luminance = sum(w * c for w, c in zip((0.299, 0.587, 0.114), color, strict=True))
    return "black" if luminance > _LIGHT else "white"
