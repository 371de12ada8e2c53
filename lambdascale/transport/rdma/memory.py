"""Memory registered with every rail. It is pinned, so all its pages are present and stay."""

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, Self

import numpy as np

from lambdascale.transport.dock import Dock
from lambdascale.transport.memory import MemoryRegion
from lambdascale.transport.pages import address_of
from lambdascale.transport.rdma.rail import Rail
from lambdascale.transport.wire import check_range


class RdmaRegion(MemoryRegion):
    """A `MemoryRegion` with one registration per rail; its first byte lies at `address`."""

    registrations: Sequence[Any] = ()
    address = 0

    @classmethod
    def pinned(cls, key: int, nbytes: int, pool: Executor, rails: Sequence[Rail]) -> Self:
        """Allocate and register; blocks. Raises ConfigError."""
        region = cls.allocate(key, nbytes, pool)
        region.address = address_of(region.view)
        try:
            region.registrations = [rail.register(region.address, nbytes) for rail in rails]
        except BaseException:
            region.close()
            raise
        return region

    async def release(self, offset: int, nbytes: int) -> None:
        """Zero a range. Its pages stay: devices go on to write to those that were registered."""
        check_range(f"region {self.key}", offset, nbytes, self.nbytes)
        part = np.frombuffer(self.view, np.uint8)[offset : offset + nbytes]
        await self._finish(self._pool.submit(part.fill, 0))

    def close(self) -> None:
        """Deregister, then let go of the memory. Idempotent."""
        registrations, self.registrations = self.registrations, ()
        for registration in registrations:
            registration.close()
        super().close()


def registered(dock: Dock, key: int) -> RdmaRegion | None:
    """Return a node's region if it can be used over RDMA."""
    region = dock.find(key)
    return region if isinstance(region, RdmaRegion) else None
