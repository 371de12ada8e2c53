"""Memory that comes and goes: what the operating system counts as resident, before and after."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from transport_conformance import SECRET, filled, link, notices, room

from lambdascale.errors import ConfigError
from lambdascale.transport.memory import MemoryRegion
from lambdascale.transport.pages import resident_nbytes
from lambdascale.transport.registry import open_transport
from lambdascale.transport.stream import StreamTransport
from lambdascale.units import MIB

pytestmark = pytest.mark.alone

SIZE = 32 * MIB


@asynccontextmanager
async def opened(count: int) -> AsyncIterator[list[StreamTransport]]:
    nodes = [await open_transport("shm", node, SECRET) for node in range(count)]
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.close()


def resident(region: MemoryRegion) -> int:
    return resident_nbytes(region.descriptor)


def mapped_and_present() -> int:
    """Bytes of our regions that are in the page tables of this process."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            ours = "memfd:lambdascale" in line
        elif ours and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


def run(body: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(body())


def test_touched_memory_is_resident_at_once_and_other_memory_when_it_is_used():
    async def body() -> None:
        async with opened(1) as (node,):
            before = mapped_and_present()
            lazy = await node.register(1, SIZE, touched=False)
            assert (resident(lazy), mapped_and_present() - before) == (0, 0)
            lazy.view[5 * MIB] = 1
            assert 0 < resident(lazy) <= 2 * MIB, "one page, which may be a large one"
            eager = await node.register(2, SIZE)
            assert resident(eager) == SIZE
            assert mapped_and_present() - before >= SIZE

    run(body)


def test_address_space_may_exceed_the_memory_of_the_machine():
    async def body() -> None:
        async with opened(1) as (node,):
            region = await node.register(1, 1 << 40, touched=False)
            await region.touch(1 << 39, MIB)
            assert MIB <= resident(region) <= 4 * MIB

    run(body)


def test_released_memory_is_given_back_and_comes_again():
    async def body() -> None:
        async with opened(1) as (node,):
            region = await filled(node, 1, SIZE)
            alias = np.frombuffer(region.view, np.uint8)
            for _ in range(2):
                before = mapped_and_present()
                await region.release(8 * MIB, 16 * MIB)
                assert resident(region) == SIZE - 16 * MIB
                assert before - mapped_and_present() == 16 * MIB
                await region.touch(8 * MIB, 16 * MIB)
                assert resident(region) == SIZE
                assert mapped_and_present() == before, "touched means mapped, too"
                assert not alias[8 * MIB : 24 * MIB].any()
                alias[8 * MIB : 24 * MIB] = 7

    run(body)


def test_a_release_of_parts_of_pages_zeroes_them_and_frees_the_whole_ones():
    async def body() -> None:
        async with opened(1) as (node,):
            region = await filled(node, 1, 16 * 4096)
            expected = bytearray(region.view)
            expected[100 : 100 + 4096 * 3] = bytes(4096 * 3)
            await region.release(100, 4096 * 3)
            assert resident(region) == 14 * 4096
            assert region.view == expected

    run(body)


def test_a_cancelled_release_does_not_come_after_a_later_use():
    async def body() -> None:
        async with opened(1) as (node,):
            region = await node.register(1, SIZE)
            for turns in range(4):
                busy = [asyncio.ensure_future(region.checksum(0, SIZE)) for _ in range(turns)]
                release = asyncio.ensure_future(region.release(0, SIZE))
                await asyncio.sleep(0)
                release.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await release
                np.frombuffer(region.view, np.uint8)[:] = 1
                await asyncio.gather(*busy)
                await asyncio.sleep(0.01)
                assert np.frombuffer(region.view, np.uint8).all()

    run(body)


def test_a_peer_that_writes_into_untouched_memory_fills_only_what_it_writes():
    async def body() -> None:
        async with opened(2) as (a, b):
            source, target = await filled(a, 0, MIB), await room(b, 1, SIZE, touched=False)
            to_b = await link(a, b)
            await to_b.write(source, 0, MIB, 1, 4 * MIB, 0)
            assert MIB <= resident(target) <= 4 * MIB
            await target.release(0, SIZE)
            assert resident(target) == 0, "though the peer maps it"
            await to_b.write(source, 0, MIB, 1, 9 * MIB, 1)
            assert len(await notices(b, 2)) == 2
            assert target.view[9 * MIB : 10 * MIB] == source.view

    run(body)


def test_a_closed_region_says_so():
    async def body() -> None:
        async with opened(1) as (node,):
            region = await node.register(1, 4096)
        for change in (region.touch, region.release):
            with pytest.raises(ConfigError, match="region 1 is closed"):
                await change(0, 4096)

    run(body)
