"""Feed slow receivers with the sends that a plan for the fast ones leaves idle, so that they slow nobody.

A slow receiver takes one block per `period` ticks and passes nothing on. In a round-optimal broadcast one
member per tick would send to the source and is idle: enough for four receivers at a quarter of the rate.
When the plan is over every node is idle.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lambdascale.multicast.schedule import Transfer


def feed_slow(
    owned: Sequence[int], transfers: Sequence[Transfer], periods: Mapping[int, float]
) -> list[Transfer]:
    """Return `transfers`, in tick order, and those that bring everything to the nodes of `periods`.

    `owned` is per node the mask of its blocks before tick 1; `transfers` bring all blocks that anybody owns
    to some node that is not slow. `periods` is in ticks per block, at least 1.

    >>> feed_slow([0b11, 0, 0], [Transfer(1, 0, 1, 0), Transfer(2, 0, 1, 1)], {2: 2.0})[2:]
    [Transfer(tick=2, src=1, dst=2, block=0), Transfer(tick=4, src=0, dst=2, block=1)]
    """
    feeder = _Feeder(owned, periods)
    planned: dict[int, list[Transfer]] = defaultdict(list)
    for transfer in transfers:
        planned[transfer.tick].append(transfer)
    tick, last = 0, max(planned, default=0)
    while tick < last or feeder.waiting:
        tick += 1
        feeder.run(tick, planned[tick])
    return feeder.done


class _Feeder:
    """What is owned so far, and from when on each slow node can take its next block."""

    def __init__(self, owned: Sequence[int], periods: Mapping[int, float]) -> None:
        self.done: list[Transfer] = []
        self._full = 0
        for mask in owned:
            self._full |= mask
        self.waiting = {node: 1.0 for node in periods if owned[node] != self._full}
        self._owned = list(owned)
        self._periods = periods
        self._fed = {node: 0 for node in range(len(owned)) if node not in periods}

    def run(self, tick: int, planned: Sequence[Transfer]) -> None:
        """Add the planned transfers of this tick and what idle nodes can send besides."""
        moves = list(planned)
        busy = {move.src for move in moves}
        for dst in sorted(self.waiting, key=self.waiting.__getitem__):
            move = self._find(tick, dst, busy) if self.waiting[dst] < tick + 1 else None
            if move is not None:
                moves.append(move)
                busy.add(move.src)
                self._fed[move.src] = tick
                self.waiting[dst] = max(self.waiting[dst], tick) + self._periods[dst]
        for _, _, dst, block in moves:
            self._owned[dst] |= 1 << block
            if self._owned[dst] == self._full:
                self.waiting.pop(dst, None)
        self.done += moves

    def _find(self, tick: int, dst: int, busy: set[int]) -> Transfer | None:
        """Take the idle node that has not fed anybody for longest."""
        lacking = self._full & ~self._owned[dst]
        able = [src for src in self._fed if src not in busy and self._owned[src] & lacking]
        if not able:
            return None
        src = min(able, key=self._fed.__getitem__)
        useful = self._owned[src] & lacking
        return Transfer(tick, src, dst, (useful & -useful).bit_length() - 1)
