"""What is to be done at which time, for a shell that asks what is due: nothing happens by itself.

Of one moment, what was asked for first is done first.
"""

import heapq
import itertools
import math
from collections.abc import Callable

from lambdascale.clock import now


class Timetable:
    """Acts that wait for their time on the running loop's clock."""

    def __init__(self) -> None:
        self._acts: list[tuple[float, int, Callable[[], None]]] = []
        self._serials = itertools.count()

    @property
    def due_s(self) -> float:
        """When the next act is due; inf if there is none."""
        return self._acts[0][0] if self._acts else math.inf

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Let `act` be done so many seconds from now; if that is now, do it."""
        if seconds > 0:
            heapq.heappush(self._acts, (now() + seconds, next(self._serials), act))
        else:
            act()

    def perform(self) -> None:
        """Do all that is due."""
        while self.due_s <= now():
            heapq.heappop(self._acts)[2]()
