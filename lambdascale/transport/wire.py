"""What travels on a link's stream: frames to the receiver, replies back. Values and layouts, no I/O.

writer → receiver   Frame(WRITE) [payload, tcp only]  · Frame(MAP) (shm: "pass me this region")
receiver → writer   Reply(DONE | UNKNOWN | OUTSIDE)   · Reply(REGION) with the descriptor beside it
"""

import struct
from enum import IntEnum
from typing import NamedTuple, Self

from lambdascale.errors import ConfigError
from lambdascale.transport.base import Region


class Kind(IntEnum):
    """What a frame asks for."""

    WRITE = 1
    MAP = 2


class Status(IntEnum):
    """What became of a frame."""

    DONE = 0
    UNKNOWN = 1
    OUTSIDE = 2
    REGION = 3


_FRAME = struct.Struct("<B3xIQQQQ")
_REPLY = struct.Struct("<B7xQQ")


class Frame(NamedTuple):
    """A request on `region` of the receiver; `seq` comes back in its reply. Little endian, 40 bytes."""

    kind: Kind
    tag: int
    seq: int
    region: int
    offset: int
    nbytes: int

    def pack(self) -> bytes:
        return _FRAME.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview) -> Self:
        """Read a frame; raise ConnectionError if the peer does not speak this protocol."""
        kind, *rest = _FRAME.unpack(data)
        if kind not in (Kind.WRITE, Kind.MAP):
            raise ConnectionError(f"unknown frame kind {kind}")
        return cls(Kind(kind), *rest)


class Reply(NamedTuple):
    """The answer to frame `seq`; `nbytes` is the size of the region, 0 if it is unknown."""

    status: Status
    seq: int
    nbytes: int

    def pack(self) -> bytes:
        return _REPLY.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview) -> Self:
        """Read a reply; raise ConnectionError if the peer does not speak this protocol."""
        status, seq, nbytes = _REPLY.unpack(data)
        if status > Status.REGION:
            raise ConnectionError(f"unknown reply status {status}")
        return cls(Status(status), seq, nbytes)


FRAME_BYTES = _FRAME.size
REPLY_BYTES = _REPLY.size


def check_range(what: str, offset: int, nbytes: int, size: int) -> None:
    """Raise ConfigError unless [offset, offset + nbytes) lies inside `what`, which has `size` bytes."""
    if offset < 0 or nbytes < 0 or offset + nbytes > size:
        raise ConfigError(
            f"bytes [{offset}, {offset + nbytes}) are not inside {what}, which has {size} bytes; "
            "write within the registered region"
        )


def check_write(
    peer: int, source: Region, offset: int, nbytes: int, target: int, target_offset: int, tag: int
) -> None:
    """Raise ConfigError if a write to `peer` is refused whatever regions the peer has."""
    check_unsigned("tag", tag, 32)
    check_unsigned("target region", target, 64)
    check_range(f"region {source.key}", offset, nbytes, source.nbytes)
    check_range(f"region {target} of node {peer}", target_offset, nbytes, 1 << 64)


def unknown_region(peer: int, key: int) -> ConfigError:
    """Return the error for a region that the peer does not have."""
    return ConfigError(f"node {peer} has no region {key}; register it there before writing to it")


def check_unsigned(what: str, value: int, bits: int) -> None:
    """Raise ConfigError unless `value` fits an unsigned field of `bits` bits."""
    if not 0 <= value < 1 << bits:
        raise ConfigError(f"{what} is {value}; it must be in [0, 2^{bits})")
