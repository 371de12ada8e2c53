"""What travels on a link's stream: frames to the receiver, replies back. Values and layouts, no I/O.

writer → receiver   Frame(WRITE) [payload, tcp only]   · shm: Frame(MAP) "pass me what this key grants"
receiver → writer   Reply(DONE | UNGRANTED | OUTSIDE)  · shm: Reply(REGION) with the descriptor beside it
shm, when a grant ends: Reply(REVOKED), `seq` is its key → Frame(RELEASED), nothing more comes under it
"""

import struct
from enum import IntEnum
from typing import NamedTuple, Self

from lambdascale.errors import ConfigError, GrantError
from lambdascale.transport.base import Region


class Kind(IntEnum):
    """What a frame asks for."""

    WRITE = 1
    MAP = 2
    RELEASED = 3


class Status(IntEnum):
    """What became of a frame."""

    DONE = 0
    UNGRANTED = 1
    OUTSIDE = 2
    REGION = 3
    REVOKED = 4


_FRAME = struct.Struct("<B3xIQQQQ")
_REPLY = struct.Struct("<B7xQQQ")


class Frame(NamedTuple):
    """A request on what the receiver grants by `key`; `seq` comes back in its reply. Little endian."""

    kind: Kind
    tag: int
    seq: int
    key: int
    offset: int
    nbytes: int

    def pack(self) -> bytes:
        return _FRAME.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview) -> Self:
        """Read a frame; raise ConnectionError if the peer does not speak this protocol."""
        kind, *rest = _FRAME.unpack(data)
        if kind not in (Kind.WRITE, Kind.MAP, Kind.RELEASED):
            raise ConnectionError(f"unknown frame kind {kind}")
        return cls(Kind(kind), *rest)


class Reply(NamedTuple):
    """The answer to frame `seq`; with a region, where what is granted of it begins and how long it is."""

    status: Status
    seq: int
    offset: int = 0
    nbytes: int = 0

    def pack(self) -> bytes:
        return _REPLY.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview) -> Self:
        """Read a reply; raise ConnectionError if the peer does not speak this protocol."""
        status, *rest = _REPLY.unpack(data)
        if status > Status.REVOKED:
            raise ConnectionError(f"unknown reply status {status}")
        return cls(Status(status), *rest)


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
    peer: int, source: Region, offset: int, nbytes: int, key: int, target_offset: int, tag: int
) -> None:
    """Raise ConfigError if a write to `peer` is refused whatever the peer grants."""
    check_unsigned("tag", tag, 32)
    check_unsigned("the key of a grant", key, 64)
    check_range(f"region {source.key}", offset, nbytes, source.nbytes)
    check_range(f"a region of node {peer}", target_offset, nbytes, 1 << 64)


def ungranted(peer: int) -> GrantError:
    """Return the error for a key under which the peer grants nothing."""
    return GrantError(
        f"node {peer} grants nothing under this key, or no more; let it grant the range before writing to it"
    )


def outside(peer: int, offset: int, nbytes: int) -> ConfigError:
    """Return the error for a range that a living key does not cover."""
    return ConfigError(
        f"bytes [{offset}, {offset + nbytes}) are not what node {peer} grants of its region under this key; "
        "write within the granted range"
    )


def check_unsigned(what: str, value: int, bits: int) -> None:
    """Raise ConfigError unless `value` fits an unsigned field of `bits` bits."""
    if not 0 <= value < 1 << bits:
        raise ConfigError(f"{what} is {value}; it must be in [0, 2^{bits})")
