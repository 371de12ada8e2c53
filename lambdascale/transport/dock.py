"""What is a node's, however its bytes travel: regions, what is granted, inbox, imposed rate, some threads.

One dock may serve several bodies, as in `auto`. It runs on the event loop that made it; `find`, `granted`,
`may_come` and `arrival` are called from threads, too.
"""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Protocol

from lambdascale.errors import ConfigError, LambdaScaleError, PeerGoneError
from lambdascale.transport.base import Lane, Notice, PeerLost
from lambdascale.transport.grants import Grant, Grants, Span
from lambdascale.transport.handshake import Guest
from lambdascale.transport.memory import MemoryRegion
from lambdascale.transport.pacing import Port
from lambdascale.transport.wire import check_unsigned

POOL_THREADS = 2
Allocate = Callable[[int, int, bool, Executor], MemoryRegion]


class Follower(Protocol):
    """The receiving end of a link."""

    guest: Guest

    async def withdraw(self, key: int) -> None:
        """Return when nothing lands any more under a key that has just been removed."""
        ...

    async def close(self) -> None:
        """Return when nothing lands any more."""
        ...


class Dock:
    """The place of node `node`, whose links carry `rate` bytes/s in each direction."""

    def __init__(self, node: int, rate: float) -> None:
        check_unsigned("node", node, 64)
        self.node = node
        self.egress, self._ingress = Port(rate), Port(rate)
        self._ingress_lock = threading.Lock()
        self._regions: dict[int, MemoryRegion] = {}
        self._reserved: set[int] = set()
        self.epoch = secrets.randbits(64)
        self._grants = Grants()
        self._followers: dict[Follower, None] = {}
        self._fenced: set[int] = set()  # epochs
        self._inbox: asyncio.Queue[Notice | PeerLost | None] = asyncio.Queue()
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix=f"node-{node}")
        self._closed = False

    async def register(
        self, key: int, nbytes: int, touched: bool, allocate: Allocate
    ) -> MemoryRegion:
        """Let `allocate` make a region on a thread. ConfigError if it cannot or `key` is taken."""
        check_unsigned("region key", key, 64)
        self.require_open()
        if key in self._reserved:
            raise ConfigError(f"region {key} of node {self.node} exists; register each key once")
        self._reserved.add(key)
        loop = asyncio.get_running_loop()
        try:
            region = await loop.run_in_executor(
                self._pool, allocate, key, nbytes, touched, self._pool
            )
        except LambdaScaleError:
            self._reserved.discard(key)
            raise
        if self._closed:
            region.close()
            self.require_open()
        self._regions[key] = region
        return region

    def find(self, key: int) -> MemoryRegion | None:
        """Return the region that is registered as `key`, if there is one."""
        return self._regions.get(key)

    def grant(self, key: int, region: int, spans: Sequence[Span]) -> None:
        """See `Transport.grant`."""
        if region not in self._regions:
            raise ConfigError(
                f"node {self.node} has no region {region}; register it before granting it"
            )
        self._grants.add(key, region, spans, self._regions[region].nbytes)

    def granted(self, key: int) -> Grant | None:
        """Return what is granted under `key`, if it lives."""
        return self._grants.find(key)

    def may_come(self, key: int) -> bool:
        """Is it worth waiting for a grant under `key`?"""
        return self._grants.may_come(key)

    async def revoke(self, key: int) -> None:
        """See `Transport.revoke`."""
        if self._grants.remove(key):
            await asyncio.gather(*(end.withdraw(key) for end in [*self._followers]))

    def follow(self, end: Follower) -> None:
        """A peer has opened a link, whose receiving end is here now."""
        self._followers[end] = None

    def unfollow(self, end: Follower) -> None:
        """A link is gone. Idempotent."""
        self._followers.pop(end, None)

    def is_fenced(self, guest: Guest) -> bool:
        """Must nothing come from there any more?"""
        return guest.epoch in self._fenced

    def renew(self) -> None:
        """See `Transport.renew`."""
        self.epoch = secrets.randbits(64)

    async def fence(self, peer: int) -> None:
        """See `Transport.fence`."""
        ends = [end for end in self._followers if end.guest.peer == peer]
        self._fenced.update(end.guest.epoch for end in ends)
        await asyncio.gather(*(end.close() for end in ends))

    def arrival(self, nbytes: int, lane: Lane) -> float:
        """Reserve ingress; return the monotonic time at which bytes that are here may be seen."""
        with self._ingress_lock:
            return self._ingress.arrive(time.monotonic(), nbytes, lane)

    def deliver(self, event: Notice | PeerLost) -> None:
        """Queue an event for `receive`."""
        if not self._closed:
            self._inbox.put_nowait(event)

    async def receive(self) -> Notice | PeerLost:
        """Return the next event; PeerGoneError once this node is closed."""
        event = await self._inbox.get()
        if event is None:
            self._inbox.put_nowait(None)
            raise self._gone()
        return event

    def require_open(self) -> None:
        """Raise PeerGoneError if this node is closed."""
        if self._closed:
            raise self._gone()

    def _gone(self) -> PeerGoneError:
        return PeerGoneError(self.node, "its transport is closed")

    def shut(self) -> None:
        """Let nothing new begin. Idempotent."""
        if not self._closed:
            self._closed = True
            self._inbox.put_nowait(None)

    def clear(self) -> None:
        """Release regions and threads; no link may use them any more."""
        self._pool.shutdown()
        for region in self._regions.values():
            region.close()
        self._regions.clear()
