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
    known = [name for name in COLORS if name in distinct]
    return known + [name for name in distinct if name not in COLORS]


def color_of(name: str) -> str:
    """Return the colour of a system; grey for others."""
    return COLORS.get(name, REFERENCE_COLOR)
