"""What is left behind: no descriptor, no thread, no named file; strangers cost nothing lasting."""

import asyncio
import math
import socket
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from transport_conformance import SECRET, filled, link, room

from lambdascale.errors import ConfigError, PeerGoneError
from lambdascale.transport.base import Lane, PeerLost, Transport
from lambdascale.transport.dock import Dock
from lambdascale.transport.registry import ON_ANY_HOST, open_transport
from lambdascale.transport.tcp import TcpTransport

pytestmark = pytest.mark.alone

KIB = 1 << 10


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:lambdascale")


async def use_everything(
    name: str, rate: float
) -> tuple[list[Transport], list[asyncio.Task[None]]]:
    nodes = [await open_transport(name, i, SECRET, rate) for i in range(3)]
    source = await filled(nodes[0], 0, 256 * KIB)
    writes = []
    for node in nodes[1:]:
        await room(node, 0, 256 * KIB)
        for lane in Lane:
            out = await link(nodes[0], node, lane)
            await out.write(source, 0, 1, 0, 0, 0)
            writes.append(asyncio.create_task(out.write(source, 0, 256 * KIB, 0, 0, 1)))
    await source.checksum(0, KIB)
    return nodes, writes


@pytest.mark.parametrize("rate", [1e6, 1e12])
@pytest.mark.parametrize("name", ON_ANY_HOST)
def test_close_releases_descriptors_threads_and_memory(name: str, rate: float) -> None:
    async def body() -> None:
        before = descriptors(), threading.active_count(), mappings()
        nodes, writes = await use_everything(name, rate)
        assert threading.active_count() > before[1]
        assert mappings() > before[2]
        for node in nodes:
            await node.close()
        await asyncio.wait(writes)
        assert {type(write.exception()) for write in writes} <= {PeerGoneError, type(None)}
        del nodes, writes, node
        assert (descriptors(), threading.active_count(), mappings()) == before

    asyncio.run(body())


@pytest.mark.parametrize("name", ON_ANY_HOST)
def test_an_alias_of_a_region_outlives_its_transport(name: str) -> None:
    async def body() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        before = descriptors()
        node = await open_transport(name, 0, SECRET)
        region = await filled(node, 0, KIB)
        alias = np.frombuffer(region.view, np.uint8)
        await node.close()
        assert descriptors() == before
        return alias

    alias = asyncio.run(body())
    assert alias.any()
    alias[:] = 1
    assert mappings() == 1
    del alias
    assert mappings() == 0


@pytest.mark.parametrize("name", ON_ANY_HOST)
def test_links_that_come_and_go_leave_nothing(name: str) -> None:
    async def body() -> None:
        nodes = [await open_transport(name, i, SECRET) for i in range(2)]
        source = await filled(nodes[0], 0, KIB)
        await room(nodes[1], 0, KIB)
        before = descriptors(), threading.active_count()
        for _ in range(20):
            out = await link(nodes[0], nodes[1])
            await out.write(source, 0, KIB, 0, 0, 0)
            await out.close()
            await nodes[1].receive()
            assert await nodes[1].receive() == PeerLost(0, Lane.BULK)
        assert (descriptors(), threading.active_count()) == before
        for node in nodes:
            await node.close()

    asyncio.run(body())


@pytest.mark.parametrize("greeting", [b"", b"GET / HTTP/1.1\r\n\r\n" + bytes(100), b"lscale-1"])
def test_a_stranger_is_dropped_and_leaves_nothing(greeting: bytes) -> None:
    async def body() -> None:
        node = await open_transport("tcp", 0, SECRET)
        before = descriptors(), threading.active_count()
        host, port = node.address.split(":")
        with socket.create_connection((host, int(port))) as stranger:
            stranger.setblocking(False)
            stranger.sendall(greeting)
            stranger.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(stranger, 1) == b""
        assert (descriptors(), threading.active_count()) == before
        await node.close()

    asyncio.run(body())


def test_closing_does_not_wait_for_a_stranger_who_says_nothing() -> None:
    async def body() -> None:
        before = descriptors()
        node = await open_transport("tcp", 0, SECRET)
        host, port = node.address.split(":")
        with socket.create_connection((host, int(port))):
            await asyncio.sleep(0.05)
            async with asyncio.timeout(1):
                await node.close()
        assert descriptors() == before

    asyncio.run(body())


@pytest.mark.parametrize(("name", "address"), [("shm", "x"), ("tcp", "x"), ("tcp", "host:x")])
def test_a_malformed_address_is_refused(name: str, address: str) -> None:
    async def body() -> None:
        node = await open_transport(name, 0, SECRET)
        try:
            with pytest.raises(ConfigError, match="address"):
                await node.connect(1, address, Lane.BULK)
        finally:
            await node.close()

    asyncio.run(body())


def test_a_listener_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambdascale.transport.stream.HANDSHAKE_SECONDS", 0.2)

    async def body() -> None:
        node = await open_transport("tcp", 0, SECRET)
        with (
            socket.create_server(("127.0.0.1", 0)) as mute,
            pytest.raises(PeerGoneError, match=r"no answer within 0\.2 s"),
        ):
            await node.connect(1, f"127.0.0.1:{mute.getsockname()[1]}", Lane.BULK)
        await node.close()

    asyncio.run(body())


def test_an_interface_we_do_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        asyncio.run(TcpTransport(Dock(0, math.inf), SECRET, "192.0.2.1").open())
