"""Our multicast as a contestant: the executor of the agents (`cluster.copies`) over the tcp transport.

Each block is verified before it counts or is sent on, as in production. What is left out are engine and
controller, which take no part in a multicast.
"""

import asyncio
from typing import Any

import xxhash

from lambdascale.cluster.copies import ModelCopy
from lambdascale.cluster.links import Links
from lambdascale.cluster.sends import Sends, Ticks
from lambdascale.cluster.tags import GPU, Kind, tag, untag
from lambdascale.control.messages import Address, Target
from lambdascale.errors import CorruptBlockError, PeerGoneError
from lambdascale.experiments.peers.member import (
    SOURCE,
    Exchange,
    Task,
    digest_of,
    new_image,
    serve,
    stamp,
)
from lambdascale.model.image import ImageSource
from lambdascale.model.layout import ImageLayout
from lambdascale.multicast.plan import plan
from lambdascale.multicast.schedule import Schedule
from lambdascale.multicast.weighted import NAME as WEIGHTED
from lambdascale.multicast.weighted import weighted
from lambdascale.transport.base import Lane, Notice, Region, Transport
from lambdascale.transport.registry import open_transport

SECRET = b"one comparison, one machine"


def schedule_of(task: Task) -> Schedule:
    """Plan as the task says; every member comes to the same."""
    if task.algorithm == WEIGHTED:
        return weighted(task.rates, 1, task.num_blocks)
    return plan(task.algorithm, task.num_nodes, 1, task.num_blocks)


class Ours:
    """One agent's memory, links and part of the schedule, on an event loop of its own."""

    def __init__(self, task: Task, exchange: Exchange) -> None:
        self._task = task
        self._exchange = exchange
        self._schedule = schedule_of(task)
        self._sends = self._schedule.sends_of(task.node)
        self._num_receives = len(self._schedule.receives_of(task.node))
        self._runner = asyncio.Runner()
        self._run = self._runner.run
        self._transport, self._region = self._run(self._open())
        self._links = Links(self._transport)
        self._run(self._connect())
        if task.node == SOURCE:
            self._region.view[:] = new_image(task.nbytes)

    async def _open(self) -> tuple[Transport, Region]:
        task = self._task
        transport = await open_transport("tcp", task.node, SECRET, host=task.address)
        region = await transport.register(GPU, task.nbytes)
        transport.grant(GPU, GPU, [(0, task.nbytes)])
        return transport, region

    async def _connect(self) -> None:
        addresses = await self._share(self._transport.address)
        self._links.learn({node: Address(at, GPU, GPU) for node, at in enumerate(addresses)})
        for peer in sorted({t.dst for t in self._sends}):
            await self._links.warm(peer, Lane.BULK, self._region, tag(Kind.WARM, 0))
        for _ in {t.src for t in self._schedule.receives_of(self._task.node)}:
            await self._receive()

    async def _share(self, mine: object) -> list[Any]:
        return await asyncio.to_thread(self._exchange, mine)

    async def _receive(self) -> Notice:
        event = await self._transport.receive()
        if not isinstance(event, Notice):
            raise PeerGoneError(event.peer)
        return event

    def prepare(self, round_number: int) -> None:
        if self._task.node == SOURCE:
            stamp(self._region.view, round_number)
        self._run(self._new_copy())

    async def _new_copy(self) -> None:
        """Expect a copy whose checksums the source states, as a manifest would."""
        nbytes, num_blocks = self._task.nbytes, self._task.num_blocks
        layout = ImageLayout("image", "float32", (0, 0, nbytes, nbytes), (), tied=True)
        image = ImageSource("", "", layout, (0,) * num_blocks)
        spans = [image.blocks.span(block) for block in range(num_blocks)]
        mine = [xxhash.xxh3_64_intdigest(self._region.view[at : at + n]) for at, n in spans]
        stated = (await self._share(mine))[SOURCE]
        image = ImageSource("", "", layout, tuple(stated))
        self._copy = ModelCopy(self._region, 0, image, range(layout.num_parts), self._links)
        if self._task.node == SOURCE:
            for block in range(num_blocks):
                await self._copy.verify(block, SOURCE, "gpu")

    def run(self) -> None:
        self._run(self._multicast())

    async def _multicast(self) -> None:
        targets = {transfer.dst: Target(0, GPU) for transfer in self._sends}
        async with asyncio.TaskGroup() as group:
            in_order, ticks = self._schedule.in_order, Ticks(barrier=False)
            sends = Sends(self._sends, targets, self._task.window, ticks, in_order=in_order)
            group.create_task(self._copy.send_all(sends))
            for _ in range(self._num_receives):
                notice = await self._receive()
                group.create_task(self._arrived(notice))

    async def _arrived(self, notice: Notice) -> None:
        _, block = untag(notice.tag)
        await self._copy.arrived(block, notice.peer, _corrupt)

    def digest(self) -> str:
        return digest_of(self._region.view)

    def close(self) -> None:
        self._run(self._transport.close())
        self._runner.close()


def _corrupt(block: int, src: int) -> None:
    raise CorruptBlockError(f"block {block} from node {src} arrived corrupt; run the bench again")


if __name__ == "__main__":
    serve(Ours)
