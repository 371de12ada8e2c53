"""What peers may write of a node: ranges of its regions, each granted under a key, until it is revoked.

A key is a random number that the controller hands out for one transfer (decision 0014). Whoever names a
living key may write in its ranges, and nowhere else. A writer may have heard of a key before the owner has:
what comes under an unknown key waits for `PATIENCE_S`, and is refused then.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from lambdascale.errors import ConfigError
from lambdascale.transport.wire import check_range, check_unsigned

PATIENCE_S = 10.0  # for a key that is not known yet, and to let go of a revoked one
POLL_S = 0.001
REMEMBERED = 4096  # keys that were revoked; what comes under them is refused at once
Span = tuple[int, int]  # offset, nbytes


class Grant(NamedTuple):
    """The right to write `spans` of a region, which are in ascending order and do not overlap."""

    region: int
    spans: tuple[Span, ...]

    def covers(self, offset: int, nbytes: int) -> bool:
        """Does the range lie in one of the spans?

        >>> [Grant(1, ((0, 4), (8, 4))).covers(offset, 4) for offset in (0, 2, 4, 8)]
        [True, False, False, True]
        """
        at = bisect_right(self.spans, (offset, math.inf)) - 1
        return at >= 0 and offset + nbytes <= sum(self.spans[at])

    @property
    def hull(self) -> Span:
        """The smallest range that has all spans in it."""
        low, high = self.spans[0][0], sum(self.spans[-1])
        return low, high - low


class Grants:
    """The living grants of a node, by key."""

    def __init__(self) -> None:
        self._living: dict[int, Grant] = {}
        self._over: dict[int, None] = {}

    def add(self, key: int, region: int, spans: Sequence[Span], nbytes: int) -> None:
        """Let peers write `spans` of a region of `nbytes` bytes under `key`; raises ConfigError."""
        check_unsigned("the key of a grant", key, 64)
        if key in self._living or not spans:
            raise ConfigError(
                f"a grant of region {region} needs a fresh key and at least one range"
            )
        for span in spans:
            check_range(f"region {region}", *span, nbytes)
        self._over.pop(key, None)
        self._living[key] = Grant(region, tuple(spans))

    def find(self, key: int) -> Grant | None:
        """Return what is granted under `key`; any thread may ask."""
        return self._living.get(key)

    def remove(self, key: int) -> bool:
        """Grant nothing under `key` any more; False if nothing was."""
        if self._living.pop(key, None) is None:
            return False
        self._over[key] = None
        if len(self._over) > REMEMBERED:
            del self._over[next(iter(self._over))]
        return True

    def may_come(self, key: int) -> bool:
        """Is it worth waiting for a grant under `key`, which does not live?"""
        return key not in self._over
