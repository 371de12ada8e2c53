"""The copies of models that one node holds, by tier, and how they are filled from its own tiers."""

import asyncio
import hashlib
from collections.abc import Collection, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lambdascale.clock import now
from lambdascale.cluster.copies import Course, ModelCopy, Sends, Ticks
from lambdascale.cluster.links import Links
from lambdascale.cluster.reporter import Reporter
from lambdascale.cluster.tags import GPU
from lambdascale.control import messages as m
from lambdascale.errors import ConfigError, CorruptBlockError
from lambdascale.model.image import ImageSource
from lambdascale.storage.base import Storage
from lambdascale.storage.tiers import Tier
from lambdascale.transport.base import Notice, Region, Transport

LOADS = 2  # blocks of one load in flight: one is copied while another is verified


def image_name(image: ImageSource) -> str:
    """Name the file in which an image is stored by what it holds: another one is never taken for it."""
    checksums = ",".join(map(str, image.checksums))
    return f"{hashlib.sha256(checksums.encode()).hexdigest()[:16]}.image"


class Holdings:
    """Creates, fills, sends and forgets copies as the controller says."""

    def __init__(
        self,
        node: int,
        arenas: Mapping[Tier, Region],
        images: Mapping[str, ImageSource],
        links: Links,
        transport: Transport,
        storage: Storage,
        ssd: Path,
        reporter: Reporter,
    ) -> None:
        self._node = node
        self._ssd = ssd
        self._stored: dict[str, Path] = {}  # images that came to the SSD later
        self._arenas = arenas
        self._images = images
        self._links = links
        self._transport = transport
        self._storage = storage
        self._reporter = reporter
        self._keys: dict[str, int] = {}  # of copies on the GPU that are not complete, by model
        self._copies: dict[tuple[Tier, str], ModelCopy] = {}
        self._any_lost = False
        self._loads: dict[tuple[Tier, str], list[Course]] = {}
        self._sends: dict[int, Sends] = {}  # by scale-out; those that are over until a copy leaves
        self._paging = asyncio.Lock()  # pages are made present or given back, one thing at a time

    def hold(self, message: m.Hold) -> None:
        """Expect a copy."""
        image = self._images[message.model]
        arena = self._arenas[message.tier]
        parts = range(message.first, message.stop)
        copy = ModelCopy(arena, message.base, image, parts, self._links)
        self._copies[message.tier, message.model] = copy
        if message.tier is Tier.GPU:
            self._grant(copy, message.model, message.key)

    def _grant(self, copy: ModelCopy, model: str, key: int) -> None:
        low, high = copy.range
        self._keys[model] = key
        self._transport.grant(key, GPU, [(low, high - low)])

    async def rekey(self, message: m.Rekey) -> None:
        """Let peers write what is missing of a copy under another key than before, if under any."""
        copy, old = self.copy(Tier.GPU, message.model), self._keys.pop(message.model, None)
        if not copy.complete:
            self._grant(copy, message.model, message.key)
        await self._revoke(old)

    async def _revoke(self, key: int | None) -> None:
        """Let nobody write the copy on the GPU any more that had this key."""
        if key is not None:
            await self._transport.revoke(key)

    async def _shut_if_complete(self, tier: Tier, model: str, copy: ModelCopy) -> None:
        """Who serves a model, or may soon, lets nobody change it."""
        if tier is Tier.GPU and copy.complete and self._copies.get((tier, model)) is copy:
            await self._revoke(self._keys.pop(model, None))

    def copy(self, tier: Tier, model: str) -> ModelCopy:
        """Return a copy; ConfigError if there is none."""
        if (tier, model) not in self._copies:
            raise ConfigError(f"node {self._node} holds no copy of {model} in tier {tier.name}")
        return self._copies[tier, model]

    def drop(self, message: m.Drop) -> Coroutine[Any, Any, None] | None:
        """Forget a copy; return the work of ending its grant, or of giving back pages that nobody needs."""
        del self._copies[message.tier, message.model]
        self._sends = {n: s for n, s in self._sends.items() if not s.course.over.is_set()}
        if message.tier is Tier.GPU:
            return self._revoke(self._keys.pop(message.model, None))
        if not message.release:
            return None
        arena = self._arenas[message.tier]
        return self._give_back(arena, message.offset, message.nbytes)

    async def _give_back(self, arena: Region, offset: int, nbytes: int) -> None:
        async with self._paging:
            if not self._is_held(arena, offset, nbytes):
                await arena.release(offset, nbytes)

    def _is_held(self, arena: Region, offset: int, nbytes: int) -> bool:
        """Is a byte of the range part of a copy by now?"""
        ranges = (copy.range for copy in self._copies.values() if copy.region is arena)
        return any(low < offset + nbytes and offset < high for low, high in ranges)

    def load(self, message: m.Load) -> Coroutine[Any, Any, None]:
        """Return the work of filling a copy from another tier of this node, block by block in order."""
        course = Course()
        self._loads.setdefault((message.target, message.model), []).append(course)
        return self._fill(message, course)

    async def _fill(self, message: m.Load, course: Course) -> None:
        await course.run(partial(self._load_all, message))
        self._loads[message.target, message.model].remove(course)

    def rest(self) -> None:
        """Begin no more sends and loads; copies stay as they are when what has begun is over."""
        self.stop(list(self._sends))
        for courses in self._loads.values():
            for course in courses:
                course.stop()

    async def begin(self) -> tuple[m.Held, ...]:
        """Let nobody write; return what is here for a controller: verified blocks, images on the SSD."""
        for model in list(self._keys):
            await self._revoke(self._keys.pop(model))
        self._sends.clear()
        found = [copy.held(tier, model) for (tier, model), copy in self._copies.items()]
        for model, image in self._images.items():
            path = self._ssd / image_name(image)
            if self._storage.has(path):
                self._stored[model] = path
                parts, blocks = image.layout.num_parts, tuple(range(image.blocks.num_blocks))
                found.append(m.Held(model, Tier.SSD, 0, 0, parts, blocks))
        return tuple(found)

    def forsake(self, model: str) -> list[Course]:
        """Load no more blocks into the copy on the GPU; return the loads, of which some may be in flight."""
        loads = self._loads.get((Tier.GPU, model), ())
        for course in loads:
            course.stop()
        return list(loads)

    async def _load_all(self, message: m.Load, group: asyncio.TaskGroup) -> None:
        if message.target is Tier.SSD:
            await self._store(message)
            return
        if message.target is Tier.HOST:
            await self._touch(message)
        places = asyncio.Semaphore(LOADS)
        for block in message.blocks:
            await places.acquire()
            loading = group.create_task(self._load(message, block))
            loading.add_done_callback(lambda _: places.release())

    async def _store(self, message: m.Load) -> None:
        """Write a complete copy to this node's SSD, as a file of its own."""
        source, image = self.copy(message.source, message.model), self._images[message.model]
        path = self._ssd / image_name(image)
        for block in message.blocks:
            await source.present(block)
        await self._storage.store(source.region, source.base, image.layout.nbytes, path)
        self._stored[message.model] = path
        for block in message.blocks:
            arrival = m.Arrival(block, self._node, message.source.name.lower(), now(), now())
            self._reporter.add(message.model, Tier.SSD, arrival)

    async def _touch(self, message: m.Load) -> None:
        """Make the pages present that the blocks will fill."""
        copy = self.copy(message.target, message.model)
        spans = [copy.span(block) for block in message.blocks]
        low, high = min(start for start, _ in spans), max(start + n for start, n in spans)
        async with self._paging:
            await copy.region.touch(low, high - low)

    async def _load(self, message: m.Load, block: int) -> None:
        target = self.copy(message.target, message.model)
        offset, nbytes = target.span(block)
        if message.source is Tier.SSD:
            path = self._stored.get(message.model) or Path(self._images[message.model].path)
            start = offset - target.base
            await self._storage.load(path, start, target.region, offset, nbytes)
        else:
            source = self.copy(message.source, message.model)
            await source.present(block)
            start = source.span(block)[0]
            await self._storage.copy(source.region, start, target.region, offset, nbytes)
        arrival = await target.verify(block, self._node, message.source.name.lower())
        if arrival is None:
            raise CorruptBlockError(
                f"block {block} of {message.model} from {message.source.name} of node {self._node} does "
                "not match its checksum; remove the cached model and fetch it again"
            )
        self._reporter.add(message.model, message.target, arrival)
        await self._shut_if_complete(message.target, message.model, target)

    def send_all(self, message: m.Multicast) -> Coroutine[Any, Any, None]:
        """Return the work of this node's part of a multicast."""
        ticks = Ticks(message.barrier)
        sends = Sends(message.sends, message.targets, message.window, ticks, message.tick_s)
        self._sends[message.scale_out] = sends
        return self.copy(message.tier, message.model).send_all(sends)

    def stop(self, scale_outs: Collection[int]) -> dict[int, Sends]:
        """Begin no more sends of these; return what has been sent, of which the last may be in flight."""
        self._any_lost = True
        stopped = {number: self._sends[number] for number in scale_outs if number in self._sends}
        for sends in stopped.values():
            sends.course.stop()
        return stopped

    async def open_tick(self, message: m.OpenTick) -> None:
        """Let the sends of a tick start, if any are left."""
        await asyncio.sleep(message.message_s)
        if message.scale_out in self._sends:
            await self._sends[message.scale_out].ticks.open(message.tick)

    async def resend(self, message: m.Resend) -> None:
        """Send a block again that arrived corrupted."""
        await self.copy(message.tier, message.model).send(message.transfer, message.target)

    async def arrived(self, notice: Notice, block: int) -> None:
        """Verify a block that a peer wrote, and report it."""
        model = self._model_at(notice.offset, block)
        if model is None:
            return
        copy = self.copy(Tier.GPU, model)

        def corrupt(block: int, src: int) -> None:
            self._reporter.send(m.CorruptBlock(self._node, model, block, src))

        arrival = await copy.arrived(block, notice.peer, corrupt)
        if arrival is not None:
            self._reporter.add(model, Tier.GPU, arrival)
            await self._shut_if_complete(Tier.GPU, model, copy)

    def _model_at(self, offset: int, block: int) -> str | None:
        """The model whose copy expects the block there; None if one that did came to nothing."""
        for (tier, model), copy in self._copies.items():
            if tier is Tier.GPU and copy.is_block(block, offset):
                return model
        if self._any_lost:
            return None
        raise ConfigError(f"node {self._node} expects no block {block} at byte {offset}")
