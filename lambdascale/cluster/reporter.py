"""Coalesces block arrivals: one message every few milliseconds, not one per block (architecture.md).

Where a barrier waits for them each is reported at once, and takes what a message of that system takes.
What is for a controller that is gone is dropped.
"""

import asyncio
import contextlib

from lambdascale.control.base import Channel
from lambdascale.control.messages import Arrival, Coverage, Message
from lambdascale.errors import PeerGoneError
from lambdascale.storage.tiers import Tier

COALESCE_S = 0.003


class Reporter:
    """Sends `Coverage` of each copy to the controller, `report_s` after the first arrival in it."""

    def __init__(self, node: int) -> None:
        self._node = node
        self._channel: Channel | None = None
        self.report_s = COALESCE_S
        self._pending: dict[tuple[str, Tier], list[Arrival]] = {}
        self._some = asyncio.Event()

    def connect(self, channel: Channel) -> None:
        """Report to another controller from now on."""
        self._channel = channel
        self._pending.clear()

    def add(self, model: str, tier: Tier, arrival: Arrival) -> None:
        """Report `arrival` in the copy of `model` in `tier` soon."""
        self._pending.setdefault((model, tier), []).append(arrival)
        self._some.set()

    def send(self, message: Message) -> None:
        """Send what cannot wait."""
        if self._channel is not None:
            with contextlib.suppress(PeerGoneError):  # the agent notices
                self._channel.send(message)

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await self._some.wait()
            await asyncio.sleep(self.report_s)
            self._some.clear()
            self.flush()

    def flush(self) -> None:
        """Report what has come so far at once."""
        pending, self._pending = self._pending, {}
        for (model, tier), arrivals in pending.items():
            self.send(Coverage(self._node, model, tier, tuple(arrivals)))
