"""One node process of the multicast bench: the same schedule over our transports and over plain sockets.

A lane is one way to carry the schedule; each keeps its connections and memory from round to round. The
executor here does only what a measurement needs; the production one is in `cluster`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import xxhash

from lambdascale.errors import CorruptBlockError, PeerGoneError
from lambdascale.experiments.bench_sockets import SocketLane
from lambdascale.multicast.schedule import Schedule, Transfer
from lambdascale.transport.base import Lane, Link, PeerLost, Region, Transport
from lambdascale.transport.registry import open_transport

SECRET = b"one bench, one machine"
REGION = 0
WRITES_PER_LINK = 2
SOURCE = 0
SPOILT_BYTES = 64


class Task(NamedTuple):
    """What a node process is told: who it is, the schedule, and the size of the image."""

    node: int
    schedule: Schedule
    nbytes: int

    def span(self, block: int) -> tuple[int, int]:
        """Return (offset, nbytes) of a block."""
        step = self.nbytes // self.schedule.num_blocks
        return block * step, step


class TransportLane:
    """The schedule over one of our transports: writes, notices, and checksums when `verify` is set."""

    def __init__(self, task: Task, transport: Transport, region: Region) -> None:
        self._task = task
        self._transport = transport
        self._sends = task.schedule.sends_of(task.node)
        self._receives = task.schedule.receives_of(task.node)
        self.region = region
        self._links: dict[int, Link] = {}
        self.checksums: Sequence[int] = ()

    @classmethod
    async def open(cls, task: Task, name: str) -> "TransportLane":
        transport = await open_transport(name, task.node, SECRET)
        region = await transport.register(REGION, task.nbytes)
        transport.grant(REGION, REGION, [(0, task.nbytes)])
        return cls(task, transport, region)

    @property
    def address(self) -> str:
        return self._transport.address

    async def connect(self, addresses: Sequence[str]) -> None:
        """Open this node's links and warm each with a notice, so that memory is mapped."""
        for peer in sorted({t.dst for t in self._sends}):
            link = await self._transport.connect(peer, addresses[peer], Lane.BULK)
            await link.write(self.region, 0, 1, REGION, 0, 0)
            self._links[peer] = link
        for _ in {t.src for t in self._receives}:
            await self._transport.receive()

    async def multicast(self, verify: bool) -> None:
        """Take part in one multicast; return when all is here and all sends are acknowledged."""
        here = [asyncio.Event() for _ in range(self._task.schedule.num_blocks)]
        if self._task.node == SOURCE:
            for event in here:
                event.set()
        async with asyncio.TaskGroup() as group:
            for peer in self._links:
                sends = iter([t for t in self._sends if t.dst == peer])
                for _ in range(WRITES_PER_LINK):
                    group.create_task(self._send(sends, here))
            group.create_task(self._receive_all(here, verify))

    async def _send(self, sends: Iterator[Transfer], here: Sequence[asyncio.Event]) -> None:
        """Take the next of a link's sends and write it once its block is here, until none is left."""
        for transfer in sends:
            await here[transfer.block].wait()
            offset, nbytes = self._task.span(transfer.block)
            link = self._links[transfer.dst]
            await link.write(self.region, offset, nbytes, REGION, offset, transfer.block)

    async def _receive_all(self, here: Sequence[asyncio.Event], verify: bool) -> None:
        for _ in self._receives:
            notice = await self._transport.receive()
            if isinstance(notice, PeerLost):
                raise PeerGoneError(notice.peer)
            if verify:
                await self._verify(notice.tag)
            here[notice.tag].set()

    async def _verify(self, block: int) -> None:
        if await self.region.checksum(*self._task.span(block)) != self.checksums[block]:
            raise CorruptBlockError(f"block {block} arrived corrupt; run the bench again")

    async def close(self) -> None:
        await self._transport.close()


class Contest:
    """All ways to carry the schedule in this process, and the round trip of one measurement."""

    def __init__(self, task: Task, lanes: dict[str, TransportLane]) -> None:
        self._task = task
        self._lanes = lanes
        self._sockets = SocketLane(task.node, task.schedule, self._parts(lanes["tcp"]))

    @classmethod
    async def open(cls, task: Task) -> "Contest":
        return cls(task, {name: await TransportLane.open(task, name) for name in ("shm", "tcp")})

    def _parts(self, lane: TransportLane) -> list[memoryview]:
        blocks = range(self._task.schedule.num_blocks)
        spans = [self._task.span(block) for block in blocks]
        return [lane.region.view[offset : offset + nbytes] for offset, nbytes in spans]

    async def connect(self, exchange: Callable[[Any], Awaitable[Any]]) -> None:
        """Fill the source, make every connection, and learn the checksums; `exchange` asks the parent."""
        if self._task.node == SOURCE:
            image = np.random.default_rng(SOURCE).bytes(self._task.nbytes)
            for lane in self._lanes.values():
                lane.region.view[:] = image
        for name, lane in self._lanes.items():
            await lane.connect((await exchange({name: lane.address}))[name])
        ports = await exchange({"sockets": self._sockets.port})
        await asyncio.to_thread(self._sockets.connect, ports["sockets"])
        parts = self._parts(self._lanes["shm"])
        found = await exchange({"checksums": [xxhash.xxh3_64_intdigest(part) for part in parts]})
        for lane in self._lanes.values():
            lane.checksums = found["checksums"][SOURCE]

    async def run(self, contestant: str) -> tuple[float, float]:
        """Take part in one multicast; return when it began and ended here (monotonic seconds)."""
        name, _, verified = contestant.partition(" ")
        lane = self._lanes["shm" if name == "shm" else "tcp"]
        began = time.monotonic()
        if name == "sockets":
            self._sockets.multicast()
        else:
            await lane.multicast(bool(verified))
        ended = time.monotonic()
        self._require_intact(lane)
        self._spoil(lane)
        return began, ended

    def _spoil(self, lane: TransportLane) -> None:
        if self._task.node != SOURCE:
            for part in self._parts(lane):
                part[:SPOILT_BYTES] = bytes(SPOILT_BYTES)  # the next round must bring them again

    def _require_intact(self, lane: TransportLane) -> None:
        found = [xxhash.xxh3_64_intdigest(part) for part in self._parts(lane)]
        if found != list(lane.checksums):
            raise CorruptBlockError(
                f"node {self._task.node} did not receive the image; see the bench"
            )

    async def close(self) -> None:
        self._sockets.close()
        for lane in self._lanes.values():
            await lane.close()


def serve(task: Task, parent: Connection) -> None:
    """Run one node until the parent closes its end."""
    asyncio.run(_serve(task, parent))


async def _serve(task: Task, parent: Connection) -> None:
    async def exchange(mine: Any) -> Any:
        parent.send(mine)
        return await asyncio.to_thread(parent.recv)

    contest = await Contest.open(task)
    try:
        await contest.connect(exchange)
        contestant = await exchange(None)
        while True:
            contestant = await exchange(await contest.run(contestant))
    except EOFError:
        return
    finally:
        await contest.close()
