"""How long a system takes to set up a transfer before any block moves, as recorded numbers.

NCCL has to create a group of the nodes that take part (paper.md 6.5); nobody has a model of how long that
takes, so recorded seconds are replayed, and interpolated between what was recorded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lambdascale.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SetupTime:
    """`seconds` for a group of `members` nodes, the source among them, and a model of `nbytes`."""

    nbytes: int
    members: int
    seconds: float

    def __post_init__(self) -> None:
        if self.nbytes < 1 or self.members < 1 or not 0 <= self.seconds < math.inf:
            raise ConfigError(f"{self} is impossible; give sizes of at least 1, seconds from 0")


def setup_seconds(times: Sequence[SetupTime], nbytes: int, members: int) -> float:
    """Return the seconds for a group and a model: linear between `times`, constant beyond; 0 if none.

    >>> times = [SetupTime(10, 2, 0.1), SetupTime(10, 4, 0.3), SetupTime(20, 2, 0.5)]
    >>> round(setup_seconds(times, 10, 3), 9), round(setup_seconds(times, 15, 9), 9)
    (0.2, 0.4)
    """
    by_size: dict[int, list[tuple[int, float]]] = {}
    for time in times:
        by_size.setdefault(time.nbytes, []).append((time.members, time.seconds))
    return _at(nbytes, [(size, _at(members, points)) for size, points in by_size.items()])


def _at(x: int, points: Sequence[tuple[int, float]]) -> float:
    """The piecewise linear function through `points`, constant outside; 0 without any."""
    below = max((p for p in points if p[0] <= x), default=None)
    above = min((p for p in points if p[0] >= x), default=None)
    if below is None or above is None:
        return (below or above or (0, 0.0))[1]
    width = above[0] - below[0]
    return below[1] + (above[1] - below[1]) * ((x - below[0]) / width if width else 0.0)
