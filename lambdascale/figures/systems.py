"""The systems that are compared: the same colour and the same place in every figure.

The paper's own system is green as in the paper, ours blue.
"""

from collections.abc import Iterable

from lambdascale.figures.style import REFERENCE_COLOR

COLORS = {
    "lambdascale-paper": "#029e73",
    "lambdascale": "#0173b2",
    "faasnet": "#de8f05",
    "nccl": "#cc78bc",
    "nccl-warm": "#fbafe4",
    "star": "#949494",
    "blitzscale": "#ca9161",
    "serverlessllm": "#d55e00",
    "ideal": "#222222",
}


def in_order(names: Iterable[str]) -> list[str]:
    """Return distinct names as figures have them, unknown ones last.

    >>> in_order(["nccl", "mine", "faasnet", "nccl"])
    ['faasnet', 'nccl', 'mine']
    """
    distinct = list(dict.fromkeys(names))
    places = list(COLORS)
    return sorted(distinct, key=lambda name: _place(name, places))


def color_of(name: str) -> str:
    """Return the colour of a system, or of the one that a variant, "system (how)", is one of; else grey."""
    return COLORS.get(name.partition(" (")[0], REFERENCE_COLOR)


def line_of(name: str) -> str:
    """Return the line of a system: dashed for a variant."""
    return "--" if " (" in name else "-"


def _place(name: str, places: list[str]) -> int:
    base = name.partition(" (")[0]
    return places.index(base) if base in places else len(places)
