"""The links one agent has opened, one per (peer, lane), each opened once.

What is written to a peer that is gone is dropped: that the peer is gone is the controller's to deal with.
"""

import asyncio
from collections.abc import Callable, Mapping

from lambdascale.control.messages import Address
from lambdascale.errors import PeerGoneError
from lambdascale.transport.base import Lane, Link, Region, Transport


def _see(opening: asyncio.Task[Link]) -> None:
    if not opening.cancelled():
        opening.exception()


def _ignore(peer: int) -> None:
    pass


class Links:
    """Opens links on demand; peers' addresses are learnt from the controller.

    `broken` is told once of each peer to which a link broke before it was known to be gone.
    """

    def __init__(self, transport: Transport, broken: Callable[[int], None] = _ignore) -> None:
        self._transport = transport
        self._broken = broken
        self._gone: set[int] = set()
        self._addresses: dict[int, Address] = {}
        self._links: dict[tuple[int, Lane], asyncio.Task[Link]] = {}

    def learn(self, addresses: Mapping[int, Address]) -> None:
        """Remember where peers are."""
        self._addresses.update(addresses)

    def lose(self, peer: int) -> None:
        """Write nothing to `peer` any more."""
        self._gone.add(peer)

    async def write(
        self, peer: int, lane: Lane, source: Region, offset: int, nbytes: int, key: int,
        target_offset: int, notice: int,
    ) -> bool:  # fmt: skip
        """Write to a peer as `Link.write` does; False if it is gone."""
        if peer in self._gone:
            return False
        try:
            link = await self.get(peer, lane)
            await link.write(source, offset, nbytes, key, target_offset, notice)
        except PeerGoneError:
            if peer not in self._gone:
                self.lose(peer)
                self._broken(peer)
            return False
        return True

    async def warm(self, peer: int, lane: Lane, source: Region, notice: int) -> None:
        """Open a link and make its first write, an empty one."""
        address = self._addresses[peer]
        key = address.bulk if lane is Lane.BULK else address.express
        await self.write(peer, lane, source, 0, 0, key, 0, notice)

    async def get(self, peer: int, lane: Lane) -> Link:
        """Return the link to `peer`, opening it if need be; PeerGoneError if it cannot be reached."""
        if peer not in self._addresses:
            raise PeerGoneError(peer, "its address was never announced")
        if (peer, lane) not in self._links:
            connecting = self._transport.connect(peer, self._addresses[peer].place, lane)
            self._links[peer, lane] = opening = asyncio.ensure_future(connecting)
            opening.add_done_callback(_see)  # whoever waited may be gone
        opening = self._links[peer, lane]
        try:
            return await asyncio.shield(opening)
        except PeerGoneError:
            self._links.pop((peer, lane), None)  # the peer may come back
            raise
