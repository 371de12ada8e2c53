"""The simulated `Transport`: one-sided writes over a `SimNetwork`, on the clock of the running loop.

Passes the same conformance test as the real ones. A write posts two timers at most, whatever its size,
so the cost of a simulated multicast is its number of writes.
"""

import asyncio
import math
from collections.abc import Collection, Sequence

from lambdascale.clock import now
from lambdascale.errors import AuthError, ConfigError, PeerGoneError
from lambdascale.sim.link import SimLink
from lambdascale.sim.network import Delivery, SimNetwork
from lambdascale.sim.pcie import Pcie
from lambdascale.sim.regions import SimRegion, copy, new_region
from lambdascale.transport.base import Lane, Link, Notice, PeerLost, Region
from lambdascale.transport.grants import Grant, Grants, Span


class SimTransport:
    """One node on `network`, with a link of `rate` bytes/s in each direction.

    Regions of more than `sized_above` bytes hold no memory, only the names of their contents, except
    those whose keys are in `backed`; None backs all with bytes, except those in `sized`, which never
    have memory. Ends that exchange blocks must agree. With `pcie`, writes from and to regions on the GPU
    cross that link, too.
    """

    def __init__(
        self,
        network: SimNetwork,
        node: int,
        rate: float = math.inf,
        sized_above: int | None = None,
        backed: Collection[int] = (),
        sized: Collection[int] = (),
        secret: bytes = b"",
        pcie: Pcie | None = None,
    ) -> None:
        self.node = node
        self.network = network
        self.nic = network.nic(node, rate)
        self._local = network.local_port()
        self._sized_above = sized_above
        self._backed = frozenset(backed)
        self._sized = frozenset(sized)
        self._secret = secret
        self._pcie = pcie
        self._regions: dict[int, SimRegion] = {}
        self._outgoing: dict[SimLink, None] = {}
        self._incoming: dict[SimLink, None] = {}
        self._grants = Grants()
        self._expecting: dict[SimLink, None] = {}  # links on which something waits for a grant
        self.epoch = object()
        self._fenced: set[object] = set()  # epochs
        self._events: asyncio.Queue[Notice | PeerLost | None] = asyncio.Queue()
        self._failed: str | None = None
        self.address = network.attach(self)

    async def register(self, key: int, nbytes: int, touched: bool = True) -> SimRegion:
        self._check_open()
        if key in self._regions:
            raise ConfigError(f"region {key} of node {self.node} is registered already")
        if key < 0 or nbytes < 1:
            raise ConfigError(
                f"region {key} of {nbytes} bytes is impossible; give at least one byte"
            )
        sized_above = None if key in self._backed else self._sized_above
        if key in self._sized:
            sized_above = 0
        self._regions[key] = new_region(key, nbytes, sized_above)
        return self._regions[key]

    def grant(self, key: int, region: int, spans: Sequence[Span]) -> None:
        self._grants.add(key, region, spans, self.region(region).nbytes)
        expecting, self._expecting = self._expecting, {}
        for link in expecting:
            link.admit()

    async def revoke(self, key: int) -> None:
        self._grants.remove(key)

    def renew(self) -> None:
        self.epoch = object()

    async def fence(self, peer: int) -> None:
        for link in [link for link in self._incoming if link.near.node == peer]:
            self._fenced.add(link.epoch)
            link.cut()

    def granted(self, key: int) -> Grant | None:
        """Return what is granted under `key`, if it lives."""
        return self._grants.find(key)

    def may_come(self, key: int) -> bool:
        """Is it worth waiting for a grant under `key`?"""
        return self._grants.may_come(key)

    def expect(self, link: SimLink) -> None:
        """Tell a link when something more is granted."""
        self._expecting[link] = None

    async def connect(self, peer: int, address: str, lane: Lane) -> Link:
        self._check_open()
        await asyncio.sleep(2 * self.network.latency_s + self.network.connect_s)
        self._check_open()
        far = self.network.find(address)
        if far is None or far.node != peer:
            raise PeerGoneError(peer, f"nobody answers at {address}")
        if self.epoch in far._fenced:
            raise PeerGoneError(peer, "it takes nothing from here any more")
        if far._secret != self._secret:
            raise AuthError(f"node {peer} at {address} has another secret; use this cluster's")
        link = SimLink(self, far, lane)
        self._outgoing[link] = None
        far.accept(link)
        return link

    async def receive(self) -> Notice | PeerLost:
        event = await self._events.get()
        if event is None:
            self._events.put_nowait(None)  # for whoever asks again
            raise PeerGoneError(self.node, f"its transport was {self._failed}")
        return event

    async def close(self) -> None:
        self._end("closed", dead=False)

    def die(self) -> None:
        """End as a killed process does: peers notice, but nothing that waits here ever goes on."""
        self._end("killed", dead=True)

    def _end(self, why: str, dead: bool) -> None:
        if self._failed is not None:
            return
        self._failed = why
        self.network.detach(self.address)
        for link in list(self._incoming):
            link.fail(f"it was {why}")
            link.cut()  # what the dead have left on it, too
        for link in list(self._outgoing):
            link.fail(f"our own transport was {why}", dead)
        self._regions.clear()
        if not dead:
            self._events.put_nowait(None)

    def leave(
        self, peer: "SimTransport", source: Region, nbytes: int, lane: Lane, factor: float
    ) -> float:
        """Reserve the way out of bytes for `peer`, from now; return when they have left."""
        if self._beside(peer):
            return self._local.leave(nbytes, lane, factor)
        left = self.nic.leave(nbytes, lane, factor)
        return (
            left if self._pcie is None else max(left, self._pcie.leave(now(), source, nbytes, lane))
        )

    def arrive(self, peer: "SimTransport", delivery: Delivery, factor: float) -> float:
        """Reserve the way in of bytes from `peer` that are here now; return when they may be seen."""
        nbytes, lane = delivery.nbytes, delivery.lane
        if self._beside(peer):
            return self._local.arrive(nbytes, lane, factor)
        shown = self.nic.arrive(nbytes, lane, factor)
        if self._pcie is None:
            return shown
        return max(shown, self._pcie.arrive(now(), delivery.region, nbytes, lane))

    def _beside(self, peer: "SimTransport") -> bool:
        """Are both nodes of one host, whose own links they use?"""
        return self.network.host_of(self.node) == self.network.host_of(peer.node)

    def region(self, key: int) -> SimRegion:
        """Return the region registered under `key`; raises ConfigError if there is none."""
        if key not in self._regions:
            raise ConfigError(f"node {self.node} has no region {key}; register it first")
        return self._regions[key]

    def accept(self, link: SimLink) -> None:
        """A peer has connected to this node."""
        self._incoming[link] = None

    def forget(self, link: SimLink) -> None:
        """A link of this node is gone."""
        self._outgoing.pop(link, None)

    def lose(self, link: SimLink, lost: PeerLost) -> None:
        """A link to this node is gone. Idempotent."""
        known = link in self._incoming
        self._incoming.pop(link, None)
        if known and self._failed is None:
            self._events.put_nowait(lost)

    def deliver(self, source: Region, offset: int, delivery: Delivery) -> None:
        """Place the bytes of a write and queue its notice."""
        region = self._regions[delivery.region]
        copy(source, offset, delivery.nbytes, region, delivery.offset)
        if self.network.spoils(delivery):
            region.flip(delivery.offset + delivery.nbytes - 1)
        d = delivery
        self._events.put_nowait(Notice(d.src, d.tag, d.region, d.offset, d.nbytes))

    def _check_open(self) -> None:
        if self._failed is not None:
            raise PeerGoneError(self.node, f"its transport was {self._failed}")
