"""Coalesces block arrivals: one message every few milliseconds, not one per block (architecture.md)."""

import asyncio

from lambdascale.control.base import Channel
from lambdascale.control.messages import Arrival, Coverage

COALESCE_S = 0.003


class Reporter:
    """Sends `Coverage` to the controller, at most once per COALESCE_S."""

    def __init__(self, node: int, channel: Channel) -> None:
        self._node = node
        self._channel = channel
        self._pending: list[Arrival] = []
        self._some = asyncio.Event()

    def add(self, arrival: Arrival) -> None:
        """Report `arrival` soon."""
        self._pending.append(arrival)
        self._some.set()

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await self._some.wait()
            await asyncio.sleep(COALESCE_S)
            self._some.clear()
            self._channel.send(Coverage(self._node, tuple(self._pending)))
            self._pending.clear()
