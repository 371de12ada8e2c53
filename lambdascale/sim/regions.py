"""Simulated regions: backed (bytes, like any other) or sized (a 70B without memory).

Both say what they hold by a `fingerprint`: xxh3 of the bytes, or the name of the content that the
extents describe. So a missing, stale or corrupt block shows in either kind.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice

import numpy as np
import xxhash

from lambdascale.errors import ConfigError
from lambdascale.sim.extents import Extent, ExtentMap
from lambdascale.transport.base import Region

Span = tuple[int, int]  # offset, nbytes
REMEMBERED = 1024  # changes of a region; who looks more seldom takes all of it for changed
FLIPPED = 1 << 63  # a content with this bit turned is not that content


class BackedRegion:
    """A region with bytes."""

    def __init__(self, key: int, nbytes: int) -> None:
        self.key = key
        self.nbytes = nbytes
        self.view = np.zeros(nbytes, np.uint8).data  # pages come when they are used

    async def checksum(self, offset: int, nbytes: int) -> int:
        return self.fingerprint(offset, nbytes)

    async def touch(self, offset: int, nbytes: int) -> None:
        check_range(self, offset, nbytes)  # its bytes are always there

    async def release(self, offset: int, nbytes: int) -> None:
        check_range(self, offset, nbytes)
        self.fill(offset, bytes(nbytes))

    def fingerprint(self, offset: int, nbytes: int) -> int:
        """Return the checksum at once."""
        check_range(self, offset, nbytes)
        return fingerprint(self, offset, nbytes)

    def fill(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` at `offset`."""
        check_range(self, offset, len(data))
        self.view[offset : offset + len(data)] = data

    def flip(self, offset: int) -> None:
        """Corrupt the byte at `offset`; twice restores it."""
        self.view[offset] ^= 0x80


class SizedRegion:
    """A region without bytes: it knows what its ranges would contain."""

    def __init__(self, key: int, nbytes: int) -> None:
        self.key = key
        self.nbytes = nbytes
        self.version = 0  # how often the content has changed
        self._changes: deque[Span] = deque(maxlen=REMEMBERED)
        self._map = ExtentMap()

    @property
    def view(self) -> memoryview:
        raise ConfigError(
            f"region {self.key} is sized ({self.nbytes} bytes without memory); "
            "raise `sized_above` of its transport to back it with bytes"
        )

    async def checksum(self, offset: int, nbytes: int) -> int:
        return self.fingerprint(offset, nbytes)

    async def touch(self, offset: int, nbytes: int) -> None:
        check_range(self, offset, nbytes)  # there are no pages

    async def release(self, offset: int, nbytes: int) -> None:
        self.put(offset, nbytes, [])

    def fingerprint(self, offset: int, nbytes: int) -> int:
        """Return the checksum at once."""
        check_range(self, offset, nbytes)
        return self._map.checksum(offset, offset + nbytes)

    def put(self, offset: int, nbytes: int, extents: list[Extent]) -> None:
        """Replace what the range contains by `extents`, which lie in it."""
        check_range(self, offset, nbytes)
        self._map.put(offset, offset + nbytes, extents)
        self._changes.append((offset, nbytes))
        self.version += 1

    def changes_since(self, version: int) -> Sequence[Span]:
        """Return what has changed since then, the last first; all of it if that is too long ago."""
        missed = self.version - version
        if missed > len(self._changes):
            return ((0, self.nbytes),)
        return tuple(islice(reversed(self._changes), missed))

    def cut(self, offset: int, nbytes: int) -> list[Extent]:
        """Return what is known of the range."""
        return self._map.cut(offset, offset + nbytes)

    def flip(self, offset: int) -> None:
        """Corrupt the byte at `offset`; twice restores it."""
        flipped = [e._replace(content=e.content ^ FLIPPED) for e in self.cut(offset, 1)]
        self.put(offset, 1, flipped)


SimRegion = BackedRegion | SizedRegion


def new_region(key: int, nbytes: int, sized_above: int | None) -> SimRegion:
    """Make a backed region, or a sized one if it has more than `sized_above` bytes."""
    if sized_above is not None and nbytes > sized_above:
        return SizedRegion(key, nbytes)
    return BackedRegion(key, nbytes)


def check_range(region: Region, offset: int, nbytes: int) -> None:
    """Raise ConfigError unless [offset, offset + nbytes) lies inside `region`."""
    if offset < 0 or nbytes < 0 or offset + nbytes > region.nbytes:
        raise ConfigError(
            f"range [{offset}, {offset + nbytes}) does not lie inside region {region.key} "
            f"of {region.nbytes} bytes"
        )


def fingerprint(region: Region, offset: int, nbytes: int) -> int:
    """Return the 64-bit name of what a region of any transport holds in a range, now."""
    if isinstance(region, SizedRegion):
        return region.fingerprint(offset, nbytes)
    return xxhash.xxh3_64_intdigest(region.view[offset : offset + nbytes])


def clear(region: Region, offset: int, nbytes: int) -> None:
    """Make a range of `region` contain nothing: bytes are zero."""
    if isinstance(region, SizedRegion):
        region.put(offset, nbytes, [])
    else:
        region.view[offset : offset + nbytes] = bytes(nbytes)


def copy(source: Region, offset: int, nbytes: int, target: Region, target_offset: int) -> None:
    """Make a range of `target` contain what a range of `source` contains."""
    if not isinstance(target, SizedRegion):
        target.view[target_offset : target_offset + nbytes] = source.view[offset : offset + nbytes]
    elif isinstance(source, SizedRegion):
        known = [e.move(target_offset - offset) for e in source.cut(offset, nbytes)]
        target.put(target_offset, nbytes, known)
    else:
        name = fingerprint(source, offset, nbytes)
        target.put(target_offset, nbytes, whole(target_offset, nbytes, name, 0))


def whole(offset: int, nbytes: int, content: int, start: int) -> list[Extent]:
    """One extent over [offset, offset + nbytes), or none for an empty range."""
    return [Extent(offset, offset + nbytes, content, start)] if nbytes else []
