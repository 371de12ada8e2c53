"""The look of every figure, set once: seaborn's white grid, a colour-blind palette, fonts that survive
a column of print, and the stamp that says where the numbers come from.

Figures are plain objects: no pyplot, no global state, no display; in a notebook the last line of a cell
shows them. Saving the same figure twice writes the same bytes.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter
from pandas import DataFrame
from PIL import Image

from lambdascale.errors import ConfigError

PROVENANCE_COLORS = {"measured": "#029e73", "emulated": "#de8f05", "simulated": "#cc78bc"}
KIND_COLORS = {"pipeline": "#de8f05", "replica": "#0173b2"}  # who serves: the same in every figure
REFERENCE_COLOR = "0.35"

_P = ParamSpec("_P")
_T = TypeVar("_T")
_STAMP_INCHES = 0.22
_NOTEBOOK_DPI, _NOTEBOOK_COLORS = 90, 128  # a committed notebook stays small
_RC: dict[Any, object] = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("notebook", font_scale=0.95),
    "axes.edgecolor": "0.4",
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.dpi": 110,
    "figure.titlesize": "large",
    "figure.titleweight": "bold",
    "font.family": ["DejaVu Sans"],  # matplotlib carries it: the same glyphs on every machine
    "grid.color": "0.9",
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,
}


class Sheet(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)


def png(sheet: Figure) -> bytes:
    """Return a figure as a small PNG, as a notebook shows it."""
    full, small = BytesIO(), BytesIO()
    sheet.savefig(full, format="png", dpi=_NOTEBOOK_DPI)
    picture = Image.open(full).convert("RGB").quantize(_NOTEBOOK_COLORS)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def styled(draw: Callable[_P, _T]) -> Callable[_P, _T]:
    """Run `draw` under the project's style, and leave the caller's own settings alone."""

    @wraps(draw)
    def inner(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with mpl.rc_context(_RC):
            return draw(*args, **kwargs)

    return inner


def panels(title: str, heights: Sequence[float], provenance: str) -> tuple[Sheet, list[Axes]]:
    """Return a stamped figure with one panel per height (inches), stacked, sharing the x axis."""
    sheet = _sheet(title, 8.0, sum(heights) + 1.1, provenance)
    axes = sheet.subplots(
        len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(heights)}
    )
    return sheet, list(axes[:, 0])


def grid(
    title: str, heights: Sequence[float], widths: Sequence[float], provenance: str
) -> tuple[Sheet, list[list[Axes]]]:
    """Return a stamped figure with rows and columns of panels (inches) whose axes are their own."""
    sheet = _sheet(title, sum(widths), sum(heights) + 1.1, provenance)
    ratios = {"height_ratios": list(heights), "width_ratios": list(widths)}
    axes = sheet.subplots(len(heights), len(widths), squeeze=False, gridspec_kw=ratios)
    return sheet, [list(row) for row in axes]


def _sheet(title: str, width: float, height: float, provenance: str) -> Sheet:
    strip = _STAMP_INCHES / height
    layout = ConstrainedLayoutEngine(rect=(0, strip, 1, 1 - strip))
    sheet = Sheet(figsize=(width, height), layout=layout)
    sheet.suptitle(title, x=0.01, ha="left")
    stamp(sheet, provenance)
    return sheet


def stamp(sheet: Figure, provenance: str) -> None:
    """Write in the lower right corner whether the numbers were measured, emulated or simulated.

    `provenance` is one of the three, or several with commas between them.
    """
    names = provenance.split(", ")
    for name in names:
        if name not in PROVENANCE_COLORS:
            raise ConfigError(f"provenance is {name!r}; use one of {', '.join(PROVENANCE_COLORS)}")
    middle = _STAMP_INCHES / 2 / sheet.get_figheight()
    color = PROVENANCE_COLORS[names[0]] if len(names) == 1 else REFERENCE_COLOR
    sheet.text(
        0.995, middle, " + ".join(names), ha="right", va="center", fontsize="small",
        color="white", weight="bold", gid="provenance",
        bbox={"boxstyle": "round,pad=0.25", "facecolor": color, "edgecolor": "none"},
    )  # fmt: skip


def legend_beside(axes: Axes, title: str = "") -> None:
    """Put the legend to the right of the panel, where it hides no data."""
    axes.legend(
        title=title or None, loc="upper left", bbox_to_anchor=(1.01, 1),
        borderaxespad=0, frameon=False, alignment="left",
    )  # fmt: skip


def legend_below(sheet: Figure, axes: Axes, ncols: int) -> None:
    """Put the legend of one panel, which holds for all, below the panels."""
    handles, labels = axes.get_legend_handles_labels()
    sheet.legend(handles, labels, loc="outside lower left", ncols=ncols, frameon=False)


def plain_log(axis: Axis, subs: Sequence[float]) -> None:
    """Label a logarithmic axis by plain numbers, at these multiples of powers of ten."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def need(frame: DataFrame, name: str, columns: str) -> None:
    """Raise ConfigError unless `frame` has rows and all the space-separated `columns`."""
    missing = [column for column in columns.split() if column not in frame.columns]
    if missing:
        raise ConfigError(f"{name} has no column {', '.join(missing)}; it needs: {columns}")
    if frame.empty:
        raise ConfigError(f"{name} has no rows; run the experiment first")


def labels(frame: DataFrame, column: str = "run") -> list[str]:
    """Return the distinct values of `column` in the order they appear."""
    return [str(value) for value in frame[column].unique()]


def save(sheet: Figure, path: Path) -> list[Path]:
    """Write `path`.png and `path`.pdf, without time stamps; return both paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    png, pdf = path.with_name(path.name + ".png"), path.with_name(path.name + ".pdf")
    with mpl.rc_context(_RC):
        sheet.savefig(png, metadata={"Software": None})
        sheet.savefig(pdf, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return [png, pdf]
