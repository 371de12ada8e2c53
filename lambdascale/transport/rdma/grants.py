"""What one peer may write: a memory window per region and rail, bound to this link's queue pairs.

A window's key works on its own queue pair only and dies with the window, so access ends with the link. Where
a device has no windows, the region's own key is granted, which works for every peer that is connected.
"""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from lambdascale.transport.rdma import verbs
from lambdascale.transport.rdma.memory import RdmaRegion
from lambdascale.transport.rdma.pair import Pair
from lambdascale.transport.rdma.verbs import e

_FIRST = 2  # numbers of requests that bind


class Grants:
    """The windows of one link."""

    def __init__(self) -> None:
        self._windows: list[Any] = []
        self._numbers = itertools.count(_FIRST)
        self._binding: dict[int, asyncio.Future[bool]] = {}

    async def to(self, region: RdmaRegion, pairs: Sequence[Pair]) -> tuple[int, ...]:
        """Let the peers of `pairs` write a region; return one rkey per rail. ConnectionError if they end."""
        each = zip(pairs, region.registrations, strict=False)
        return tuple([await self._key(pair, mr, region) for pair, mr in each])

    async def _key(self, pair: Pair, registration: Any, region: RdmaRegion) -> int:
        if not pair.rail.has_windows:
            return int(registration.rkey)
        window = verbs.mr.MW(pair.rail.pd, e.IBV_MW_TYPE_2)
        self._windows.append(window)
        number = next(self._numbers)
        bound = self._binding[number] = asyncio.get_running_loop().create_future()
        rkey = pair.bind(number, window, registration, region.address, region.nbytes)
        if not await bound:
            raise ConnectionError("the link ended")
        return rkey

    def bound(self, number: int) -> None:
        """The request `number` has completed."""
        self._binding.pop(number).set_result(True)

    def close(self) -> None:
        """End all access. Idempotent."""
        for bound in self._binding.values():
            if not bound.done():
                bound.set_result(False)
        self._binding.clear()
        windows, self._windows = self._windows, []
        for window in windows:
            window.close()
