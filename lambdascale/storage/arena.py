"""A first-fit allocator of byte ranges: where in a tier a copy lies. Bookkeeping only, no memory.

    [ a ][ hole ][ b    ][ hole      |     ranges start at pages; neighbouring holes are one hole

Ranges start at page boundaries, so that pages can be given back and direct I/O can fill them.
"""

from collections.abc import Iterator
from typing import NamedTuple

from lambdascale.errors import ConfigError

PAGE = 4096


class IntegrityError(AssertionError):
    """The bookkeeping of memory contradicts itself, which is a bug here."""


class Span(NamedTuple):
    """Bytes [start, stop)."""

    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        return self.stop - self.start


class Arena:
    """The byte ranges of `capacity` bytes that are taken, by offset, and the holes between them."""

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ConfigError(f"arena has {capacity} bytes; give 0 or more")
        self.capacity = capacity
        self._taken: dict[int, int] = {}  # start → stop, in whole pages except at the end

    @property
    def used(self) -> int:
        """Bytes that are taken, in whole pages."""
        return sum(stop - start for start, stop in self._taken.items())

    @property
    def spans(self) -> list[Span]:
        """The ranges that are taken, in order."""
        return [Span(*item) for item in sorted(self._taken.items())]

    def fits(self, nbytes: int) -> bool:
        """Is there a hole for `nbytes` bytes?"""
        return any(hole.nbytes >= nbytes for hole in self._holes())

    def allocate(self, nbytes: int) -> int | None:
        """Take the first hole that is large enough; return its offset, None if there is none."""
        if nbytes < 1:
            raise ConfigError(f"cannot allocate {nbytes} bytes; ask for at least 1")
        for hole in self._holes():
            if hole.nbytes >= nbytes:
                self._taken[hole.start] = min(hole.start + whole_pages(nbytes), hole.stop)
                return hole.start
        return None

    def take(self, offset: int, nbytes: int) -> bool:
        """Take the range from `offset` on, if it begins a page inside a hole; return whether it did."""
        stop = offset + whole_pages(nbytes)
        for hole in self._holes():
            if hole.start <= offset and offset + nbytes <= hole.stop and not offset % PAGE:
                self._taken[offset] = min(stop, hole.stop)
                return True
        return False

    def free(self, offset: int) -> None:
        """Give back the range that `allocate` returned."""
        if self._taken.pop(offset, None) is None:
            raise ConfigError(f"nothing is allocated at offset {offset}; free each range once")

    def copy(self) -> "Arena":
        """Return an independent arena in the same state."""
        other = Arena(self.capacity)
        other._taken = dict(self._taken)
        return other

    def check_integrity(self) -> None:
        """Raise IntegrityError if ranges overlap, begin inside a page or leave the arena."""
        end = 0
        for start, stop in sorted(self._taken.items()):
            if start % PAGE or stop <= start:
                raise IntegrityError(f"a range begins inside a page or is empty: {self.spans}")
            if start < end:
                raise IntegrityError(f"ranges overlap: {self.spans}")
            end = stop
        if end > self.capacity or min(self._taken, default=0) < 0:
            raise IntegrityError(f"a range lies outside {self.capacity} bytes: {self.spans}")

    def _holes(self) -> Iterator[Span]:
        """What lies between the taken ranges, in order."""
        end = 0
        for span in self.spans:
            if span.start > end:
                yield Span(end, span.start)
            end = span.stop
        if end < self.capacity:
            yield Span(end, self.capacity)


def whole_pages(nbytes: int) -> int:
    """Return what `nbytes` take in an arena."""
    return -(-nbytes // PAGE) * PAGE
