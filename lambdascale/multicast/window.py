"""Which writes a node may begin: few in flight, and none that waits behind a slow peer.

`size` writes are in flight at most, in the order of the plan. If all receivers are alike that is all there
is. A write that is still under way when `size` later ones to others have ended marks its link as *behind*:
from then on it has a window of its own, so that it holds up nobody, until nothing overtakes it any more.
Links to peers that are known to be `slow` are behind from the start and remain so. A plan that was made for
slow links keeps its order (`in_order`): nothing is behind.
Nothing here depends on time: a prediction (`timing`) and the agents (`cluster.sends`) decide alike.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Flight:
    """A write under way to `peer`, and how many later ones to others have ended meanwhile."""

    peer: int
    overtaken: int = 0


class Window:
    """The writes of one node in flight, in the order in which they began.

    >>> window = Window(2)
    >>> slow, fast = window.begin(1), window.begin(2)
    >>> window.admits(2)
    False
    >>> window.end(fast)
    >>> window.end(window.begin(2))
    >>> window.begin(2).peer, window.admits(2)  # the one to 1 does not count now
    (2, True)
    """

    def __init__(self, size: int, slow: Collection[int] = (), in_order: bool = False) -> None:
        self._size = size
        self._in_order = in_order
        self._slow = frozenset(slow)
        self._flights: list[Flight] = []
        self._behind = set(slow)

    def admits(self, peer: int) -> bool:
        """May a write to `peer` begin?"""
        if peer in self._behind:
            return sum(flight.peer == peer for flight in self._flights) < self._size
        return sum(flight.peer not in self._behind for flight in self._flights) < self._size

    def begin(self, peer: int) -> Flight:
        """Note that a write to `peer` begins."""
        self._flights.append(Flight(peer))
        return self._flights[-1]

    def end(self, flight: Flight) -> None:
        """Note that a write has ended; if nothing overtook it, its link counts like others again."""
        at = self._flights.index(flight)
        for earlier in self._flights[:at]:
            earlier.overtaken += earlier.peer != flight.peer
            if earlier.overtaken >= self._size and not self._in_order:
                self._behind.add(earlier.peer)
        if not flight.overtaken and flight.peer not in self._slow:
            self._behind.discard(flight.peer)
        del self._flights[at]
