"""A simulated link: writes on their way, in order, and what becomes of them when an end is gone."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdascale.clock import now
from lambdascale.errors import LambdaScaleError, PeerGoneError
from lambdascale.sim.network import Delivery
from lambdascale.transport.base import Lane, PeerLost, Region
from lambdascale.transport.grants import PATIENCE_S, Grant
from lambdascale.transport.wire import check_write, outside, ungranted

if TYPE_CHECKING:
    from lambdascale.sim.transport import SimTransport


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """A write between its posting and its completion."""

    source: Region
    offset: int
    nbytes: int
    key: int
    target: int
    tag: int
    factor: float  # of its time on the ports
    left_s: float
    done: asyncio.Future[None]


class SimLink:
    """A connection from `near` to `far`."""

    def __init__(self, near: "SimTransport", far: "SimTransport", lane: Lane) -> None:
        self.peer = far.node
        self.lane = lane
        self.near = near
        self.epoch = near.epoch
        self._far = far
        self._flights: dict[Flight, None] = {}
        self._here: deque[Flight] = deque()  # arrived, but what grants them is not known yet
        self._patience: asyncio.TimerHandle | None = None
        self._jitter = near.network.jitter(near.node, far.node, lane)
        self._arrival = 0.0  # of the last write; a later one arrives no sooner
        self._broken: str | None = None

    async def write(
        self, source: Region, offset: int, nbytes: int, key: int, target_offset: int, tag: int
    ) -> None:
        if self._broken is not None:
            raise PeerGoneError(self.peer, self._broken)
        check_write(self.peer, source, offset, nbytes, key, target_offset, tag)
        loop, factor = asyncio.get_running_loop(), self._jitter.factor()
        left = self.near.leave(self._far, source, nbytes, self.lane, factor)
        flight = Flight(
            source, offset, nbytes, key, target_offset, tag, factor, left, loop.create_future()
        )
        self._flights[flight] = None
        self._arrival = max(self._arrival, left + self.near.network.latency_s)
        loop.call_at(self._arrival, self._arrive, flight)
        await flight.done

    async def close(self) -> None:
        self.fail("the link was closed")

    def fail(self, why: str, dead: bool = False) -> None:
        """Break the link: pending writes fail. Those of the dead never end, but what has left arrives."""
        if self._broken is not None:
            return
        self._broken = why
        for flight in list(self._flights):
            if dead and flight.left_s <= now():
                continue
            self._end(flight, None if dead else PeerGoneError(self.peer, why))
        self.near.forget(self)
        self._lose_if_empty()

    def cut(self) -> None:
        """Let nothing more arrive."""
        self.fail("the peer has closed it")
        self._flights.clear()
        self._lose_if_empty()

    def _lose_if_empty(self) -> None:
        """Once it is broken and nothing is under way the far end learns of it."""
        if self._broken is not None and not self._flights:
            self._here.clear()
            self._stop_waiting()
            self._far.lose(self, PeerLost(self.near.node, self.lane))

    def _end(self, flight: Flight, error: LambdaScaleError | None) -> None:
        """A write is over; who is dead does not notice."""
        del self._flights[flight]
        if flight.done.done():
            return
        if error is not None:
            flight.done.set_exception(error)
        elif self._broken is None:
            flight.done.set_result(None)

    def _arrive(self, flight: Flight) -> None:
        if flight in self._flights:
            self._here.append(flight)
            if len(self._here) == 1:
                self.admit()

    def admit(self, patient: bool = True) -> None:
        """Let in what has arrived, in order; what nothing grants yet waits, and so does what is behind it."""
        while self._here:
            key = self._here[0].key
            grant = self._far.granted(key)
            if grant is None and patient and self._far.may_come(key):
                self._wait()
                return
            self._stop_waiting()
            self._enter(self._here.popleft(), grant)
            patient = True

    def _wait(self) -> None:
        self._far.expect(self)
        if self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(PATIENCE_S, self.admit, False)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _enter(self, flight: Flight, grant: Grant | None) -> None:
        """Bring a write through the far end's port, or refuse it."""
        if grant is None or not grant.covers(flight.target, flight.nbytes):
            wrong = outside(self.peer, flight.target, flight.nbytes)
            self._refuse(flight, ungranted(self.peer) if grant is None else wrong)
            return
        loop = asyncio.get_running_loop()
        delivery = Delivery(
            self.near.node, self.peer, self.lane, grant.region, flight.target, flight.nbytes, flight.tag
        )  # fmt: skip
        shown = self._far.arrive(self.near, delivery, flight.factor)
        if shown <= loop.time():
            self._show(flight, grant, delivery)
        else:
            loop.call_at(shown, self._show, flight, grant, delivery)

    def _refuse(self, flight: Flight, error: LambdaScaleError) -> None:
        self._end(flight, None if self._broken else error)
        self._lose_if_empty()

    def _show(self, flight: Flight, grant: Grant, delivery: Delivery) -> None:
        if flight not in self._flights:
            return
        if self._far.granted(flight.key) is not grant:
            self._refuse(flight, ungranted(self.peer))
            return
        self._far.deliver(flight.source, flight.offset, delivery)
        self._end(flight, None)
        self._lose_if_empty()
