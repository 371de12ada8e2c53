"""One copy of a model on a node: which blocks are verified here, and sending them on.

Dependency-driven (paper.md i.2): a send starts when its block is verified and a place in the window is
free; there is no barrier and the controller is not asked. In barrier mode each tick also waits for the
controller's word, as in the paper's system. A block that fails its checksum is reported, and sent again
by whom the controller asks.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lambdascale.clock import now
from lambdascale.cluster.links import Links
from lambdascale.cluster.tags import Kind, tag
from lambdascale.control.messages import Arrival, Held, Target
from lambdascale.errors import CorruptBlockError
from lambdascale.model.image import ImageSource
from lambdascale.multicast.schedule import Transfer
from lambdascale.storage.tiers import Tier
from lambdascale.transport.base import Lane, Region

MAX_ATTEMPTS = 4  # of one block; more corruption than that is not chance
NETWORK = "network"


class Ticks:
    """Barrier mode: the tick up to which sends may start; without a barrier, all of them."""

    def __init__(self, barrier: bool) -> None:
        self._barrier = barrier
        self._open = 0
        self._opened = asyncio.Condition()

    async def open(self, tick: int) -> None:
        """Let the sends of `tick` start."""
        async with self._opened:
            self._open = tick
            self._opened.notify_all()

    async def wait(self, tick: int) -> None:
        """Wait until the sends of `tick` may start."""
        if self._barrier:
            async with self._opened:
                await self._opened.wait_for(lambda: self._open >= tick)


class Course:
    """Steps that begin one after the other; `over` is set when the last of those that began has ended."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._stopped = False
        self._beginning: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Begin no more steps."""
        self._stopped = True
        if self._beginning is not None:
            self._beginning.cancel()

    async def run(self, begin: Callable[[asyncio.TaskGroup], Coroutine[Any, Any, None]]) -> None:
        """Let `begin` create steps in a group, until it ends or is stopped; wait for those steps."""
        try:
            async with asyncio.TaskGroup() as group:
                if not self._stopped:
                    self._beginning = group.create_task(begin(group))
        finally:
            self.over.set()


@dataclass(frozen=True, slots=True)
class Sends:
    """What one node sends in one scale-out: in order, to where, at most `window` writes in flight.

    `delivered`: what has reached its peer so far.
    """

    transfers: Sequence[Transfer]
    targets: Mapping[int, Target]
    window: int
    ticks: Ticks
    tick_s: float = 0.0
    delivered: list[Transfer] = field(default_factory=list)
    course: Course = field(default_factory=Course)


class ModelCopy:
    """`parts` of a model in `region`, byte 0 of its image at `base`."""

    def __init__(
        self, region: Region, base: int, image: ImageSource, parts: range, links: Links
    ) -> None:
        self.region = region
        self.base = base
        self.parts = parts
        blocks = [b for part in parts for b in image.blocks.part_blocks[part]]
        self._own = range(min(blocks), max(blocks) + 1)
        self._checksums = image.checksums
        self._blocks = image.blocks
        self._links = links
        self._verified = [asyncio.Event() for _ in image.checksums]
        self._missing = set(self._own)
        self._attempts = [0] * len(image.checksums)

    def span(self, block: int) -> tuple[int, int]:
        """Return (offset in the region, bytes) of a block."""
        offset, nbytes = self._blocks.span(block)
        return self.base + offset, nbytes

    @property
    def range(self) -> tuple[int, int]:
        """The bytes of the region that the blocks of these parts take."""
        offsets = self._blocks.offsets
        return self.base + offsets[self._own.start], self.base + offsets[self._own.stop]

    def held(self, tier: Tier, model: str) -> Held:
        """Return the blocks that are verified."""
        blocks = tuple(block for block in self._own if self._verified[block].is_set())
        return Held(model, tier, self.base, self.parts.start, self.parts.stop, blocks)

    def is_block(self, block: int, offset: int) -> bool:
        """Would `block` of this copy lie at `offset` of the region?"""
        return block in self._own and self.span(block)[0] == offset

    @property
    def complete(self) -> bool:
        """Are all blocks of these parts here and verified?"""
        return not self._missing

    async def present(self, block: int) -> None:
        """Wait until `block` is here and verified."""
        await self._verified[block].wait()

    async def verify(self, block: int, src: int, origin: str) -> Arrival | None:
        """Check a block that has just come, perhaps in place of itself; None if it is not right."""
        arrived_s = now()
        if await self.region.checksum(*self.span(block)) != self._checksums[block]:
            self._verified[block].clear()
            self._missing.add(block)
            return None
        self._verified[block].set()
        self._missing.discard(block)
        return Arrival(block, src, origin, arrived_s, now())

    async def arrived(
        self, block: int, peer: int, corrupt: Callable[[int, int], None]
    ) -> Arrival | None:
        """Verify a block that a peer wrote; tell `corrupt` if it is wrong. Raises CorruptBlockError."""
        arrival = await self.verify(block, peer, NETWORK)
        if arrival is None:
            self._attempts[block] += 1
            if self._attempts[block] >= MAX_ATTEMPTS:
                raise CorruptBlockError(
                    f"block {block} from node {peer} failed its checksum {MAX_ATTEMPTS} times"
                )
            corrupt(block, peer)
        return arrival

    async def send_all(self, sends: Sends) -> None:
        """Carry out this node's sends in order, until they are done or stopped."""
        await sends.course.run(partial(self._post_all, sends))

    async def _post_all(self, sends: Sends, group: asyncio.TaskGroup) -> None:
        places, begun_s = asyncio.Semaphore(sends.window), now()
        for transfer in sends.transfers:
            await sends.ticks.wait(transfer.tick)
            await self.present(transfer.block)
            due_s = begun_s + sends.tick_s * (transfer.tick - 1)
            if due_s > now():
                await asyncio.sleep(due_s - now())
            await places.acquire()
            sending = group.create_task(self._deliver(transfer, sends))
            sending.add_done_callback(lambda _: places.release())

    async def _deliver(self, transfer: Transfer, sends: Sends) -> None:
        if await self.send(transfer, sends.targets[transfer.dst]):
            sends.delivered.append(transfer)

    async def send(self, transfer: Transfer, target: Target) -> bool:
        """Write one block into the peer's copy.

        False if the peer is gone.
        """
        offset, nbytes = self.span(transfer.block)
        target_offset = offset - self.base + target.base
        notice, dst = tag(Kind.BLOCK, transfer.block), transfer.dst
        return await self._links.write(
            dst, Lane.BULK, self.region, offset, nbytes, target.key, target_offset, notice
        )
