"""Registered memory: a sealed memfd, mapped and touched. It has no name, so it cannot outlive its users.

The mapping goes away with the last buffer that aliases it (an engine's tensors may outlive the
transport); the descriptor goes away when the region is closed. `mmap.mmap` would keep a descriptor of
its own for as long as anything aliases it, hence the direct call.
"""

import asyncio
import ctypes
import fcntl
import mmap
import os
import weakref
from concurrent.futures import Executor

import xxhash

from lambdascale.errors import ConfigError
from lambdascale.transport.wire import check_range

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_MAP_FAILED = ctypes.c_void_p(-1).value
_PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def map_shared(descriptor: int, nbytes: int) -> memoryview:
    """Map a memfd, every page present; unmapped when the last buffer over it is gone."""
    flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
    address = _libc.mmap(None, nbytes, _PROTECTION, flags, descriptor, 0)
    if address == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot map {nbytes} bytes: {os.strerror(number)}")
    array = (ctypes.c_ubyte * nbytes).from_address(address)
    weakref.finalize(array, _libc.munmap, address, nbytes).atexit = False
    return memoryview(array).cast("B")


def _create_memfd(key: int, nbytes: int) -> int:
    descriptor = os.memfd_create(f"lambdascale-{key}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(descriptor, 0, nbytes)
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
    def allocate(cls, key: int, nbytes: int, pool: Executor) -> "MemoryRegion":
        """Allocate and touch `nbytes` of zeros; blocks for about 0.2 s per GiB. Raises ConfigError."""
        if nbytes < 1:
            raise ConfigError(f"region {key} has {nbytes} bytes; register at least one")
        try:
            descriptor = _create_memfd(key, nbytes)
        except OSError as error:
            raise ConfigError(
                f"cannot allocate {nbytes} bytes for region {key} ({error.strerror}); free memory"
            ) from error
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

    def close(self) -> None:
        """Close the descriptor and let go of the mapping."""
        if self._view is not None:
            self._view = None
            os.close(self.descriptor)


class Window:
    """A region of a peer on this host, known by its descriptor and mapped at first use."""

    def __init__(self, descriptor: int, nbytes: int) -> None:
        self.nbytes = nbytes
        self._descriptor = descriptor
        self._view: memoryview | None = None

    @property
    def view(self) -> memoryview:
        """The peer's memory. The first call maps it, which takes a while; raises OSError."""
        if self._view is None:
            if os.fstat(self._descriptor).st_size < self.nbytes:
                raise ConnectionError("the peer passed a smaller region than it announced")
            self._view = map_shared(self._descriptor, self.nbytes)
        return self._view

    def close(self) -> None:
        self._view = None
        os.close(self._descriptor)
