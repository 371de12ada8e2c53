"""What a region without memory holds: which bytes of which content lie where (architecture.md, "sized").

A content is a 64-bit name: of a file, or of bytes that were written. An extent says that bytes
[offset, stop) here are bytes [start, start + stop − offset) of that content. Neighbours that continue
each other are joined, so the state, and hence a checksum, does not depend on how the bytes were cut.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

import xxhash

_PACKED = struct.Struct("<4Q")


class Extent(NamedTuple):
    """Bytes [offset, stop) are bytes [start, …) of `content`."""

    offset: int
    stop: int
    content: int
    start: int

    def clip(self, low: int, high: int) -> "Extent":
        """Return the part of it in [low, high)."""
        offset = max(self.offset, low)
        return Extent(offset, min(self.stop, high), self.content, self.start + offset - self.offset)

    def move(self, distance: int) -> "Extent":
        """Return it `distance` bytes further on."""
        return self._replace(offset=self.offset + distance, stop=self.stop + distance)

    def continues(self, other: "Extent") -> bool:
        """Say whether it is the next bytes of the same content right behind `other`."""
        start = other.start + other.stop - other.offset
        return (self.offset, self.content, self.start) == (other.stop, other.content, start)


class ExtentMap:
    """Extents in order, never overlapping; what no extent covers is unknown."""

    def __init__(self) -> None:
        self._extents: list[Extent] = []

    def cut(self, low: int, high: int) -> list[Extent]:
        """Return what is known of [low, high)."""
        first, last = self._touched(low, high)
        return [extent.clip(low, high) for extent in self._extents[first:last]]

    def put(self, low: int, high: int, extents: Iterable[Extent]) -> None:
        """Replace all that is known of [low, high) by `extents`."""
        first, last = self._touched(low, high)
        first, last = max(first - 1, 0), last + 1  # neighbours may join
        near = self._extents[first:last]
        before = [e.clip(e.offset, low) for e in near if e.offset < low]
        after = [e.clip(high, e.stop) for e in near if e.stop > high]
        self._extents[first:last] = _joined([*before, *extents, *after])

    def checksum(self, low: int, high: int) -> int:
        """Return a 64-bit name of the content of [low, high); a gap in it makes another name."""
        digest = xxhash.xxh3_64()
        for offset, stop, content, start in self.cut(low, high):
            digest.update(_PACKED.pack(offset - low, stop - offset, content, start))
        return digest.intdigest()

    def _touched(self, low: int, high: int) -> tuple[int, int]:
        """The index range of extents that share a byte with [low, high)."""
        first = bisect_right(self._extents, low, key=lambda e: e.stop)
        return first, max(first, bisect_left(self._extents, high, key=lambda e: e.offset))


def _joined(extents: Iterable[Extent]) -> list[Extent]:
    joined: list[Extent] = []
    for extent in extents:
        if joined and extent.continues(joined[-1]):
            joined[-1] = joined[-1]._replace(stop=extent.stop)
        else:
            joined.append(extent)
    return joined
