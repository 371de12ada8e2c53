"""Where a write's bytes lie and how they are divided; values only."""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

_FRAME = struct.Struct("<QQQ")
FRAME_BYTES = _FRAME.size
STRIPE_BYTES = 1 << 16  # a write is divided among rails if each gets so much
COUNTER = 1 << 32  # frames are counted modulo this: the width of immediate data


class Frame(NamedTuple):
    """What a mailbox slot says of a write: the key it is granted by, and where; its tag is the immediate."""

    key: int
    offset: int
    nbytes: int

    def pack(self) -> bytes:
        return _FRAME.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*_FRAME.unpack(data))


class Part(NamedTuple):
    """Bytes [offset, offset + nbytes) of a write, by one rail."""

    rail: int
    offset: int
    nbytes: int


def divide(nbytes: int, limits: Sequence[int]) -> Iterator[Part]:
    """Yield the parts of a write, spread evenly over rails whose messages have at most `limits` bytes.

    >>> [*divide(300_000, (131_072, 131_072))]
    [Part(rail=0, offset=0, nbytes=131072), Part(rail=0, offset=131072, nbytes=18928), \
Part(rail=1, offset=150000, nbytes=131072), Part(rail=1, offset=281072, nbytes=18928)]
    """
    rails = max(1, min(len(limits), nbytes // STRIPE_BYTES))
    for rail in range(rails):
        start, end = nbytes * rail // rails, nbytes * (rail + 1) // rails
        for offset in range(start, end, limits[rail]):
            yield Part(rail, offset, min(limits[rail], end - offset))
