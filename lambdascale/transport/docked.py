"""What every transport of a dock does in the same way: what is granted, fenced and received is the node's."""

from collections.abc import Sequence

from lambdascale.transport.base import Notice, PeerLost
from lambdascale.transport.dock import Dock
from lambdascale.transport.grants import Span


class Docked:
    """The part of a `Transport` that is its dock's."""

    def __init__(self, dock: Dock) -> None:
        self.dock = dock
        self.node = dock.node

    def grant(self, key: int, region: int, spans: Sequence[Span]) -> None:
        self.dock.grant(key, region, spans)

    async def revoke(self, key: int) -> None:
        await self.dock.revoke(key)

    def renew(self) -> None:
        self.dock.renew()

    async def fence(self, peer: int) -> None:
        await self.dock.fence(peer)

    async def receive(self) -> Notice | PeerLost:
        return await self.dock.receive()
