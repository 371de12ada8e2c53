"""One agent's part of a multicast: send what the plan says once it is here, verify what arrives.

Dependency-driven (paper.md i.2): a send starts when its block is verified and a place in the window is
free; there is no barrier and the controller is not asked. In barrier mode each tick also waits for the
controller's word, as in the paper's system. A block that fails its checksum is asked for again.
"""

import asyncio
from collections.abc import Callable, Sequence

from lambdascale.clock import now
from lambdascale.cluster.links import Links
from lambdascale.cluster.tags import IMAGE, INBOX, Kind, tag
from lambdascale.control.messages import Arrival
from lambdascale.errors import CorruptBlockError
from lambdascale.model.blocks import BlockMap
from lambdascale.multicast.schedule import Transfer
from lambdascale.transport.base import Lane, Notice, Region

MAX_ATTEMPTS = 4  # of one block; more corruption than that is not chance


class BlockExchange:
    """Which blocks are verified here, and what is to be done with them."""

    def __init__(
        self,
        image: Region,
        outbox: Region,
        blocks: BlockMap,
        checksums: Sequence[int],
        links: Links,
    ) -> None:
        self._image = image
        self.outbox = outbox
        self._blocks = blocks
        self._checksums = checksums
        self._links = links
        self._verified = [asyncio.Event() for _ in checksums]
        self._attempts = [0] * len(checksums)
        self._open_tick = 0
        self._tick_opened = asyncio.Condition()

    async def verify_all(self) -> None:
        """Check every block in place (a source, after loading); raises CorruptBlockError."""
        for block, expected in enumerate(self._checksums):
            if await self._image.checksum(*self._blocks.span(block)) != expected:
                raise CorruptBlockError(
                    f"block {block} of the image on this source does not match its checksum; "
                    "remove the cached model and fetch it again"
                )
            self._verified[block].set()

    async def arrived(
        self, notice: Notice, block: int, corrupt: Callable[[int, int], None]
    ) -> Arrival | None:
        """Verify a block that was just written; None if it was not new or not right."""
        if self._verified[block].is_set():
            return None
        arrived_s = now()
        if await self._image.checksum(*self._blocks.span(block)) != self._checksums[block]:
            corrupt(block, notice.peer)
            await self._ask_again(notice.peer, block)
            return None
        self._verified[block].set()
        return Arrival(block, notice.peer, arrived_s, now())

    async def _ask_again(self, peer: int, block: int) -> None:
        self._attempts[block] += 1
        if self._attempts[block] >= MAX_ATTEMPTS:
            raise CorruptBlockError(
                f"block {block} from node {peer} failed its checksum {MAX_ATTEMPTS} times"
            )
        link = await self._links.get(peer, Lane.EXPRESS)
        await link.write(self.outbox, 0, 0, INBOX, 0, tag(Kind.RESEND, block))

    async def open_tick(self, tick: int) -> None:
        """Let the sends of `tick` start (barrier mode)."""
        async with self._tick_opened:
            self._open_tick = tick
            self._tick_opened.notify_all()

    async def send_all(self, sends: Sequence[Transfer], window: int, barrier: bool) -> None:
        """Carry out this node's sends in order, at most `window` writes in flight."""
        places = asyncio.Semaphore(window)
        async with asyncio.TaskGroup() as group:
            for transfer in sends:
                if barrier:
                    await self._opened(transfer.tick)
                await self._verified[transfer.block].wait()
                await places.acquire()
                sending = group.create_task(self.send(transfer.dst, transfer.block))
                sending.add_done_callback(lambda _: places.release())

    async def _opened(self, tick: int) -> None:
        async with self._tick_opened:
            await self._tick_opened.wait_for(lambda: self._open_tick >= tick)

    async def send(self, peer: int, block: int) -> None:
        """Write one block into the peer's image."""
        link = await self._links.get(peer, Lane.BULK)
        offset, nbytes = self._blocks.span(block)
        await link.write(self._image, offset, nbytes, IMAGE, offset, tag(Kind.BLOCK, block))
