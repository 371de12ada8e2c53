"""Storage over local files: parallel positional reads in threads, straight into registered memory."""

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from lambdascale.errors import ConfigError, ModelError
from lambdascale.transport.base import Region
from lambdascale.units import MIB

CHUNK_NBYTES = 8 * MIB  # long enough for a disk to stream, short enough to cancel at once


class FileStorage:
    """Reads with `num_threads` threads, `chunk_nbytes` at a time."""

    def __init__(self, num_threads: int = 4, chunk_nbytes: int = CHUNK_NBYTES) -> None:
        if num_threads < 1 or chunk_nbytes < 1:
            raise ConfigError(
                f"storage has {num_threads} threads and chunks of {chunk_nbytes} bytes; "
                "both must be at least 1"
            )
        self._chunk_nbytes = chunk_nbytes
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="storage")

    async def load(
        self, image: Path, image_offset: int, region: Region, offset: int, nbytes: int
    ) -> None:
        if min(image_offset, offset, nbytes) < 0 or offset + nbytes > region.nbytes:
            raise ConfigError(
                f"cannot load {nbytes} bytes to offset {offset} of a region of {region.nbytes} bytes"
            )
        file = _open(image)
        try:
            with region.view[offset : offset + nbytes] as target:
                await self._fill(target, image, file, image_offset)
        finally:
            os.close(file)

    async def _fill(self, target: memoryview, image: Path, file: int, start: int) -> None:
        """Split `target` into chunks, and leave only when no thread touches it any more."""
        size = self._chunk_nbytes
        reads: list[Future[None]] = [
            self._threads.submit(_read, target[low : low + size], image, file, start + low)
            for low in range(0, len(target), size)
        ]
        try:
            await asyncio.gather(*map(asyncio.wrap_future, reads))
        finally:
            for read in reads:
                read.cancel()
            wait(reads)  # at most one chunk per thread

    async def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def _open(image: Path) -> int:
    try:
        return os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ModelError(f"cannot read image {image} ({error.strerror}); pack it again") from error


def _read(target: memoryview, image: Path, file: int, start: int) -> None:
    done = 0
    with target:
        while done < len(target):
            count = os.preadv(file, [target[done:]], start + done)
            if count == 0:
                raise ModelError(
                    f"image {image} ends at byte {start + done}, before the range that was asked for; "
                    "pack the model again"
                )
            done += count
