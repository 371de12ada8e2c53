"""The links one agent has opened, one per (peer, lane), each opened once.

What is written to a peer that is gone is dropped: that the peer is gone is the controller's to deal with. One
that does not grant what the controller says it does is as good as gone: it has lost its controller.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping

from lambdascale.control.messages import Address
from lambdascale.errors import AuthError, GrantError, PeerGoneError
from lambdascale.transport.base import Lane, Link, Region, Transport


def _see(opening: asyncio.Task[Link]) -> None:
    if not opening.cancelled():
        opening.exception()


def _ignore(peer: int) -> None:
    pass


async def _close(opening: asyncio.Task[Link]) -> None:
    """Close a link that may never have opened."""
    with contextlib.suppress(PeerGoneError, AuthError):
        await (await opening).close()


class Links:
    """Opens links on demand; peers' addresses are learnt from the controller.

    `broken` is told once of each peer to which a link broke before it was known to be gone.
    """

    def __init__(self, transport: Transport, broken: Callable[[int], None] = _ignore) -> None:
        self._transport = transport
        self._broken = broken
        self._gone: set[int] = set()
        self._lives: Counter[int] = Counter()  # how often each has come back
        self._closing: set[asyncio.Future[None]] = set()
        self._addresses: dict[int, Address] = {}
        self._links: dict[tuple[int, Lane], asyncio.Task[Link]] = {}

    def learn(self, addresses: Mapping[int, Address]) -> list[int]:
        """Remember where peers are; return those that were gone, and are back."""
        self._addresses.update(addresses)
        back = sorted(self._gone & addresses.keys())
        self._gone.difference_update(back)
        for peer in back:
            self._lives[peer] += 1
            for lane in Lane:
                if (opening := self._links.pop((peer, lane), None)) is not None:
                    self._closing.add(closing := asyncio.ensure_future(_close(opening)))
                    closing.add_done_callback(self._closing.discard)
        return back

    def lose(self, peer: int) -> None:
        """Write nothing to `peer` any more, until its address is learnt again."""
        self._gone.add(peer)

    async def lose_all(self) -> None:
        """Write nothing to anybody any more; what is under way breaks off."""
        for peer in self._addresses:
            self.lose(peer)
        links, self._links = self._links, {}
        await asyncio.gather(*map(_close, links.values()))

    async def write(
        self, peer: int, lane: Lane, source: Region, offset: int, nbytes: int, key: int,
        target_offset: int, notice: int,
    ) -> bool:  # fmt: skip
        """Write to a peer as `Link.write` does; False if it is gone."""
        if peer in self._gone:
            return False
        life = self._lives[peer]
        try:
            link = await self.get(peer, lane)
            await link.write(source, offset, nbytes, key, target_offset, notice)
        except (PeerGoneError, GrantError):
            if peer not in self._gone and life == self._lives[peer]:
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
