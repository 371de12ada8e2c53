"""Reads of an image file at any place, from several threads: out of the page cache, else past it.

Bytes that are not cached are read with O_DIRECT, straight from the device into registered memory. That
needs whole pages, at places in the file and in memory that are equal modulo a page; head and tail are read
the other way, as is everything where the file system refuses (tmpfs, overlay). `mincore` tells what is
cached. (A read with RWF_NOWAIT would tell too, but it starts a read-ahead and so changes the answer.)
"""

import ctypes
import errno
import mmap
import os
from pathlib import Path

import numpy as np

from lambdascale.errors import ModelError
from lambdascale.storage.arena import PAGE
from lambdascale.transport.pages import address_of

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_SAMPLE = 64 * PAGE  # of a chunk, its middle; all pages would cost 5 % of a cached read


class ImageReader:
    """The file `image`, open; raises ModelError if it cannot be opened or read."""

    def __init__(self, image: Path) -> None:
        self._image = image
        try:
            self._file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(image, error) from error
        self._direct = _open_direct(image)

    def close(self) -> None:
        """Close the file; no thread may read any more."""
        os.close(self._file)
        if self._direct is not None:
            os.close(self._direct)

    def read(self, target: memoryview, start: int) -> None:
        """Fill `target` with the bytes from `start` on, and release it. Blocks."""
        with target:
            try:
                done = self._read_direct(target, start)
                self._read(target[done:], start + done)
            except OSError as error:
                raise _unreadable(self._image, error) from error

    def _read(self, target: memoryview, start: int) -> None:
        done = 0
        with target:
            while done < len(target):
                count = os.preadv(self._file, [target[done:]], start + done)
                if count == 0:
                    raise ModelError(
                        f"image {self._image} ends at byte {start + done}, before the range that "
                        "was asked for; pack the model again"
                    )
                done += count

    def _read_direct(self, target: memoryview, start: int) -> int:
        """Read what may be read past the page cache, and what lies before it; return how far that is."""
        low = -start % PAGE
        high = low + (len(target) - low) // PAGE * PAGE
        if self._direct is None or high <= low or (address_of(target) + low) % PAGE:
            return 0
        if self._is_cached(start + low, start + high):
            return 0
        self._read(target[:low], start)
        return self._read_pages(self._direct, target[low:high], start + low) + low

    def _read_pages(self, direct: int, target: memoryview, start: int) -> int:
        """Return how many bytes came; all, unless the file ends or does not take direct reads."""
        done = 0
        with target:
            while done < len(target):
                try:
                    count = os.preadv(direct, [target[done:]], start + done)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    break
                done += count
                if count == 0 or count % PAGE:
                    break
        return done

    def _is_cached(self, low: int, high: int) -> bool:
        """Are most pages in the middle of [low, high) in the page cache? Yes for files that are not ours."""
        start = (low + max(low, high - _SAMPLE)) // 2 // mmap.PAGESIZE * mmap.PAGESIZE
        nbytes = min(_SAMPLE, high - start, os.fstat(self._file).st_size - start)
        if nbytes < 1:
            return True
        present = np.zeros(-(-nbytes // mmap.PAGESIZE), np.uint8)
        with (
            mmap.mmap(self._file, nbytes, prot=mmap.PROT_READ, offset=start) as mapped,
            memoryview(mapped) as pages,
        ):
            failed = _libc.mincore(address_of(pages), nbytes, present.ctypes.data)
        return bool(failed or 2 * np.count_nonzero(present & 1) >= present.size)


def _open_direct(image: Path) -> int | None:
    try:
        return os.open(image, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return None


def _unreadable(image: Path, error: OSError) -> ModelError:
    return ModelError(f"cannot read image {image} ({error.strerror}); pack it again")
