"""The behaviour every storage body must show, on the wall clock or on the virtual one.

Each check takes an opener and a folder and uses only the `Storage` interface, backed regions, asyncio and
the loop's clock. A test module of a body runs them all with `@pytest.mark.parametrize("check", CHECKS)`.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lambdascale.errors import ConfigError, ModelError
from lambdascale.sim.regions import BackedRegion
from lambdascale.storage.base import Storage

Opener = Callable[[float, float], Storage]
Check = Callable[[Opener, Path], Coroutine[None, None, None]]
GPU, HOST = 1, 4
KIB, MIB = 1 << 10, 1 << 20


@asynccontextmanager
async def opened(
    opener: Opener, ssd_rate: float = math.inf, pcie_rate: float = math.inf
) -> AsyncIterator[Storage]:
    storage = opener(ssd_rate, pcie_rate)
    try:
        yield storage
    finally:
        await storage.close()


def filled(key: int, nbytes: int) -> BackedRegion:
    region = BackedRegion(key, nbytes)
    region.view[:] = random.Random(key).randbytes(nbytes)
    return region


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def now() -> float:
    return asyncio.get_running_loop().time()


async def seconds(moves: list[Awaitable[None]]) -> float:
    began = now()
    await asyncio.gather(*moves)
    return now() - began


def check_seconds(took: float, expected: float) -> None:
    """Rates are never exceeded; a busy two-core machine may add to a sleep."""
    assert 0.999 * expected <= took <= 1.15 * expected + 0.05


async def a_copy_touches_only_its_range(opener: Opener, _: Path) -> None:
    async with opened(opener) as storage:
        host, gpu = filled(HOST, 40 * KIB), filled(GPU, 50 * KIB)
        expected = bytearray(gpu.view)
        expected[1021 : 1021 + 30_001] = host.view[13 : 13 + 30_001]
        await storage.copy(host, 13, gpu, 1021, 30_001)
        assert gpu.view == expected
        await storage.copy(host, 0, gpu, 0, 0)
        assert gpu.view == expected


async def what_was_stored_is_loaded_again(opener: Opener, folder: Path) -> None:
    async with opened(opener) as storage:
        host, gpu, image = filled(HOST, 40 * KIB), BackedRegion(GPU, 40 * KIB), folder / "a"
        assert not storage.has(image)
        await storage.store(host, 100, 30_001, image)
        assert storage.has(image)
        await storage.load(image, 0, gpu, 7, 30_001)
        assert gpu.view[7:30_008] == host.view[100:30_101]
        await storage.load(image, 5000, gpu, 0, 9000)
        assert gpu.view[:9000] == host.view[5100:14_100]
        with pytest.raises(ModelError, match="ends at byte 30001"):
            await storage.load(image, 2, gpu, 0, 30_000)


async def a_store_replaces_what_was_there(opener: Opener, folder: Path) -> None:
    async with opened(opener) as storage:
        host, gpu, image = filled(HOST, 4 * KIB), BackedRegion(GPU, 4 * KIB), folder / "a"
        await storage.store(host, 0, 4 * KIB, image)
        await storage.store(host, 1000, 100, image)
        await storage.load(image, 0, gpu, 0, 100)
        assert gpu.view[:100] == host.view[1000:1100]
        with pytest.raises(ModelError, match="ends at byte 100"):
            await storage.load(image, 0, gpu, 0, 101)


async def loads_share_a_rate_and_stores_another(opener: Opener, folder: Path) -> None:
    rate, size, count = 10e6, 200 * KIB, 4
    async with opened(opener, ssd_rate=rate) as storage:
        host, gpu = filled(HOST, size * count), BackedRegion(GPU, size * count)
        stores = [storage.store(host, i * size, size, folder / str(i % 2)) for i in range(count)]
        check_seconds(await seconds(stores), count * size / rate)
        loads = [storage.load(folder / "0", 0, gpu, i * size, size) for i in range(count)]
        check_seconds(await seconds(loads), count * size / rate)
        both = [
            storage.store(host, 0, size, folder / "9"),
            storage.load(folder / "1", 0, gpu, 0, size),
        ]
        check_seconds(await seconds(both), size / rate)


async def copies_share_a_rate_in_each_direction(opener: Opener, _: Path) -> None:
    rate, size, count = 10e6, 200 * KIB, 4
    async with opened(opener, pcie_rate=rate) as storage:
        host, gpu = filled(HOST, 2 * size * count), filled(GPU, 2 * size * count)
        up = [storage.copy(host, i * size, gpu, i * size, size) for i in range(count)]
        check_seconds(await seconds(up), count * size / rate)
        below = size * count
        up = [storage.copy(host, i * size, gpu, i * size, size) for i in range(count)]
        down = [storage.copy(gpu, below, host, below, size) for _ in range(count)]
        check_seconds(await seconds(up + down), count * size / rate)


async def ranges_outside_a_region_are_refused(opener: Opener, folder: Path) -> None:
    async with opened(opener) as storage:
        host, gpu = filled(HOST, KIB), BackedRegion(GPU, 2 * KIB)
        for source, target, nbytes in [(1, 0, KIB), (0, KIB + 1, KIB), (-1, 0, 1), (0, 0, -1)]:
            with pytest.raises(ConfigError, match="region"):
                await storage.copy(host, source, gpu, target, nbytes)
        for offset, nbytes in [(1, KIB), (-1, 1), (0, -1)]:
            with pytest.raises(ConfigError, match="region"):
                await storage.store(host, offset, nbytes, folder / "a")
        with pytest.raises(ConfigError, match="region"):
            await storage.load(folder / "a", 0, host, 1, KIB)
        assert not any(gpu.view)
        assert not names(folder)


async def closing_fails_what_is_on_its_way_and_what_comes(opener: Opener, folder: Path) -> None:
    async with opened(opener, ssd_rate=KIB, pcie_rate=KIB) as storage:
        host, gpu = filled(HOST, MIB), BackedRegion(GPU, MIB)
        image = folder / "image"
        image.write_bytes(bytes(MIB))

        def moves() -> list[Awaitable[None]]:
            return [
                storage.load(image, 0, gpu, 0, MIB),
                storage.copy(host, 0, gpu, 0, MIB),
                storage.store(host, 0, MIB, folder / "stored"),
            ]

        tasks = [asyncio.ensure_future(move) for move in moves()]
        await asyncio.sleep(0.05)
        await storage.close()
        await storage.close()
        for attempt in (*tasks, *moves()):
            with pytest.raises(ModelError, match="closed"):
                await attempt
        assert names(folder) == ["image"]


CHECKS: tuple[Check, ...] = (
    a_copy_touches_only_its_range,
    what_was_stored_is_loaded_again,
    a_store_replaces_what_was_there,
    loads_share_a_rate_and_stores_another,
    copies_share_a_rate_in_each_direction,
    ranges_outside_a_region_are_refused,
    closing_fails_what_is_on_its_way_and_what_comes,
)
