"""What preflight starts on each node: says what is there, tells the time, and writes to other nodes.

A Ray actor on a cluster, a plain object on this machine.
"""

import time

from lambdascale.fleet.addresses import node_address
from lambdascale.provision.facts import Facts, facts_of
from lambdascale.transport.base import LOOPBACK, Lane, Region, Transport
from lambdascale.transport.registry import open_transport

NBYTES = 16 << 20  # of one write
WRITES = 3
KEY = 1


class Probe:
    """One node, as one agent on it would be."""

    def __init__(self, network: str | None) -> None:
        """`network` is that of the placement; None without a cluster, where agents use the loopback."""
        self._address = LOOPBACK if network is None else node_address(network)
        self._transport: Transport | None = None
        self._region: Region | None = None

    async def address(self) -> str:
        """Return the address at which an agent would listen here."""
        return self._address

    async def facts(self, image: str) -> Facts:
        """Return what the node says of itself."""
        return facts_of(self._address, image)

    async def clock(self) -> float:
        """Return the time of day here."""
        return time.time()

    async def open(self, transport: str, node: int, secret: bytes) -> str:
        """Open a transport with memory that others may write; return its address."""
        self._transport = await open_transport(transport, node, secret, host=self._address)
        self._region = await self._transport.register(KEY, NBYTES)
        self._transport.grant(KEY, KEY, [(0, NBYTES)])
        return self._transport.address

    async def send(self, peer: int, address: str) -> float:
        """Write to a peer; return the bytes/s of the quickest write, as other work only slows them."""
        assert self._transport
        assert self._region
        link = await self._transport.connect(peer, address, Lane.BULK)
        seconds = []
        for _ in range(WRITES):
            began = time.monotonic()
            await link.write(self._region, 0, NBYTES, KEY, 0, 0)
            seconds.append(time.monotonic() - began)
        await link.close()
        return NBYTES / min(seconds)

    async def close(self) -> None:
        """Release what was opened."""
        if self._transport:
            await self._transport.close()
