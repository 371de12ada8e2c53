"""The local fleet: one subprocess per agent on this machine, forked by a nursery.

Agents end with the nursery, and the nursery with the driver, unless it has a door: then another driver may
find both again until the lease has run out.
"""

import asyncio
import base64
import json

import msgspec

from lambdascale.clock import deadline
from lambdascale.errors import DeadlineError, LambdaScaleError
from lambdascale.fleet.base import AgentSpec
from lambdascale.fleet.nursery import END_S, Nursery
from lambdascale.transport.base import LOOPBACK


class LocalFleet:
    """Agents as subprocesses running `entry` (module:function of one encoded `Assignment`)."""

    def __init__(self, nursery: Nursery, secret: bytes, entry: str) -> None:
        self._nursery = nursery
        self._secret = secret
        self._entry = entry
        self._unread = b""
        self._agents: dict[int, AgentSpec] = {}
        self._alive: dict[int, None] = {}
        self._over = False  # nothing can be started any more
        self._ended: asyncio.Queue[int] = asyncio.Queue()
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self, agents: tuple[AgentSpec, ...]) -> None:
        asyncio.get_running_loop().add_reader(self._nursery.line, self._listen)
        while not self._ended.empty():  # who died before is to live again
            self._ended.get_nowait()
        for agent in agents:
            self._agents[agent.node] = agent
            await self.restart(agent.node)

    async def restart(self, node: int) -> None:
        """As above; one that an earlier driver has left in the nursery connects by itself."""
        if self._over:
            raise LambdaScaleError(
                "the nursery of all agents has ended; see its output, and start again"
            )
        if node not in self._alive:
            agent = self._agents[node]
            self._alive[node] = None
            self._empty.clear()
            if node in self._nursery.found:
                self._nursery.found.remove(node)
                return
            argument = assignment(agent, self._secret)
            self._nursery.ask({"node": node, "entry": self._entry, "argument": argument})

    def _listen(self) -> None:
        """Follow deaths; when the nursery itself has ended, so have all its children."""
        data = self._nursery.hear()
        *lines, self._unread = (self._unread + data).split(b"\n")
        ended = [json.loads(line)["ended"] for line in lines] if data else list(self._alive)
        for node in ended:
            del self._alive[node]
            self._ended.put_nowait(node)
        if not data:
            asyncio.get_running_loop().remove_reader(self._nursery.line)
            self._over = True
        if not self._alive:
            self._empty.set()

    async def died(self) -> int:
        return await self._ended.get()

    async def kill(self, node: int) -> None:
        self._nursery.ask({"kill": node})

    async def close(self) -> None:
        for node in self._alive:
            self._nursery.ask({"kill": node})
        try:
            async with deadline(END_S, "the end of all agents"):
                await self._empty.wait()
        except (DeadlineError, asyncio.CancelledError):
            self._nursery.kill()
            raise
        finally:
            asyncio.get_running_loop().remove_reader(self._nursery.line)


class LocalSite(Nursery):
    """This machine: a nursery, and the fleets that are born in it."""

    host = LOOPBACK

    def fleet(self, secret: bytes, entry: str) -> LocalFleet:
        """Return a fleet of its children; each ends before the next is started."""
        return LocalFleet(self, secret, entry)


def assignment(agent: AgentSpec, secret: bytes) -> str:
    """Encode what an agent process is told at birth (never on a command line, where others look)."""
    return base64.b64encode(msgspec.msgpack.encode((agent, secret))).decode()


def parse_assignment(argument: str) -> tuple[AgentSpec, bytes]:
    """Decode what `assignment` encoded."""
    return msgspec.msgpack.decode(base64.b64decode(argument), type=tuple[AgentSpec, bytes])
