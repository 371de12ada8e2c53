"""Registered memory: a sealed memfd, mapped. It has no name, so it cannot outlive its users.

The descriptor goes away when the region is closed, the mapping with the last buffer that aliases it.
Memory that is touched has all its pages from the beginning; other memory is address space whose pages
come with use and go with `release`. Holes can be punched although the size is sealed.
"""

import asyncio
import fcntl
import os
from concurrent.futures import Executor, Future, wait
from typing import Self

import xxhash

from lambdascale.errors import ConfigError
from lambdascale.transport.pages import make_present, map_shared, punch_hole
from lambdascale.transport.wire import check_range

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def _create_memfd(key: int, nbytes: int, touched: bool) -> int:
    descriptor = os.memfd_create(f"lambdascale-{key}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        if touched:
            os.posix_fallocate(descriptor, 0, nbytes)
        else:
            os.ftruncate(descriptor, nbytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class MemoryRegion:
    """A `Region` over a memfd; `descriptor` is what peers on this host map."""

    def __init__(self, key: int, descriptor: int, view: memoryview, pool: Executor) -> None:
        self.key = key
        self.nbytes = view.nbytes
        self.descriptor = descriptor
        self._view: memoryview | None = view
        self._pool = pool

    @classmethod
    def allocate(cls, key: int, nbytes: int, pool: Executor, touched: bool = True) -> Self:
        """Allocate `nbytes` of zeros; blocks for about 0.2 s per GiB if touched. Raises ConfigError."""
        if nbytes < 1:
            raise ConfigError(f"region {key} has {nbytes} bytes; register at least one")
        try:
            descriptor = _create_memfd(key, nbytes, touched)
        except OSError as error:
            raise _no_memory(key, nbytes, error) from error
        try:
            return cls(key, descriptor, map_shared(descriptor, nbytes), pool)
        except OSError:
            os.close(descriptor)
            raise

    @property
    def view(self) -> memoryview:
        if self._view is None:
            raise ConfigError(f"region {self.key} is closed; use it before its transport closes")
        return self._view

    def part(self, offset: int, nbytes: int) -> memoryview:
        """Return the bytes [offset, offset + nbytes); raise ConfigError if they are not all inside."""
        check_range(f"region {self.key}", offset, nbytes, self.nbytes)
        return self.view[offset : offset + nbytes]

    async def checksum(self, offset: int, nbytes: int) -> int:
        """Return XXH3-64 of a range, computed on a thread of the transport."""
        part = self.part(offset, nbytes)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, xxhash.xxh3_64_intdigest, part)

    async def touch(self, offset: int, nbytes: int) -> None:
        part = self.part(offset, nbytes)
        try:
            await self._finish(self._pool.submit(make_present, self.descriptor, part, offset))
        except OSError as error:
            raise _no_memory(self.key, nbytes, error) from error

    async def release(self, offset: int, nbytes: int) -> None:
        check_range(f"region {self.key}", offset, nbytes, self.view.nbytes)
        await self._finish(self._pool.submit(punch_hole, self.descriptor, offset, nbytes))

    async def _finish(self, change: Future[None]) -> None:
        """Wait for a change of pages, also when cancelled: it must not come after a later use."""
        try:
            await asyncio.wrap_future(change)
        finally:
            if not change.cancel():
                wait([change])

    def close(self) -> None:
        """Close the descriptor and let go of the mapping."""
        if self._view is not None:
            self._view = None
            os.close(self.descriptor)


class Window:
    """A region of a peer on this host, known by its descriptor and mapped at first use."""

    def __init__(self, descriptor: int) -> None:
        self.nbytes = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._view: memoryview | None = None

    @property
    def view(self) -> memoryview:
        """The peer's memory. The first call maps it, which takes a while; raises OSError."""
        if self._view is None:
            self._view = map_shared(self._descriptor, self.nbytes)
        return self._view

    def close(self) -> None:
        self._view = None
        os.close(self._descriptor)


def _no_memory(key: int, nbytes: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot allocate {nbytes} bytes for region {key} ({error.strerror}); free memory"
    )
