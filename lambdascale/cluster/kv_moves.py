"""KV entries that move with their requests: cache to cache, one-sided, at equal offsets (paper.md c.8).

A slot whose entries are being sent stays *parked*: no new sequence may use it until they have left.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

from lambdascale.cluster.links import Links
from lambdascale.cluster.seat import Seat
from lambdascale.cluster.tags import KV, Kind, tag
from lambdascale.control import messages as m
from lambdascale.transport.base import Lane, Region, Transport


class KvMoves:
    """Sends parked slots and waits for those that peers send."""

    def __init__(self, kv: Region, seat: Seat, links: Links, transport: Transport) -> None:
        self._kv = kv
        self._seat = seat
        self._links = links
        self._transport = transport
        self._parked: Counter[int] = Counter()
        self._arrived: Counter[tuple[int, int]] = Counter()  # (peer, slot)
        self._gone: set[int] = set()
        self._resting = False
        self._news = asyncio.Condition()

    @property
    def parked(self) -> frozenset[int]:
        """The slots that must not be used yet."""
        return frozenset(+self._parked)

    def park(self, slot: int) -> None:
        """Keep a slot as it is until it has been sent."""
        self._parked[slot] += 1

    async def send(self, move: m.SendKv) -> None:
        """Write a parked slot's entries into the KV region of the peer; then the slot is free."""
        engine = await self._seat.engine()
        await engine.kv.expose(move.slot, move.first, move.stop, move.length)
        ranges = engine.kv.ranges(move.slot, move.first, move.stop, move.length)
        plain, last = tag(Kind.WARM, 0), tag(Kind.KV, move.slot)
        async with asyncio.TaskGroup() as group:
            for i, (offset, nbytes) in enumerate(ranges):
                notice = last if i == len(ranges) - 1 else plain
                group.create_task(self._write(move, offset, nbytes, notice))
        self._parked[move.slot] -= 1

    async def arrived(self, peer: int, slot: int) -> None:
        """A peer has written all of one piece."""
        async with self._news:
            if peer not in self._gone and not self._resting:
                self._arrived[peer, slot] += 1
                self._news.notify_all()

    async def lose(self, peer: int) -> None:
        """What has not come from `peer` by now does not come."""
        async with self._news:
            self._gone.add(peer)
            self._news.notify_all()

    def found(self, peer: int) -> None:
        """A peer that was gone is back."""
        self._gone.discard(peer)

    async def rest(self) -> None:
        """Nothing that has not come by now comes."""
        async with self._news:
            self._resting = True
            self._news.notify_all()

    def begin(self) -> None:
        """Work for another controller, for which nothing is on its way."""
        self._resting = False
        self._gone.clear()
        self._arrived.clear()

    async def take(self, slot: int, length: int, pieces: Sequence[m.KvPiece]) -> bool:
        """Let peers write the pieces of a slot, and make them part of the cache; False if not all come.

        The others have come by then, so that nobody writes into the slot any more.
        """
        engine = await self._seat.engine()
        for piece in pieces:
            spans = engine.kv.ranges(slot, piece.first, piece.stop, length)
            self._transport.grant(piece.key, KV, spans)
        came = [await self._wait(piece.node, slot) for piece in pieces]
        for piece in pieces:
            await self._transport.revoke(piece.key)
        if not all(came):
            return False
        for piece in pieces:  # two of one peer may come in any order
            await engine.kv.adopt(slot, piece.first, piece.stop, length)
        return True

    async def _wait(self, peer: int, slot: int) -> bool:
        async with self._news:
            await self._news.wait_for(lambda: self._arrived[peer, slot] > 0 or self._is_gone(peer))
            came = self._arrived[peer, slot] > 0
            self._arrived[peer, slot] -= came
            return came

    def _is_gone(self, peer: int) -> bool:
        return self._resting or peer in self._gone

    async def _write(self, move: m.SendKv, offset: int, nbytes: int, notice: int) -> None:
        peer, kv, key = move.peer, self._kv, move.key
        await self._links.write(peer, Lane.EXPRESS, kv, offset, nbytes, key, offset, notice)
