"""When the keep-alives of idle copies end, soonest first; pure state.

Entries that have been overtaken by a later use are left where they are and passed over, so a change costs
the logarithm of the number of copies and not a look at each of them.
"""

import heapq
from collections.abc import Callable
from itertools import count

Place = tuple[int, int, str]  # node, tier, model


class Expiries:
    """Idle copies by the end of their keep-alive, which `current` tells for a place (None: not idle)."""

    def __init__(self, current: Callable[[Place], float | None]) -> None:
        self._current = current
        self._heap: list[tuple[float, int, Place]] = []
        self._serials = count()

    def note(self, place: Place) -> None:
        """A copy has changed."""
        end = self._current(place)
        if end is not None:
            heapq.heappush(self._heap, (end, next(self._serials), place))

    def next(self) -> float | None:
        """Return the soonest end; None if there is none."""
        while self._heap and not self._holds(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def until(self, now: float) -> list[Place]:
        """Return the places whose copies' time is over, in ascending order; they stay noted."""
        over = {}
        while (end := self.next()) is not None and end <= now:
            entry = heapq.heappop(self._heap)
            over[entry[2]] = entry
        for entry in over.values():
            heapq.heappush(self._heap, entry)
        return sorted(over)

    def _holds(self, entry: tuple[float, int, Place]) -> bool:
        return self._current(entry[2]) == entry[0]
