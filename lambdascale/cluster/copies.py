"""One copy of a model on a node: which blocks are verified here, and sending them on (`sends`).

A block that fails its checksum is reported, and sent again by whom the controller asks.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from lambdascale.clock import now
from lambdascale.cluster.links import Links
from lambdascale.cluster.sends import Sends
from lambdascale.cluster.tags import Kind, tag
from lambdascale.control.messages import Arrival, Held, Target
from lambdascale.errors import CorruptBlockError
from lambdascale.model.image import ImageSource
from lambdascale.multicast.schedule import Transfer
from lambdascale.storage.tiers import Tier
from lambdascale.transport.base import Lane, Region

MAX_ATTEMPTS = 4  # of one block; more corruption than that is not chance
NETWORK = "network"


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
        self._sends: list[Sends] = []  # that go on when a block is here
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
        for sends in self._sends:
            sends.changed.set()
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
        self._sends.append(sends)
        try:
            await sends.run(self._is_here, partial(self._deliver, sends.targets))
        finally:
            self._sends.remove(sends)

    def _is_here(self, block: int) -> bool:
        return self._verified[block].is_set()

    async def _deliver(self, targets: Mapping[int, Target], transfer: Transfer) -> bool:
        return await self.send(transfer, targets[transfer.dst])

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
