"""Coalesces block arrivals and writes: a message every few milliseconds, not one per block (architecture.md).

Where a barrier waits for them each is reported at once, and takes what a message of that system takes.
What is for a controller that is gone is dropped.
"""

import asyncio
import contextlib
from collections.abc import Callable

from lambdascale.control.base import Channel
from lambdascale.control.messages import Arrival, Coverage, Message, Write, Written
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
        self._written: dict[int, list[Write]] = {}
        self._open: dict[int, Callable[[], tuple[Write, ...]]] = {}
        self._some_came, self._some_written = asyncio.Event(), asyncio.Event()

    def connect(self, channel: Channel) -> None:
        """Report to another controller from now on."""
        self._channel = channel
        self._pending.clear()
        self._written.clear()
        self._open.clear()

    def add(self, model: str, tier: Tier, arrival: Arrival) -> None:
        """Report `arrival` in the copy of `model` in `tier` soon."""
        self._pending.setdefault((model, tier), []).append(arrival)
        self._some_came.set()

    def wrote(self, scale_out: int, write: Write, open_: Callable[[], tuple[Write, ...]]) -> None:
        """Report a write soon, and those that are `open_` then."""
        self._written.setdefault(scale_out, []).append(write)
        self._open[scale_out] = open_
        self._some_written.set()

    def send(self, message: Message) -> None:
        """Send what cannot wait."""
        if self._channel is not None:
            with contextlib.suppress(PeerGoneError):  # the agent notices
                self._channel.send(message)

    async def run(self) -> None:
        """Report for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._coalesce(self._some_came, self.flush))
            group.create_task(self._coalesce(self._some_written, self._flush_writes))

    async def _coalesce(self, some: asyncio.Event, flush: Callable[[], None]) -> None:
        while True:
            await some.wait()
            await asyncio.sleep(self.report_s)
            some.clear()
            flush()

    def flush(self) -> None:
        """Report the blocks that have come so far at once."""
        pending, self._pending = self._pending, {}
        for (model, tier), arrivals in pending.items():
            self.send(Coverage(self._node, model, tier, tuple(arrivals)))

    def _flush_writes(self) -> None:
        written, self._written = self._written, {}
        for scale_out, writes in written.items():
            open_ = self._open.pop(scale_out)()
            self.send(Written(self._node, scale_out, tuple(writes), open_))
