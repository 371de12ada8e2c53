"""The agents as the controller sees them: who is here, what they say, that one has gone or come back.

An agent is *here* once its controller has been told what it holds; before that it is *coming*.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from lambdascale.clock import deadline
from lambdascale.control import messages as m
from lambdascale.control.base import Channel, Listener
from lambdascale.errors import LambdaScaleError, PeerGoneError
from lambdascale.fleet.base import Fleet

JOIN_S = 120.0  # importing torch in many processes on few cores is slow
LEAVE_S = 20.0
K = TypeVar("K", bound=m.Base)


@dataclass(frozen=True, slots=True)
class Ended:
    """The channel of `node` is closed: nothing more comes from it."""

    node: int
    error: PeerGoneError

    @property
    def why(self) -> str:
        return str(self.error)


@dataclass(frozen=True, slots=True)
class Died:
    """The agent of `node` has ended."""

    node: int


@dataclass(frozen=True, slots=True)
class Came:
    """An agent has said hello: it begins, or is back and quiet."""

    hello: m.Hello
    channel: Channel

    @property
    def node(self) -> int:
        return self.hello.node


Event = Ended | Died | Came


class Members:
    """Channels to all agents; what they say and what becomes of them come out of `next`, in one order."""

    def __init__(self, listener: Listener, fleet: Fleet, num_nodes: int) -> None:
        self._listener = listener
        self._fleet = fleet
        self._num_nodes = num_nodes
        self._channels: dict[int, Channel] = {}
        self._inbox: asyncio.Queue[tuple[int, m.Message | Exception | Died | Came]] = (
            asyncio.Queue()
        )
        self._hearings: dict[asyncio.Task[None], None] = {}
        self._current: dict[int, asyncio.Task[None] | None] = {}  # of each node
        self._watches: list[asyncio.Task[None]] = []
        self._heard: dict[int, None] = {}
        self._why_ended: dict[int, str] = {}
        self.addresses: dict[int, m.Address] = {}
        self.alive: dict[int, None] = {}  # who is here
        self._coming: dict[int, None] = {}
        self._leases: dict[int, float] = {}

    async def join(self) -> None:
        """Wait until every agent has said hello; raises PeerGoneError if one ends first."""
        self._watches = [asyncio.ensure_future(w) for w in (self._greet_all(), self._bury_all())]
        async with deadline(JOIN_S, f"the start of {self._num_nodes} agents"):
            while len(self.alive) < self._num_nodes:
                event = await self.next()
                if isinstance(event, Came):
                    self.admit(event)
                    self.enter(event.node)
                elif isinstance(event, Died):
                    raise PeerGoneError(
                        event.node, "the agent ended while starting; see its output"
                    )
                elif isinstance(event, Ended):
                    raise event.error

    async def _greet_all(self) -> None:
        while True:
            self._attend(await self._listener.accept())

    def _attend(self, channel: Channel) -> None:
        """Hear an agent out in a task of its own."""
        hearing = asyncio.ensure_future(self._hear(channel))
        self._hearings[hearing] = None
        hearing.add_done_callback(self._hearings.pop)

    async def _hear(self, channel: Channel) -> None:
        """Learn who is there, whose earlier channel has ended, and what it says until this one ends."""
        node = channel.peer
        try:
            hello = await channel.receive()
            if not isinstance(hello, m.Hello):
                raise PeerGoneError(node, f"it began with {type(hello).__name__}")
            node = hello.node
            self._supersede(node)
            self._inbox.put_nowait((node, Came(hello, channel)))
            while True:
                message = await channel.receive()
                self._heard[node] = None
                if not isinstance(message, m.Pong):
                    self._inbox.put_nowait((node, message))
        except Exception as error:  # raised by whoever receives next
            if self._current.get(node) in (None, asyncio.current_task()):
                self._inbox.put_nowait((node, error))
        finally:
            await channel.close()

    def _supersede(self, node: int) -> None:
        """Hear no more from the earlier channel of a node, which may not know yet that it has closed."""
        me = asyncio.current_task()
        earlier, self._current[node] = self._current.get(node), me
        if earlier is not None and not earlier.done():
            earlier.cancel()
            self._inbox.put_nowait((node, PeerGoneError(node, "it has come anew")))

    async def _bury_all(self) -> None:
        while True:
            node = await self._fleet.died()
            self._inbox.put_nowait((node, Died(node)))

    def admit(self, came: Came) -> None:
        """Talk to an agent that has come."""
        node = came.node
        self._channels[node], self._coming[node] = came.channel, None
        self.addresses[node], self._leases[node] = came.hello.address, came.hello.lease_s

    def enter(self, node: int) -> None:
        """An agent is one of us from now on."""
        del self._coming[node]
        self.alive[node] = self._heard[node] = None

    def may_live(self, node: int) -> bool:
        """May an agent whose channel has closed go on working for a while?"""
        return self._leases.get(node, 0.0) > 0

    @property
    def any_coming(self) -> bool:
        """Has anybody been admitted who is not here yet?"""
        return bool(self._coming)

    def send(self, node: int, message: m.Message) -> None:
        """Send to one agent; what is for one that has ended is dropped."""
        if node in self.alive or node in self._coming:
            with contextlib.suppress(PeerGoneError):  # its end is about to be received
                self._channels[node].send(message)

    def tell(self, nodes: Iterable[int], message: m.Message) -> None:
        """Send the same to several agents."""
        for node in nodes:
            self.send(node, message)

    async def receive(self) -> m.Message:
        """Return the next message; raises the error an agent failed with, or that it is gone."""
        while True:
            event = await self.next()
            if isinstance(event, Ended):
                raise event.error
            if not isinstance(event, Event):
                return event

    async def next(self) -> m.Message | Event:
        """Return the next message or event; raises the error that an agent failed with."""
        node, message = await self._inbox.get()
        if isinstance(message, PeerGoneError):
            self.alive.pop(node, None)
            self._coming.pop(node, None)
            why = self._why_ended.pop(node, None)
            return Ended(node, message if why is None else PeerGoneError(node, why))
        if isinstance(message, Died):
            self._leases.pop(node, None)
        return message if isinstance(message, Event) else _sound(node, message)

    def heard(self) -> dict[int, None]:
        """Return from whom anything has come since this was asked last."""
        heard, self._heard = self._heard, {}
        return heard

    async def end(self, node: int, why: str) -> None:
        """Kill an agent: its end is then received, if it is not on its way."""
        if node in self.alive:
            self._why_ended.setdefault(node, why)
            await self._fleet.kill(node)

    def give_up(self, node: int, why: str) -> None:
        """Take an agent for gone although its channel is open: its end is received, and nothing else."""
        hearing = self._current.get(node)
        if hearing is not None and not hearing.done():
            hearing.cancel()
            self._why_ended.pop(node, None)
            self._inbox.put_nowait((node, PeerGoneError(node, why)))

    async def restart(self, node: int) -> None:
        """Start the agent of a node again, if it has ended."""
        await self._fleet.restart(node)

    async def gather(self, kind: type[K], what: str, seconds: float) -> list[K]:
        """Wait for one message of `kind` from every agent."""
        async with deadline(seconds, what):
            answers: list[K] = []
            while len(answers) < self._num_nodes:
                message = await self.receive()
                if isinstance(message, kind):
                    answers.append(message)
            return answers

    async def dismiss(self) -> list[m.Report]:
        """Stop all agents and return the reports of those that live to give one."""
        self.tell((*self.alive, *self._coming), m.Stop())
        reports: dict[int, m.Report] = {}
        async with deadline(LEAVE_S, "the end of all agents"):
            while self.alive.keys() - reports.keys():
                node, message = await self._inbox.get()
                if isinstance(message, m.Report):
                    reports[node] = message
                elif isinstance(message, PeerGoneError):
                    self.alive.pop(node, None)
                elif node not in reports and not isinstance(message, Event):
                    _sound(node, message)
        return [reports[node] for node in sorted(reports)]

    async def close(self) -> None:
        """Close every channel."""
        tasks = [*self._watches, *self._hearings]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _sound(node: int, message: m.Message | Exception) -> m.Message:
    """Return the message; raise what is wrong with the agent that sent it."""
    if isinstance(message, Exception):
        raise message
    if isinstance(message, m.Failed):
        raise LambdaScaleError(f"node {node}: {message.reason} ({message.kind})")
    return message
