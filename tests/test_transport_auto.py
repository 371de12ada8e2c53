"""The transport that chooses per pair: it conforms, chooses well, and has one memory for all ways."""

import asyncio
import math

import pytest
from transport_conformance import CHECKS, KIB, SECRET, Check, filled, link, notices, room

from lambdascale.errors import ConfigError
from lambdascale.transport.auto import AutoTransport, choose, this_host
from lambdascale.transport.base import Lane, Notice, Transport
from lambdascale.transport.dock import Dock
from lambdascale.transport.registry import open_transport
from lambdascale.transport.shm import ShmLink, ShmTransport
from lambdascale.transport.tcp import TcpLink, TcpTransport


async def on_host(
    host: str, node: int, secret: bytes = SECRET, rate: float = math.inf
) -> Transport:
    """A node that says it is on `host`."""
    dock = Dock(node, rate)
    shm = await ShmTransport(dock, secret).open()
    tcp = await TcpTransport(dock, secret, "127.0.0.1").open()
    return AutoTransport(dock, {"shm": shm, "tcp": tcp}, tcp, host)


async def on_one_host(node: int, secret: bytes, rate: float) -> Transport:
    return await open_transport("auto", node, secret, rate)


async def on_hosts_of_their_own(node: int, secret: bytes, rate: float) -> Transport:
    return await on_host(f"host {node}", node, secret, rate)


@pytest.mark.parametrize("opener", [on_one_host, on_hosts_of_their_own])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.alone
@pytest.mark.usefixtures("impatient")
def test_it_conforms(check: Check, opener) -> None:
    asyncio.run(check(opener))


def test_peers_of_both_kinds_write_the_same_memory_and_are_received_in_one_inbox():
    async def body() -> None:
        near, far = await on_host("here", 1), await on_host("there", 2)
        sink = await on_host("here", 0)
        target = await room(sink, 0, 2 * KIB)
        for node, kind in ((near, ShmLink), (far, TcpLink)):
            source = await filled(node, 0, KIB)
            out = await link(node, sink)
            assert isinstance(out, kind)
            offset = (node.node - 1) * KIB
            await out.write(source, 0, KIB, 0, offset, node.node)
            assert await notices(sink, 1) == [Notice(node.node, node.node, 0, offset, KIB)]
            assert target.view[offset : offset + KIB] == source.view
        for node in (near, far, sink):
            await node.close()

    asyncio.run(body())


@pytest.mark.parametrize(
    ("ours", "theirs", "same_host", "way"),
    [
        (("shm", "rdma", "tcp"), ("shm", "rdma", "tcp"), True, "shm"),
        (("shm", "rdma", "tcp"), ("shm", "rdma", "tcp"), False, "rdma"),
        (("shm", "rdma", "tcp"), ("shm", "tcp"), False, "tcp"),
        (("shm", "tcp"), ("shm", "rdma", "tcp"), False, "tcp"),
    ],
)
def test_the_best_way_that_both_have_is_chosen(ours, theirs, same_host, way):
    assert choose(ours, theirs, same_host) == way


def test_nodes_without_a_common_way_and_strange_addresses_are_refused():
    with pytest.raises(ConfigError, match="start both alike"):
        choose(("shm", "tcp"), ("shm", "rdma"), same_host=False)

    async def body() -> None:
        node = await on_one_host(0, SECRET, math.inf)
        with pytest.raises(ConfigError, match="127"):
            await node.connect(1, "127.0.0.1:7", Lane.BULK)
        await node.close()

    asyncio.run(body())


def test_a_device_that_is_named_must_be_there():
    with pytest.raises(ConfigError, match=r"rdma needs pyverbs|is not on this host"):
        asyncio.run(open_transport("auto:mlx9_7", 0, SECRET))


def test_processes_of_one_host_agree_on_it():
    assert this_host() == this_host()
