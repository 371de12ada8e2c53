"""Imposed rates of a node's tiers: who waits how long on an SSD or on the link between host and GPU.

Both bodies of `Storage` keep time with this, on the clock of the running loop. Loads share the SSD, stores
share it in the other direction, and so do copies in each direction between two regions (a PCIe link is
full duplex).
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from lambdascale.clock import now
from lambdascale.errors import ModelError
from lambdascale.transport.base import Lane, Region
from lambdascale.transport.pacing import Port


class Rates:
    """Ports of `ssd_rate` and `pcie_rate` bytes/s; `math.inf` imposes nothing."""

    def __init__(self, ssd_rate: float, pcie_rate: float) -> None:
        Port(pcie_rate)  # a rate that cannot work is refused now, not at the first copy
        self._loads, self._stores = Port(ssd_rate), Port(ssd_rate)
        self._copies: defaultdict[tuple[int, int], Port] = defaultdict(partial(Port, pcie_rate))
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._closed = False

    def load(self, nbytes: int, *also: Port) -> AbstractAsyncContextManager[None]:
        """Run the body; leave no sooner than the SSD can have read `nbytes`, and `also` carried them."""
        return self._reserved((self._loads, *also), nbytes)

    def store(self, nbytes: int, *also: Port) -> AbstractAsyncContextManager[None]:
        """Run the body; leave no sooner than the SSD can have written `nbytes`, and `also` carried them."""
        return self._reserved((self._stores, *also), nbytes)

    def copy(
        self, source: Region, target: Region, nbytes: int, *also: Port
    ) -> AbstractAsyncContextManager[None]:
        """Run the body; leave no sooner than `nbytes` can have gone from `source` to `target`."""
        return self._reserved((self._copies[source.key, target.key], *also), nbytes)

    def require_open(self) -> None:
        """Raise ModelError once the storage is closed."""
        if self._closed:
            raise _closed()

    def close(self) -> None:
        """Fail what waits now or later."""
        self._closed = True
        for done in self._waiting:
            if not done.done():
                done.set_exception(_closed())

    @asynccontextmanager
    async def _reserved(self, ports: Sequence[Port], nbytes: int) -> AsyncIterator[None]:
        self.require_open()
        due = max(port.leave(now(), nbytes, Lane.BULK) for port in ports)
        yield
        self.require_open()
        await self._wait_until(due)

    async def _wait_until(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting[done] = None
        timer = loop.call_at(due, _finish, done)
        try:
            await done
        finally:
            timer.cancel()
            self._waiting.pop(done, None)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _closed() -> ModelError:
    return ModelError("the storage is closed; move bytes before you close it")
