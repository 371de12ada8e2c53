"""The agents as the controller sees them: who has joined, what they say, and that one has gone."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from lambdascale.clock import deadline
from lambdascale.control import messages as m
from lambdascale.control.base import Channel, Listener
from lambdascale.errors import LambdaScaleError, PeerGoneError
from lambdascale.fleet.base import Fleet

JOIN_S = 120.0  # importing torch in many processes on few cores is slow
LEAVE_S = 20.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The agent of `node` is gone: nothing more comes from it."""

    node: int
    why: str


class Members:
    """Channels to all agents; their messages come out of `receive`, in one order."""

    def __init__(self, listener: Listener, fleet: Fleet, num_nodes: int) -> None:
        self._listener = listener
        self._fleet = fleet
        self._num_nodes = num_nodes
        self._channels: dict[int, Channel] = {}
        self._inbox: asyncio.Queue[tuple[int, m.Message | Exception]] = asyncio.Queue()
        self._readers: list[asyncio.Task[None]] = []
        self.addresses: dict[int, m.Address] = {}
        self.alive: dict[int, None] = {}  # who has joined and has not ended

    async def join(self) -> None:
        """Wait until every agent has said hello; raises PeerGoneError if one ends first."""
        died = asyncio.ensure_future(self._fleet.died())
        greeting = asyncio.ensure_future(self._greet_all())
        try:
            async with deadline(JOIN_S, f"the start of {self._num_nodes} agents"):
                await asyncio.wait((died, greeting), return_when=asyncio.FIRST_COMPLETED)
            if not greeting.done():
                raise PeerGoneError(died.result(), "the agent ended while starting; see its output")
            greeting.result()
        finally:
            died.cancel()
            greeting.cancel()

    async def _greet_all(self) -> None:
        while len(self._channels) < self._num_nodes:
            channel = await self._listener.accept()
            hello = await channel.receive()
            if not isinstance(hello, m.Hello):
                raise PeerGoneError(channel.peer, f"it began with {type(hello).__name__}")
            self._channels[hello.node] = channel
            self.addresses[hello.node] = hello.address
            self.alive[hello.node] = None
            self._readers.append(asyncio.ensure_future(self._read(hello.node, channel)))

    async def _read(self, node: int, channel: Channel) -> None:
        try:
            while True:
                self._inbox.put_nowait((node, await channel.receive()))
        except Exception as error:  # raised by whoever receives next
            self._inbox.put_nowait((node, error))

    def send(self, node: int, message: m.Message) -> None:
        """Send to one agent; what is for one that has ended is dropped."""
        if node in self.alive:
            with contextlib.suppress(PeerGoneError):  # its end is about to be received
                self._channels[node].send(message)

    def tell(self, nodes: Iterable[int], message: m.Message) -> None:
        """Send the same to several agents."""
        for node in nodes:
            self.send(node, message)

    async def receive(self) -> m.Message:
        """Return the next message; raises the error an agent failed with, or that it is gone."""
        return _sound(*await self._inbox.get())

    async def next(self) -> m.Message | Ended:
        """Return the next message, or that an agent has ended; raises the error that one failed with."""
        node, message = await self._inbox.get()
        if not isinstance(message, PeerGoneError):
            return _sound(node, message)
        self.alive.pop(node, None)
        return Ended(node, str(message))

    async def end(self, node: int) -> None:
        """Kill an agent that others cannot reach: its end is then received, if it is not on its way."""
        if node in self.alive:
            await self._fleet.kill(node)

    async def gather(self, kind: type[m.Base], what: str, seconds: float) -> list[m.Message]:
        """Wait for one message of `kind` from every agent."""
        async with deadline(seconds, what):
            answers: list[m.Message] = []
            while len(answers) < self._num_nodes:
                message = await self.receive()
                if isinstance(message, kind):
                    answers.append(message)
            return answers

    async def dismiss(self) -> list[m.Report]:
        """Stop all agents and return the reports of those that live to give one."""
        self.tell(self.alive, m.Stop())
        reports: dict[int, m.Report] = {}
        async with deadline(LEAVE_S, "the end of all agents"):
            while self.alive.keys() - reports.keys():
                node, message = await self._inbox.get()
                if isinstance(message, m.Report):
                    reports[node] = message
                elif isinstance(message, PeerGoneError):
                    self.alive.pop(node, None)
                elif node not in reports:
                    _sound(node, message)
        return [reports[node] for node in sorted(reports)]

    async def close(self) -> None:
        """Close every channel."""
        for reader in self._readers:
            reader.cancel()
        for channel in self._channels.values():
            await channel.close()


def _sound(node: int, message: m.Message | Exception) -> m.Message:
    """Return the message; raise what is wrong with the agent that sent it."""
    if isinstance(message, Exception):
        raise message
    if isinstance(message, m.Failed):
        raise LambdaScaleError(f"node {node}: {message.reason} ({message.kind})")
    return message
