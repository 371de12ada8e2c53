"""A byte that changes on its way or on the disk: detected, reported, and never served."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from leftovers import own_children, within
from tiny import TinyModel

from lambdascale.cluster.copies import MAX_ATTEMPTS, NETWORK, ModelCopy, Sends, Ticks
from lambdascale.cluster.links import Links
from lambdascale.cluster.tags import GPU, Kind, untag
from lambdascale.config import ScaleSpec
from lambdascale.control.messages import Address, Arrival, Target
from lambdascale.errors import CorruptBlockError, LambdaScaleError
from lambdascale.experiments.inputs import load_inputs
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.blocks import BlockMap
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import checksum
from lambdascale.model.image import ImageSource
from lambdascale.model.layout import ALIGNMENT
from lambdascale.multicast.schedule import Transfer
from lambdascale.sim.models import symbolic_model
from lambdascale.transport.base import Lane, Link, Notice, PeerLost, Region, Transport
from lambdascale.transport.registry import open_transport

pytestmark = pytest.mark.alone

SECRET = b"the secret of the corruption test"
LAYOUT = symbolic_model(num_layers=8, hidden=32).layout
NUM_BLOCKS, DAMAGED = 6, 4
SOURCE, RECEIVER = 0, 1
BASES = {SOURCE: 0, RECEIVER: 3 * ALIGNMENT}  # where a node's copy begins in its arena
TARGETS = {node: Target(base, GPU) for node, base in BASES.items()}


class Damaging:
    """A transport that changes a byte of block DAMAGED after each of its first `times` arrivals.

    The bytes have come, nobody has looked at them yet.
    """

    def __init__(self, inner: Transport, times: int) -> None:
        self._inner = inner
        self._times = times
        self._arena: Region | None = None

    @property
    def node(self) -> int:
        return self._inner.node

    @property
    def address(self) -> str:
        return self._inner.address

    async def register(self, key: int, nbytes: int, touched: bool = True) -> Region:
        region = await self._inner.register(key, nbytes, touched)
        if key == GPU:
            self._arena = region
        return region

    def grant(self, key: int, region: int, spans: Sequence[tuple[int, int]]) -> None:
        self._inner.grant(key, region, spans)

    async def revoke(self, key: int) -> None:
        await self._inner.revoke(key)

    async def fence(self, peer: int) -> None:
        await self._inner.fence(peer)

    async def connect(self, peer: int, address: str, lane: Lane) -> Link:
        return await self._inner.connect(peer, address, lane)

    async def receive(self) -> Notice | PeerLost:
        event = await self._inner.receive()
        if isinstance(event, Notice) and untag(event.tag) == (Kind.BLOCK, DAMAGED) and self._times:
            assert self._arena is not None
            self._times -= 1
            self._arena.view[event.offset + event.nbytes // 2] ^= 1
        return event

    async def close(self) -> None:
        await self._inner.close()


class Node:
    """One end of a multicast of LAYOUT without an agent around it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.links = Links(transport)
        self.corrupt: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self.arrivals: list[Arrival] = []

    @property
    def base(self) -> int:
        return BASES[self.transport.node]

    async def prepare(self, image: ImageSource) -> None:
        self.arena = await self.transport.register(GPU, self.base + LAYOUT.nbytes)
        self.transport.grant(GPU, GPU, [(self.base, LAYOUT.nbytes)])
        parts = range(LAYOUT.num_parts)
        self.copy = ModelCopy(self.arena, self.base, image, parts, self.links)

    def content(self) -> memoryview:
        return self.arena.view[self.base : self.base + LAYOUT.nbytes]

    async def watch(self) -> None:
        """Do as an agent does with what peers write."""
        while True:
            event = await self.transport.receive()
            assert isinstance(event, Notice)
            kind, block = untag(event.tag)
            assert kind is Kind.BLOCK
            assert self.copy.is_block(block, event.offset)
            if arrival := await self.copy.arrived(block, event.peer, self._reported):
                self.arrivals.append(arrival)

    def _reported(self, block: int, src: int) -> None:
        self.corrupt.put_nowait((block, src))


class Control:
    """Lets who sent a corrupted block send it again, as the controller does; keeps what was reported."""

    def __init__(self, source: Node, receiver: Node) -> None:
        self.source = source
        self.receiver = receiver
        self.reports: list[tuple[int, int]] = []

    async def answer(self) -> None:
        while True:
            block, src = await self.receiver.corrupt.get()
            self.reports.append((block, src))
            assert src == SOURCE
            await self.source.copy.send(Transfer(0, src, RECEIVER, block), TARGETS[RECEIVER])


def made_up() -> bytes:
    return np.random.default_rng(5).bytes(LAYOUT.nbytes)


async def multicast(name: str, times: int, until: Callable[[Node], bool]) -> Control:
    """Send all blocks from one node to the other until `until` holds of the receiver."""
    blocks, content = BlockMap.of(LAYOUT, NUM_BLOCKS), made_up()
    spans = [blocks.span(block) for block in range(NUM_BLOCKS)]
    checksums = tuple(checksum(content[at : at + nbytes]) for at, nbytes in spans)
    source = Node(await open_transport(name, SOURCE, SECRET))
    receiver = Node(Damaging(await open_transport(name, RECEIVER, SECRET), times))
    control = Control(source, receiver)
    try:
        for node in (source, receiver):
            await node.prepare(ImageSource("", "{}", LAYOUT, checksums))
            ends = {n.transport.node: n.transport.address for n in (source, receiver)}
            node.links.learn({at: Address(place, 0, 0) for at, place in ends.items()})
        source.content()[:] = content
        for block in range(NUM_BLOCKS):
            assert await source.copy.verify(block, SOURCE, "ssd") is not None
        await asyncio.wait_for(_run(control, until), timeout=20)
        assert receiver.content() == content
    finally:
        for node in (source, receiver):
            await node.transport.close()
    return control


async def _run(control: Control, until: Callable[[Node], bool]) -> None:
    transfers = [Transfer(1 + block, SOURCE, RECEIVER, block) for block in range(NUM_BLOCKS)]
    sends = Sends(transfers, TARGETS, window=2, ticks=Ticks(barrier=False))
    work = (control.source.watch(), control.receiver.watch(), control.answer())
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        await control.source.copy.send_all(sends)
        while not until(control.receiver):
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.001)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def complete(receiver: Node) -> bool:
    return len(receiver.arrivals) == NUM_BLOCKS


@pytest.mark.parametrize("name", ["shm", "tcp"])
@pytest.mark.parametrize("times", [0, 1, MAX_ATTEMPTS - 1])
def test_a_block_damaged_on_its_way_is_reported_and_sent_again(name: str, times: int):
    control = asyncio.run(multicast(name, times, complete))
    assert control.reports == [(DAMAGED, SOURCE)] * times
    arrivals = control.receiver.arrivals
    assert sorted(a.block for a in arrivals) == list(range(NUM_BLOCKS)), "each once"
    assert {(a.src, a.origin) for a in arrivals} == {(SOURCE, NETWORK)}


@pytest.mark.parametrize("name", ["shm", "tcp"])
def test_a_block_that_is_damaged_every_time_is_given_up_with_a_named_error(name: str):
    with pytest.raises(
        CorruptBlockError, match=f"block {DAMAGED} from node 0 failed its checksum 4"
    ):
        asyncio.run(multicast(name, MAX_ATTEMPTS, complete))


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_source_whose_image_has_changed_on_the_disk_refuses_to_serve_it(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
):
    monkeypatch.setenv("LAMBDASCALE_CACHE", str(tmp_path))
    spec = RunSpec(
        model=str(tiny_model("llama")),
        scale=ScaleSpec(num_sources=1, num_nodes=2, num_blocks=8),
        prompts=("one",),
        max_tokens=2,
        transport=transport,
    )
    load_inputs(spec)  # keeps the checksums of the whole image
    flip(load_packed(spec.model, spec.dtype).image, block=5)
    reason = (
        rf"^node 0: block 5 of {re.escape(spec.model)} from SSD of node 0 does not match its checksum; "
        r"remove the cached model and fetch it again \(CorruptBlockError\)$"
    )
    with pytest.raises(LambdaScaleError, match=reason):
        run(spec)
    assert within(lambda: not own_children())
    flip(load_packed(spec.model, spec.dtype).image, block=5)
    assert len(run(replace(spec, label="mended")).outputs()[0]) == 2


def flip(image: Path, block: int) -> None:
    """Change one bit in the middle of one of eight blocks of a file, in place."""
    with image.open("r+b") as file:
        file.seek(image.stat().st_size * (2 * block + 1) // 16)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
