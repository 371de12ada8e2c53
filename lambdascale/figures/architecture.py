"""The components of the system and who uses whom (the paper's Fig. 4), drawn from the source as it is.

         cluster manager              boxes: modules, under the paper's name (blue) or ours (grey)
plans    Control · Fleet     plans    leaves: the real bodies in green, those of virtual time in purple
         worker node                  arrows: imports between boxes that face each other, and how many
         Storage · Transport · Engine
"""

from collections import Counter
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch
from pandas import DataFrame

from lambdascale.errors import ConfigError
from lambdascale.figures import style
from lambdascale.figures.architecture_layout import BOXES, FLOORS, FRAMES, NOTES, Place, facing

BODY_COLORS = {
    "real": style.PROVENANCE_COLORS["measured"],
    "simulated": style.PROVENANCE_COLORS["simulated"],
}
_PAPER, _OURS, _LEAF, _EDGE = "#cfe3f5", "#eeeeee", "white", "0.45"
_CHARACTERS = 1.4  # of small text, per unit of width


@style.styled
def draw(parts: DataFrame, uses: DataFrame, bodies: DataFrame) -> Figure:
    """Draw every part in its place.

    parts: `part place paper floors num_modules modules`; uses: `user used imports`;
    bodies: `leaf interface kind body`. Raises ConfigError for a part that has no place.
    """
    style.need(parts, "parts", "part place paper floors num_modules modules")
    style.need(uses, "uses", "user used imports")
    style.need(bodies, "bodies", "leaf interface kind body")
    sheet = style.Sheet(figsize=(8.6, 8.8), layout="constrained")
    panel = sheet.subplots()
    panel.set(xlim=(-1, 101), ylim=(-3, 114))
    panel.axis("off")
    for name, place in FRAMES.items():
        _frame(panel, name, place)
    for part in parts.itertuples():
        name = str(part.part)
        if name not in BOXES:
            raise ConfigError(f"part {name!r} has no place in the figure; give it one")
        _box(panel, BOXES[name], part, bodies[bodies["leaf"] == name])
        if name in FLOORS:
            panel.text(
                *FLOORS[name], f"floor {part.floors}", va="center", fontsize=7.5, color="0.5"
            )
    for begin, end, count in _arrows(parts, uses):
        _arrow(panel, begin, end, count)
    sheet.legend(
        handles=_legend(), loc="outside lower left", ncols=5, frameon=False, fontsize="small"
    )
    return sheet


def _frame(panel: Axes, name: str, place: Place) -> None:
    for shift in (1.6, 0.8, 0.0) if name == "worker node" else (0.0,):  # there are several
        corner = place.x + shift, place.y - shift
        panel.add_patch(_rounded(Place(*corner, place.width, place.height), "white", "0.6"))
    panel.text(place.x + 1.5, place.top - 1, name.upper(), va="top", fontsize="small",
               weight="bold", color="0.35")  # fmt: skip


def _rounded(place: Place, face: str, edge: str) -> FancyBboxPatch:
    corner = place.x, place.y
    style_ = "round,pad=0,rounding_size=0.8"
    return FancyBboxPatch(
        corner, place.width, place.height, boxstyle=style_, facecolor=face, edgecolor=edge, lw=1.1
    )


def _box(panel: Axes, place: Place, part: Any, bodies: DataFrame) -> None:
    """A box: its name, and below it the modules, or what a leaf does and its bodies."""
    leaf = len(bodies) > 0
    face = _LEAF if leaf else _PAPER if part.paper else _OURS
    panel.add_patch(_rounded(place, face, "black" if leaf else "0.6"))
    name = bodies["interface"].iloc[0] if leaf else part.part
    middle = place.x + place.width / 2
    panel.text(middle, place.top - 0.8, name, ha="center", va="top", weight="bold", fontsize=9.5)
    lines = [(line, "0.3") for line in NOTES.get(part.part, "").splitlines()]
    lines += list(_bodies(bodies, place)) if leaf else []
    for number, (text, color) in enumerate(lines or _modules(part, place)):
        panel.text(middle, place.top - 3.8 - 2.3 * number, text, ha="center", va="top",
                   fontsize=7.5, color=color)  # fmt: skip


def _bodies(bodies: DataFrame, place: Place) -> Iterator[tuple[str, str]]:
    for kind, color in BODY_COLORS.items():
        text = ", ".join(bodies.loc[bodies["kind"] == kind, "body"])
        yield from ((line, color) for line in wrap(text, int(place.width * _CHARACTERS)))


def _modules(part: Any, place: Place) -> list[tuple[str, str]]:
    text = part.modules.replace(" ", ", ")
    lines = wrap(text, int(place.width * _CHARACTERS))
    if len(lines) > (place.height - 3.5) / 2.2:
        lines = [f"{part.num_modules} modules"]
    return [(line, "0.3") for line in lines]


def _arrows(
    parts: DataFrame, uses: DataFrame
) -> Iterator[tuple[tuple[float, float], tuple[float, float], int]]:
    """From where to where, and how many imports: between boxes that face each other.

    What leaves or enters a frame begins or ends at the frame.
    """
    frame_of = {
        part: place
        for part, place in zip(parts["part"], parts["place"], strict=True)
        if place in FRAMES
    }
    known = {**BOXES, **FRAMES}
    ends = [
        (user, used) if frame_of.get(user) == frame_of.get(used)
        else (frame_of.get(user, user), frame_of.get(used, used))
        for user, used in zip(uses["user"], uses["used"], strict=True)
    ]  # fmt: skip
    counts: Counter[tuple[str, str]] = Counter()
    for pair, count in zip(ends, uses["imports"], strict=True):
        counts[pair] += int(count)
    for (user, used), count in counts.items():
        line = facing(known[user], known[used])
        if line is not None:
            yield *line, count


def _arrow(panel: Axes, begin: tuple[float, float], end: tuple[float, float], count: int) -> None:
    panel.annotate("", end, begin, arrowprops={
        "arrowstyle": "-|>", "color": _EDGE, "lw": 0.8 + 0.25 * min(count, 8),
        "shrinkA": 0, "shrinkB": 0,
    })  # fmt: skip


def _legend() -> list[Patch]:
    return [
        Patch(facecolor=_PAPER, edgecolor="0.6", label="the paper's name"),
        Patch(facecolor=_OURS, edgecolor="0.6", label="ours"),
        Patch(facecolor=_LEAF, edgecolor="black", label="leaf, with its bodies:"),
        *(Patch(color=color, label=kind) for kind, color in BODY_COLORS.items()),
    ]
