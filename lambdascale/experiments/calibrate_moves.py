"""Seconds of copies between memories, of reads from the SSD, and of control messages, by size.

What is read from the SSD is dropped from the page cache before; where the system refuses, reads come from
memory and are as fast.
"""

import asyncio
import multiprocessing
import os
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from lambdascale.control.base import Channel
from lambdascale.control.messages import OpenTick
from lambdascale.control.streams import StreamControl
from lambdascale.storage.files import FileStorage
from lambdascale.transport.auth import make_secret
from lambdascale.transport.registry import open_transport
from lambdascale.units import MIB

GPU, HOST = 1, 4
SIZES = tuple(n * MIB for n in (4, 16, 64, 128))
NUM_MESSAGES = 200

Move = Callable[[int], Awaitable[None]]


def copies_and_loads(
    image: Path, rounds: int, sizes: Sequence[int] = SIZES
) -> tuple[list[float], list[float]]:
    """Return the median seconds of a copy between two regions, and of a read from the SSD, of each size."""
    return asyncio.run(_copies_and_loads(image, rounds, sizes))


async def _copies_and_loads(
    image: Path, rounds: int, sizes: Sequence[int]
) -> tuple[list[float], list[float]]:
    transport = await open_transport("shm", 0, secrets.token_bytes(16))
    storage = FileStorage()
    try:
        gpu, host = [await transport.register(key, max(sizes)) for key in (GPU, HOST)]

        async def copy(nbytes: int) -> None:
            await storage.copy(host, 0, gpu, 0, nbytes)

        async def load(nbytes: int) -> None:
            await storage.load(image, 0, host, 0, nbytes)

        return await _medians(copy, lambda: None, rounds, sizes), await _medians(
            load, lambda: forget(image), rounds, sizes
        )
    finally:
        await storage.close()
        await transport.close()


async def _medians(
    move: Move, before: Callable[[], None], rounds: int, sizes: Sequence[int]
) -> list[float]:
    """Let the sizes take turns, after one round to warm up."""
    times = []
    for _ in range(1 + rounds):
        times.append([await _seconds(move, before, nbytes) for nbytes in sizes])
    return [statistics.median(each) for each in zip(*times[1:], strict=True)]


async def _seconds(move: Move, before: Callable[[], None], nbytes: int) -> float:
    before()
    began = time.perf_counter()
    await move(nbytes)
    return time.perf_counter() - began


def forget(image: Path) -> None:
    """Drop the pages of a file from the page cache."""
    descriptor = os.open(image, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def control_seconds(count: int = NUM_MESSAGES) -> float:
    """Return the median seconds of a message to another process, one way."""
    return asyncio.run(_control_seconds(count))


async def _control_seconds(count: int) -> float:
    secret = make_secret()
    listener = await StreamControl(secret).listen()
    context = multiprocessing.get_context("spawn")
    echo = context.Process(target=_echo, args=(listener.address, secret, count), daemon=True)
    echo.start()
    try:
        channel = await listener.accept()
        times = [await _round_trip(channel) for _ in range(count)]
        await channel.close()
        return statistics.median(times) / 2
    finally:
        await listener.close()
        await asyncio.to_thread(echo.join)


async def _round_trip(channel: Channel) -> float:
    began = time.perf_counter()
    channel.send(OpenTick(0, 1))
    await channel.receive()
    return time.perf_counter() - began


def _echo(address: str, secret: bytes, count: int) -> None:
    asyncio.run(_echo_all(address, secret, count))


async def _echo_all(address: str, secret: bytes, count: int) -> None:
    channel = await StreamControl(secret).connect(address, 0)
    for _ in range(count):
        channel.send(await channel.receive())
    await channel.close()
