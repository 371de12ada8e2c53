"""A byte that changes on its way or on the disk: detected, reported, and never served."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lambdascale.cluster.exchange import MAX_ATTEMPTS, BlockExchange
from leftovers import own_children, within
from tiny import TinyModel

from lambdascale.cluster.links import Links
from lambdascale.cluster.tags import IMAGE, INBOX, OUTBOX, Kind, untag
from lambdascale.config import ScaleSpec
from lambdascale.control.messages import Arrival
from lambdascale.errors import CorruptBlockError, LambdaScaleError
from lambdascale.experiments.inputs import load_inputs
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.blocks import BlockMap
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import checksum
from lambdascale.multicast.schedule import Transfer
from lambdascale.sim.models import symbolic_model
from lambdascale.transport.base import Lane, Link, Notice, PeerLost, Region, Transport
from lambdascale.transport.registry import open_transport

SECRET = b"the secret of the corruption test"
LAYOUT = symbolic_model(num_layers=8, hidden=32).layout
NUM_BLOCKS, DAMAGED = 6, 4
SOURCE, RECEIVER = 0, 1


class Damaging:
    """A transport that changes a byte of block DAMAGED after each of its first `times` arrivals.

    The bytes have come, nobody has looked at them yet.
    """

    def __init__(self, inner: Transport, times: int) -> None:
        self._inner = inner
        self._times = times
        self._image: Region | None = None

    @property
    def node(self) -> int:
        return self._inner.node

    @property
    def address(self) -> str:
        return self._inner.address

    async def register(self, key: int, nbytes: int, touched: bool = True) -> Region:
        region = await self._inner.register(key, nbytes, touched)
        if key == IMAGE:
            self._image = region
        return region

    async def connect(self, peer: int, address: str, lane: Lane) -> Link:
        return await self._inner.connect(peer, address, lane)

    async def receive(self) -> Notice | PeerLost:
        event = await self._inner.receive()
        if isinstance(event, Notice) and untag(event.tag) == (Kind.BLOCK, DAMAGED) and self._times:
            assert self._image is not None
            self._times -= 1
            self._image.view[event.offset + event.nbytes // 2] ^= 1
        return event

    async def close(self) -> None:
        await self._inner.close()


class Node:
    """One end of a multicast of LAYOUT without an agent around it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.links = Links(transport)
        self.corrupt: list[tuple[int, int]] = []
        self.arrivals: list[Arrival] = []
        self.resends: list[int] = []

    async def prepare(self, checksums: list[int]) -> None:
        self.image = await self.transport.register(IMAGE, LAYOUT.nbytes)
        await self.transport.register(INBOX, 64)
        outbox = await self.transport.register(OUTBOX, 64)
        blocks = BlockMap.of(LAYOUT, NUM_BLOCKS)
        self.exchange = BlockExchange(self.image, outbox, blocks, checksums, self.links)

    async def watch(self) -> None:
        """Do as an agent does with what peers write."""
        while True:
            event = await self.transport.receive()
            assert isinstance(event, Notice)
            kind, block = untag(event.tag)
            if kind is Kind.RESEND:
                self.resends.append(block)
                await self.exchange.send(event.peer, block)
            elif arrival := await self.exchange.arrived(event, block, self._reported):
                self.arrivals.append(arrival)

    def _reported(self, block: int, src: int) -> None:
        self.corrupt.append((block, src))


def content() -> bytes:
    return np.random.default_rng(5).bytes(LAYOUT.nbytes)


async def multicast(name: str, times: int, until: Callable[[Node], bool]) -> tuple[Node, Node]:
    """Send all blocks from one node to the other until `until` holds of the receiver."""
    blocks, image = BlockMap.of(LAYOUT, NUM_BLOCKS), content()
    spans = [blocks.span(block) for block in range(NUM_BLOCKS)]
    checksums = [checksum(image[at : at + nbytes]) for at, nbytes in spans]
    source = Node(await open_transport(name, SOURCE, SECRET))
    receiver = Node(Damaging(await open_transport(name, RECEIVER, SECRET), times))
    try:
        for node in (source, receiver):
            await node.prepare(checksums)
            node.links.learn({n.transport.node: n.transport.address for n in (source, receiver)})
        source.image.view[:] = image
        await source.exchange.verify_all()
        await asyncio.wait_for(_run(source, receiver, until), timeout=20)
        assert bytes(receiver.image.view) == image
    finally:
        for node in (source, receiver):
            await node.transport.close()
    return source, receiver


async def _run(source: Node, receiver: Node, until: Callable[[Node], bool]) -> None:
    sends = [Transfer(1 + block, SOURCE, RECEIVER, block) for block in range(NUM_BLOCKS)]
    watching = [asyncio.ensure_future(node.watch()) for node in (source, receiver)]
    try:
        await source.exchange.send_all(sends, window=2, barrier=False)
        while not until(receiver):
            for task in watching:
                if task.done():
                    task.result()
            await asyncio.sleep(0.001)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)


def complete(receiver: Node) -> bool:
    return len(receiver.arrivals) == NUM_BLOCKS


@pytest.mark.parametrize("name", ["shm", "tcp"])
@pytest.mark.parametrize("times", [0, 1, MAX_ATTEMPTS - 1])
def test_a_block_damaged_on_its_way_is_reported_and_fetched_again(name: str, times: int):
    source, receiver = asyncio.run(multicast(name, times, complete))
    assert receiver.corrupt == [(DAMAGED, SOURCE)] * times
    assert source.resends == [DAMAGED] * times
    assert sorted(a.block for a in receiver.arrivals) == list(range(NUM_BLOCKS)), "each once"
    assert {a.src for a in receiver.arrivals} == {SOURCE}


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
        r"^node 0: block 5 of the image on this source does not match its checksum; "
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
