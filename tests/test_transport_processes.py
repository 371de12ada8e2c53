"""Between processes: content arrives, and a killed peer is noticed within a second."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from transport_conformance import SECRET, filled, opened, room

from lambdascale.errors import PeerGoneError
from lambdascale.transport.base import Lane, Link, Notice, PeerLost, Region, Transport
from lambdascale.transport.registry import ON_ANY_HOST, open_transport

pytestmark = pytest.mark.alone

CHILD_FILE = Path(__file__).with_name("transport_child.py")
CHILD_NODE = 1
SIZE = 32 << 20


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(CHILD_FILE), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def write_for_ever(out: Link, source: Region) -> None:
    while True:
        await out.write(source, 0, SIZE, 0, 0, 0)


async def write_until_it_fails(out: Link, source: Region) -> float:
    with pytest.raises(PeerGoneError, match=f"node {CHILD_NODE}"):
        await write_for_ever(out, source)
    return time.monotonic()


async def kill_while_we_write(name: str) -> float:
    with child(name, "receive") as process:
        address = await asyncio.to_thread(read_line, process)
        node = await open_transport(name, 0, SECRET)
        source = await filled(node, 0, SIZE)
        out = await node.connect(CHILD_NODE, address, Lane.BULK)
        writers = [asyncio.create_task(write_until_it_fails(out, source)) for _ in range(3)]
        await asyncio.sleep(0.2)
        killed = time.monotonic()
        process.kill()
        noticed = await asyncio.gather(*writers)
        await node.close()
        return max(noticed) - killed


async def kill_while_it_writes(name: str) -> float:
    async def opener(node: int, secret: bytes, rate: float) -> Transport:
        return await open_transport(name, node, secret, rate)

    async with opened(opener, 1) as (node,):
        region = await room(node, 0, SIZE)
        with child(name, "send", node.address, str(SIZE)) as process:
            expected = int(await asyncio.to_thread(read_line, process))
            assert await node.receive() == Notice(CHILD_NODE, 1, 0, 0, SIZE)
            assert await region.checksum(0, SIZE) == expected
            killed = time.monotonic()
            process.kill()
            while (event := await node.receive()) != PeerLost(CHILD_NODE, Lane.BULK):
                assert isinstance(event, Notice)
            return time.monotonic() - killed


@pytest.mark.parametrize("name", ON_ANY_HOST)
def test_a_killed_receiver_fails_writes_in_flight_within_a_second(name: str) -> None:
    assert asyncio.run(kill_while_we_write(name)) < 1.0


@pytest.mark.parametrize("name", ON_ANY_HOST)
def test_a_killed_sender_is_reported_within_a_second(name: str) -> None:
    assert asyncio.run(kill_while_it_writes(name)) < 1.0
