"""Pages of a memfd: mapped, made present, and given back to the operating system.

The mapping goes away with the last buffer that aliases it (an engine's tensors may outlive the
transport). `mmap.mmap` would keep a descriptor of its own for as long as anything aliases it, and it
cannot punch holes; hence the direct calls.
"""

import ctypes
import mmap
import os
import weakref

import numpy as np

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
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_MAP_FAILED = ctypes.c_void_p(-1).value
_PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE
_MADV_POPULATE_WRITE = 23  # Linux 5.14; `mmap` does not name it
_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01
_BLOCK = 512  # the unit of st_blocks


def resident_nbytes(descriptor: int) -> int:
    """Return how many bytes of a memfd occupy memory."""
    return os.fstat(descriptor).st_blocks * _BLOCK


def map_shared(descriptor: int, nbytes: int) -> memoryview:
    """Map a memfd; unmapped when the last buffer over it is gone. Raises OSError.

    If all its pages are present they are mapped at once. If not, they come when they are used: mapping a
    peer's memory must not fill it.
    """
    present = resident_nbytes(descriptor) >= nbytes
    flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if present else 0)
    address = _libc.mmap(None, nbytes, _PROTECTION, flags, descriptor, 0)
    if address == _MAP_FAILED:
        raise _failure(f"cannot map {nbytes} bytes")
    array = (ctypes.c_ubyte * nbytes).from_address(address)
    weakref.finalize(array, _libc.munmap, address, nbytes).atexit = False
    return memoryview(array).cast("B")


def make_present(descriptor: int, part: memoryview, offset: int) -> None:
    """Give a mapped part of a memfd its pages; what it contains stays. Raises OSError."""
    if part.nbytes:
        os.posix_fallocate(descriptor, offset, part.nbytes)
        start = address_of(part)
        low = start // mmap.PAGESIZE * mmap.PAGESIZE
        # an older kernel refuses, and then maps each page at its first use
        _libc.madvise(low, start + part.nbytes - low, _MADV_POPULATE_WRITE)


def punch_hole(descriptor: int, offset: int, nbytes: int) -> None:
    """Give back the pages of a range, which reads as zeros from then on. Raises OSError."""
    if nbytes and _libc.fallocate(descriptor, _PUNCH_HOLE_KEEP_SIZE, offset, nbytes) != 0:
        raise _failure(f"cannot release {nbytes} bytes")


def address_of(view: memoryview) -> int:
    """Return where in memory the first byte of a buffer lies."""
    return np.frombuffer(view, np.uint8).ctypes.data


def _failure(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
