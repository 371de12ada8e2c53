"""The simulated `Transport`: one-sided writes over a `SimNetwork`, on the clock of the running loop.

Passes the same conformance test as the real ones. A write posts two timers at most, whatever its size,
so the cost of a simulated multicast is its number of writes.
"""

import asyncio
import math
from collections.abc import Collection
from dataclasses import dataclass

from lambdascale.clock import now
from lambdascale.errors import AuthError, ConfigError, PeerGoneError
from lambdascale.sim.network import Delivery, SimNetwork
from lambdascale.sim.pcie import Pcie
from lambdascale.sim.regions import SimRegion, check_range, copy, new_region
from lambdascale.transport.base import Lane, Link, Notice, PeerLost, Region


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    """A write between its posting and its completion."""

    source: Region
    offset: int
    delivery: Delivery
    factor: float  # of its time on the ports
    done: asyncio.Future[None]


class SimLink:
    """A connection from `near` to `far`."""

    def __init__(self, near: "SimTransport", far: "SimTransport", lane: Lane) -> None:
        self.peer = far.node
        self.lane = lane
        self._near = near
        self._far = far
        self._flights: dict[_Flight, None] = {}
        self._jitter = near.network.jitter(near.node, far.node, lane)
        self._arrival = 0.0  # of the last write; a later one arrives no sooner
        self._broken: str | None = None

    async def write(
        self, source: Region, offset: int, nbytes: int, target: int, target_offset: int, tag: int
    ) -> None:
        if self._broken is not None:
            raise PeerGoneError(self.peer, self._broken)
        if not 0 <= tag < 1 << 32:
            raise ConfigError(f"tag is {tag}; it must fit into 32 bits")
        check_range(source, offset, nbytes)
        check_range(self._far.region(target), target_offset, nbytes)
        delivery = Delivery(
            self._near.node, self.peer, self.lane, target, target_offset, nbytes, tag
        )
        loop = asyncio.get_running_loop()
        flight = _Flight(source, offset, delivery, self._jitter.factor(), loop.create_future())
        self._flights[flight] = None
        left = self._near.leave(self._far, source, nbytes, self.lane, flight.factor)
        self._arrival = max(self._arrival, left + self._near.network.latency_s)
        loop.call_at(self._arrival, self._arrive, flight)
        await flight.done

    async def close(self) -> None:
        self.fail("the link was closed")

    def fail(self, why: str, dead: bool = False) -> None:
        """Break the link: pending writes fail (unless the writer is dead), and the far end learns of it."""
        if self._broken is not None:
            return
        self._broken = why
        for flight in self._flights:
            if not flight.done.done() and not dead:
                flight.done.set_exception(PeerGoneError(self.peer, why))
        self._flights.clear()
        self._near.forget(self)
        self._far.lose(self, PeerLost(self._near.node, self.lane))

    def _arrive(self, flight: _Flight) -> None:
        if flight not in self._flights:
            return
        loop = asyncio.get_running_loop()
        shown = self._far.arrive(self._near, flight.delivery, flight.factor)
        if shown <= loop.time():
            self._show(flight)
        else:
            loop.call_at(shown, self._show, flight)

    def _show(self, flight: _Flight) -> None:
        if flight not in self._flights:
            return
        del self._flights[flight]
        self._far.deliver(flight.source, flight.offset, flight.delivery)
        if not flight.done.done():
            flight.done.set_result(None)


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

    async def connect(self, peer: int, address: str, lane: Lane) -> Link:
        self._check_open()
        await asyncio.sleep(2 * self.network.latency_s + self.network.connect_s)
        self._check_open()
        far = self.network.find(address)
        if far is None or far.node != peer:
            raise PeerGoneError(peer, f"nobody answers at {address}")
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
        """A link to this node is gone."""
        self._incoming.pop(link, None)
        if self._failed is None:
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
