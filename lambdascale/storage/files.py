"""Storage over local files and registered memory: positional reads, writes and copies in threads.

Rates emulate tiers that this machine does not have; see `rates`.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path

from lambdascale.errors import ConfigError
from lambdascale.storage.rates import Rates
from lambdascale.storage.reading import ImageReader
from lambdascale.storage.writing import ImageWriter
from lambdascale.transport.base import Region
from lambdascale.transport.copying import copy
from lambdascale.transport.wire import check_range
from lambdascale.units import MIB

CHUNK_NBYTES = 32 * MIB  # few hand-overs between threads, yet a cancelled load ends at once
COPY_NBYTES = 256 * MIB  # libc writes past the caches from 3/4 of the L3 on, twice as fast (EPYC)


class FileStorage:
    """Works with `num_threads` threads on `chunk_nbytes` at a time, on `copy_nbytes` between memories.

    `ssd_rate` and `pcie_rate` are bytes/s.
    """

    def __init__(
        self,
        num_threads: int = 4,
        chunk_nbytes: int = CHUNK_NBYTES,
        ssd_rate: float = math.inf,
        pcie_rate: float = math.inf,
        copy_nbytes: int = COPY_NBYTES,
    ) -> None:
        if min(num_threads, chunk_nbytes, copy_nbytes) < 1:
            raise ConfigError(
                f"storage has {num_threads} threads and chunks of {chunk_nbytes} and {copy_nbytes} "
                "bytes; all must be at least 1"
            )
        self._chunk_nbytes = chunk_nbytes
        self._copy_nbytes = copy_nbytes
        self._rates = Rates(ssd_rate, pcie_rate)
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="storage")

    async def load(
        self, image: Path, image_offset: int, region: Region, offset: int, nbytes: int
    ) -> None:
        if min(image_offset, offset, nbytes) < 0 or offset + nbytes > region.nbytes:
            raise ConfigError(
                f"cannot load {nbytes} bytes to offset {offset} of a region of {region.nbytes} bytes"
            )
        async with self._rates.load(nbytes):
            with closing(ImageReader(image)) as file, region.view[offset:] as target:
                await self._run(
                    partial(file.read, target[low:high], image_offset + low)
                    for low, high in _chunks(nbytes, self._chunk_nbytes, image_offset)
                )

    async def copy(
        self, source: Region, source_offset: int, target: Region, target_offset: int, nbytes: int
    ) -> None:
        check_range(f"region {source.key}", source_offset, nbytes, source.nbytes)
        check_range(f"region {target.key}", target_offset, nbytes, target.nbytes)
        async with self._rates.copy(source, target, nbytes):
            with source.view[source_offset:] as origin, target.view[target_offset:] as into:
                await self._run(
                    partial(copy, into[low:high], origin[low:high], self._copy_nbytes)
                    for low, high in _chunks(nbytes, self._copy_nbytes, 0)
                )

    async def store(self, region: Region, offset: int, nbytes: int, image: Path) -> None:
        check_range(f"region {region.key}", offset, nbytes, region.nbytes)
        self._rates.require_open()
        with closing(ImageWriter(image)) as file, region.view[offset:] as source:
            async with self._rates.store(nbytes):
                await self._run(
                    partial(file.write, source[low:high], low)
                    for low, high in _chunks(nbytes, self._chunk_nbytes, 0)
                )
            await self._run([file.publish])

    def has(self, image: Path) -> bool:
        return image.is_file()

    async def close(self) -> None:
        self._rates.close()
        self._threads.shutdown(cancel_futures=True)

    async def _run(self, steps: Iterable[Callable[[], None]]) -> None:
        """Run steps on the threads, and leave only when none of them touches any memory."""
        running = [self._threads.submit(step) for step in steps]
        try:
            await asyncio.gather(*map(asyncio.wrap_future, running))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self._rates.require_open()  # closing cancels steps, but not us
            raise
        finally:
            for step in running:
                step.cancel()
            wait(running)  # at most one chunk per thread


def _chunks(nbytes: int, size: int, phase: int) -> Iterator[tuple[int, int]]:
    """Cut [0, nbytes) where place + `phase` is a multiple of `size`, so that chunks begin at pages."""
    cuts = range(size - phase % size, nbytes, size)
    return pairwise([0, *cuts, nbytes])
