"""The links one agent has opened, one per (peer, lane), each opened once."""

import asyncio
from collections.abc import Mapping

from lambdascale.errors import PeerGoneError
from lambdascale.transport.base import Lane, Link, Transport


class Links:
    """Opens links on demand; peers' addresses are learnt from the controller."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._addresses: dict[int, str] = {}
        self._links: dict[tuple[int, Lane], asyncio.Task[Link]] = {}

    def learn(self, addresses: Mapping[int, str]) -> None:
        """Remember where peers are."""
        self._addresses.update(addresses)

    async def get(self, peer: int, lane: Lane) -> Link:
        """Return the link to `peer`, opening it if need be; PeerGoneError if it cannot be reached."""
        if peer not in self._addresses:
            raise PeerGoneError(peer, "its address was never announced")
        if (peer, lane) not in self._links:
            connecting = self._transport.connect(peer, self._addresses[peer], lane)
            self._links[peer, lane] = asyncio.ensure_future(connecting)
        opening = self._links[peer, lane]
        try:
            return await asyncio.shield(opening)
        except PeerGoneError:
            self._links.pop((peer, lane), None)  # the peer may come back
            raise
