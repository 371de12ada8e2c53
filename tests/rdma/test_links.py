"""What only rdma links do: rails, access that ends, loss, silence, removed devices, and nothing left."""

import asyncio
import math
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from devices import Device, Wire
from test_transport_processes import kill_while_it_writes, kill_while_we_write
from transport_conformance import (
    MIB,
    SECRET,
    SLOWNESS,
    Opener,
    a_large_write_arrives_whole,
    filled,
    link,
    notices,
    room,
    writes_arrive_in_the_order_they_were_posted,
)

from lambdascale.errors import ConfigError, PeerGoneError
from lambdascale.transport.base import Lane, Link, Notice, PeerLost, Region, Transport
from lambdascale.transport.dock import Dock
from lambdascale.transport.pages import address_of
from lambdascale.transport.rdma.body import RdmaTransport
from lambdascale.transport.rdma.gpu import PEER_MEM, reach
from lambdascale.transport.rdma.link import RdmaLink
from lambdascale.transport.registry import open_transport

SILENCE_S = 3.0


def resources(kind: str) -> int:
    """How many objects of a kind the kernel holds, over all devices and processes."""
    shown = subprocess.run(
        ["rdma", "resource", "show", kind], capture_output=True, text=True, check=True
    )
    return len([line for line in shown.stdout.splitlines() if "comm [" not in line])


def held() -> dict[str, int]:
    return {kind: resources(kind) for kind in ("qp", "cq", "mr", "pd", "ctx")}


@asynccontextmanager
async def across(wire: Wire, *more: Device) -> AsyncIterator[tuple[Transport, Transport]]:
    """Two transports that reach one another over the wire alone, and over `more` devices both have."""
    extra = [device.name for device in more]
    async with asyncio.timeout(20 * SLOWNESS):
        ends = [
            await open_transport(
                f"rdma:{','.join([end.name, *extra])}", node, SECRET, math.inf, end.address
            )
            for node, end in enumerate(wire.ends)
        ]
        try:
            yield ends[0], ends[1]
        finally:
            for end in ends:
                await end.close()


def opener_across(wire: Wire, *more: Device) -> Opener:
    extra = [device.name for device in more]

    async def opener(node: int, secret: bytes, rate: float) -> Transport:
        end = wire.ends[node % 2]
        name = f"rdma:{','.join([end.name, *extra])}"
        return await open_transport(name, node, secret, rate, end.address)

    return opener


@pytest.mark.parametrize("name", ["rdma", "rdma-polling"])
def test_a_killed_receiver_fails_writes_in_flight_within_a_second(name: str):
    assert asyncio.run(kill_while_we_write(name)) < SLOWNESS


def test_a_killed_sender_is_reported_within_a_second_and_the_kernel_has_freed_everything():
    before = held()
    assert asyncio.run(kill_while_it_writes("rdma")) < SLOWNESS
    assert held() == before


def test_writes_survive_the_loss_of_two_percent_of_the_frames(wire: Wire):
    wire.lossy(2)
    asyncio.run(writes_arrive_in_the_order_they_were_posted(opener_across(wire)))
    assert wire.num_lost > 0


def test_several_rails_carry_one_write_and_keep_the_order(wire: Wire, devices: list[Device]):
    opener = opener_across(wire, devices[0])
    asyncio.run(writes_arrive_in_the_order_they_were_posted(opener))
    asyncio.run(a_large_write_arrives_whole(opener))


def test_a_large_write_is_divided_among_the_rails(wire: Wire, devices: list[Device]):
    """A device on the loopback passes its frames by the interface, so only those of the wire are counted."""

    async def body() -> int:
        async with across(wire, devices[0]) as (a, b):
            source = await filled(a, 0, 8 * MIB)
            await room(b, 0, 8 * MIB)
            out = await link(a, b)
            before = wire.num_bytes
            await out.write(source, 0, 8 * MIB, 0, 0, 0)
            return wire.num_bytes - before

    assert 4 * MIB < asyncio.run(body()) < 5 * MIB


def test_a_wire_that_is_cut_in_the_middle_of_writes_is_noticed_by_both_ends(wire: Wire):
    async def body() -> float:
        async with across(wire) as (a, b):
            source = await filled(a, 0, MIB)
            await room(b, 0, MIB)
            out = await link(a, b)
            writer = asyncio.create_task(write_for_ever(out, source))
            await notices(b, 3)
            wire.lossy(100)
            began = time.monotonic()
            while isinstance(lost := await b.receive(), Notice):
                continue
            with pytest.raises(PeerGoneError, match=r"node 1 is gone: write .*: no answer"):
                await writer
            assert lost == PeerLost(0, Lane.BULK)
            return time.monotonic() - began

    assert asyncio.run(body()) < SILENCE_S * SLOWNESS


async def write_for_ever(out: Link, source: Region) -> None:
    while True:
        await out.write(source, 0, MIB, 0, 0, 0)


def test_a_key_works_on_its_own_link_only_and_the_error_names_the_operation(
    devices: list[Device],
):
    async def body() -> None:
        a, b = [await open_transport("rdma", n, SECRET, host=devices[0].address) for n in (0, 1)]
        source = await filled(a, 0, MIB)
        target = await room(b, 0, MIB)
        mine, other = await link(a, b), await link(a, b, Lane.EXPRESS)
        assert isinstance(mine, RdmaLink)
        assert isinstance(other, RdmaLink)
        await mine.write(source, 0, 10, 0, 0, 0)
        await notices(b, 1)
        other._grants.update(mine._grants)  # a key that was told to another link
        with pytest.raises(PeerGoneError, match=r"write of 100 bytes .* grants no access"):
            await other.write(source, 0, 100, 0, 0, 0)
        assert await b.receive() == PeerLost(0, Lane.EXPRESS)
        assert not any(target.view[10:])
        await mine.write(source, 0, MIB, 0, 0, 1)
        assert target.view == source.view
        await a.close()
        await b.close()

    asyncio.run(body())


def test_a_key_is_worth_nothing_once_its_grant_has_ended(devices: list[Device]):
    async def body() -> None:
        a, b = [await open_transport("rdma", n, SECRET, host=devices[0].address) for n in (0, 1)]
        source = await filled(a, 0, MIB)
        target = await room(b, 0, MIB)
        out = await link(a, b)
        assert isinstance(out, RdmaLink)
        await out.write(source, 0, 10, 0, 0, 0)
        kept = dict(out._grants)
        await b.revoke(0)
        out._grants.update(kept)  # a writer that does not let go
        with pytest.raises(PeerGoneError, match=r"write of 100 bytes .* grants no access"):
            await out.write(source, 0, 100, 0, 0, 1)
        assert not any(target.view[10:])
        await a.close()
        await b.close()

    asyncio.run(body())


def test_links_and_transports_that_come_and_go_leave_nothing(devices: list[Device]):
    async def body() -> None:
        a, b = [await open_transport("rdma", n, SECRET, host=devices[0].address) for n in (0, 1)]
        source = await filled(a, 0, MIB)
        await room(b, 0, MIB)
        idle = held()
        for tag in range(3):
            out = await link(a, b)
            await out.write(source, 0, MIB, 0, 0, tag)
            await out.close()
            assert isinstance(await b.receive(), Notice)
            assert isinstance(await b.receive(), PeerLost)
            assert held() == idle
        await a.close()
        await b.close()

    before = held()
    asyncio.run(body())
    assert held() == before


def test_a_device_that_is_removed_ends_its_links_with_its_name(devices: list[Device]):
    """The kernel of the virtual machine cannot take a software device from its users: we say that it has."""

    async def body() -> None:
        a, b = [await open_transport("rdma", n, SECRET, host=devices[0].address) for n in (0, 1)]
        assert isinstance(a, RdmaTransport)
        source = await filled(a, 0, MIB)
        out = await link(a, b)
        await link(b, a)
        (rail,) = a._rails
        a._lose(rail)
        assert await a.receive() == PeerLost(1, Lane.BULK)
        with pytest.raises(PeerGoneError, match=f"{devices[0].name} was removed"):
            await out.write(source, 0, 0, 0, 0, 0)
        await a.close()
        await b.close()

    asyncio.run(body())


@pytest.mark.parametrize(
    ("names", "host", "complaint"),
    [
        (("mlx9_7",), "127.0.0.1", r"'mlx9_7' is not on this host, which has rxe0/1"),
        ((), "192.0.2.9", "listen"),
    ],
)
def test_what_cannot_be_opened_is_named(names: tuple[str, ...], host: str, complaint: str):
    async def body() -> None:
        await RdmaTransport(Dock(0, math.inf), SECRET, host, names).open()

    with pytest.raises(ConfigError, match=complaint):
        asyncio.run(body())


def test_memory_that_no_dma_buf_can_carry_is_reached_by_its_address(devices: list[Device]):
    """A software device takes no dma-buf, and says so; ordinary memory stands in for that of a GPU."""

    class Memory:
        def __init__(self, region: Region) -> None:
            self.address, self.nbytes = address_of(region.view), region.nbytes

        def export(self) -> int:
            return os.memfd_create("exported")

    async def body() -> None:
        node = await open_transport("rdma", 0, SECRET, host=devices[0].address)
        assert isinstance(node, RdmaTransport)
        memory = Memory(await node.register(0, MIB))
        found = reach(memory, node._rails[0])
        assert (found.path, found.base) == (PEER_MEM, memory.address)
        assert found.registration.length == MIB
        assert found.why[0].startswith("dma-buf: rxe0/1 takes no dma-buf")
        found.registration.close()
        await node.close()

    asyncio.run(body())
