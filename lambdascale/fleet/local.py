"""The local fleet: one subprocess per agent on this machine, forked from a warm nursery process.

Nothing outlives the driver: the nursery ends when its input closes, agents end with the nursery.
"""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence

import msgspec

from lambdascale.clock import deadline
from lambdascale.errors import ConfigError
from lambdascale.fleet.base import AgentSpec

END_S = 10.0


class LocalFleet:
    """Agents as subprocesses running `entry` (module:function of one encoded `Assignment`)."""

    def __init__(self, secret: bytes, entry: str, preload: Sequence[str]) -> None:
        self._secret = secret
        self._entry = entry
        self._preload = preload
        self._nursery: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._pids: dict[int, int] = {}
        self._ended: asyncio.Queue[int] = asyncio.Queue()

    async def start(self, agents: tuple[AgentSpec, ...]) -> None:
        module = "lambdascale.fleet.zygote"
        self._nursery = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *self._preload,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # an interrupt at the terminal is the driver's to handle
        )
        nodes = {agent.node for agent in agents}
        self._listener = asyncio.ensure_future(self._listen(self._nursery, nodes))
        for agent in agents:
            argument = assignment(agent, self._secret)
            request = {"node": agent.node, "entry": self._entry, "argument": argument}
            _stdin(self._nursery).write(json.dumps(request).encode() + b"\n")

    async def _listen(self, nursery: asyncio.subprocess.Process, alive: set[int]) -> None:
        """Follow births and deaths; when the nursery itself ends, so have all its children."""
        if nursery.stdout is None:
            raise ConfigError("the nursery has no output pipe")
        async for line in nursery.stdout:
            message = json.loads(line)
            if "started" in message:
                self._pids[message["started"]] = message["pid"]
            else:
                self._pids.pop(message["ended"], None)
                alive.discard(message["ended"])
                self._ended.put_nowait(message["ended"])
        for node in sorted(alive):
            self._ended.put_nowait(node)

    async def died(self) -> int:
        return await self._ended.get()

    async def kill(self, node: int) -> None:
        if node in self._pids:
            os.kill(self._pids[node], signal.SIGKILL)

    async def close(self) -> None:
        if self._nursery is None:
            return
        nursery, self._nursery = self._nursery, None
        _stdin(nursery).close()
        try:
            async with deadline(END_S, "the end of the nursery"):
                await nursery.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                nursery.kill()
            await nursery.wait()
            if self._listener is not None:
                await self._listener


def _stdin(nursery: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    if nursery.stdin is None:
        raise ConfigError("the nursery has no input pipe")
    return nursery.stdin


def assignment(agent: AgentSpec, secret: bytes) -> str:
    """Encode what an agent process is told at birth (never on a command line, where others look)."""
    return base64.b64encode(msgspec.msgpack.encode((agent, secret))).decode()


def parse_assignment(argument: str) -> tuple[AgentSpec, bytes]:
    """Decode what `assignment` encoded."""
    return msgspec.msgpack.decode(base64.b64decode(argument), type=tuple[AgentSpec, bytes])
