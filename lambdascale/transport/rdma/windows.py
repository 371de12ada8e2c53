"""What one peer may write: a memory window per grant and rail, bound to this link's queue pairs.

A window's key works on its own queue pair only and dies with the window, so access ends with the grant, or
the link. Where a device has no windows, the region's own key is told, which works for every peer that is
connected.
"""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from lambdascale.transport.grants import Span
from lambdascale.transport.rdma import verbs
from lambdascale.transport.rdma.memory import RdmaRegion
from lambdascale.transport.rdma.pair import Pair
from lambdascale.transport.rdma.verbs import e

_FIRST = 2  # numbers of requests that bind


class Windows:
    """The windows of one link."""

    def __init__(self) -> None:
        self._windows: dict[int, list[Any]] = {}  # by the key of the grant
        self._numbers = itertools.count(_FIRST)
        self._binding: dict[int, asyncio.Future[bool]] = {}

    async def to(
        self, key: int, span: Span, region: RdmaRegion, pairs: Sequence[Pair]
    ) -> tuple[int, ...]:
        """Let the peers of `pairs` write a range until `key` ends; return one rkey per rail.

        Raises ConnectionError if the pairs end.
        """
        if not span[1]:
            return (0,) * len(pairs)  # nothing may be written
        windows = self._windows.setdefault(key, [])
        each = zip(pairs, region.registrations, strict=False)
        return tuple([await self._rkey(pair, mr, region, span, windows) for pair, mr in each])

    async def _rkey(
        self, pair: Pair, registration: Any, region: RdmaRegion, span: Span, windows: list[Any]
    ) -> int:
        if not pair.rail.has_windows:
            return int(registration.rkey)
        window = verbs.mr.MW(pair.rail.pd, e.IBV_MW_TYPE_2)
        windows.append(window)
        number = next(self._numbers)
        bound = self._binding[number] = asyncio.get_running_loop().create_future()
        rkey = pair.bind(number, window, registration, region.address + span[0], span[1])
        if not await bound:
            raise ConnectionError("the link ended")
        return rkey

    def bound(self, number: int) -> None:
        """The request `number` has completed."""
        self._binding.pop(number).set_result(True)

    def end(self, key: int) -> None:
        """End the access under a key, if there is any."""
        for window in self._windows.pop(key, ()):
            window.close()

    def close(self) -> None:
        """End all access. Idempotent."""
        for bound in self._binding.values():
            if not bound.done():
                bound.set_result(False)
        self._binding.clear()
        for key in [*self._windows]:
            self.end(key)
