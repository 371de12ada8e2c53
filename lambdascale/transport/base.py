"""The transport: one-sided writes between registered regions, each with a notification.

Nobody may write what its owner has not granted: a grant is ranges of a region, under a key (decision 0014).

Bodies: `shm` (same host), `tcp`; the simulated one lives in `sim`. One conformance test holds for all.
The model follows RDMA WRITE with immediate: the receiver's processor takes no part in placing the bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

LOOPBACK = "127.0.0.1"  # where a node listens that is told nothing else


class Lane(IntEnum):
    """Which queue a link uses.

    BULK carries blocks; EXPRESS carries activations and tags, which do not wait behind blocks.
    """

    BULK = 0
    EXPRESS = 1


@dataclass(frozen=True, slots=True)
class Notice:
    """A peer's write of `nbytes` at `offset` of our region `region` is complete and visible.

    `tag` is the number the peer attached to it.
    """

    peer: int
    tag: int
    region: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A peer that had connected to us is gone; nothing more will arrive from it on that link."""

    peer: int
    lane: Lane


class Region(Protocol):
    """Registered memory, of which peers may write what is granted; `key` is its number here.

    The transport owns the memory until it is closed. `view` is writable and stable: engines alias it,
    also while pages come and go under it. Ranges that do not lie inside raise ConfigError.
    """

    @property
    def key(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def view(self) -> memoryview: ...
    async def checksum(self, offset: int, nbytes: int) -> int:
        """Return the 64-bit checksum of a range without blocking the event loop."""
        ...

    async def touch(self, offset: int, nbytes: int) -> None:
        """Make the pages of a range present, so that no write has to wait for them; bytes stay as they are.

        Raises ConfigError if there is no memory for them.
        """
        ...

    async def release(self, offset: int, nbytes: int) -> None:
        """Give the pages of a range back to the operating system; its bytes are zero afterwards.

        The range is unused: nobody reads or writes it meanwhile, peers included. It may be used again
        at any time, and pages come as it is.
        """
        ...


class Link(Protocol):
    """A connection to one peer. Writes on one link are delivered in the order they were posted."""

    @property
    def peer(self) -> int: ...
    async def write(
        self, source: Region, offset: int, nbytes: int, key: int, target_offset: int, tag: int
    ) -> None:
        """Write bytes [offset, offset + nbytes) of `source` into the region that the peer granted by `key`.

        Returns when the peer has them and its notice is queued; until then the source range must not
        change. A length of 0 only notifies (`tag` is an unsigned 32-bit number). Several writes may be
        in flight. Raises PeerGoneError within a second of the peer's death, GrantError if the peer grants
        nothing under `key` (any more), and ConfigError if a range is not inside the source or the grant.
        """
        ...

    async def close(self) -> None: ...


class Transport(Protocol):
    """One node's end of the data plane. `node` is its name, `address` what peers pass to `connect`."""

    @property
    def node(self) -> int: ...
    @property
    def address(self) -> str: ...
    async def register(self, key: int, nbytes: int, touched: bool = True) -> Region:
        """Allocate and register zeroed memory as number `key`; nobody may write it until it is granted.

        All its pages are present, unless `touched` is false: then it is address space alone, and pages
        come when they are touched or used.
        """
        ...

    def grant(self, key: int, region: int, spans: Sequence[tuple[int, int]]) -> None:
        """Let whoever names `key` write ranges (offset, nbytes) of a region, ascending and disjoint.

        Raises ConfigError if they do not lie inside, or if the key is in use.
        """
        ...

    async def revoke(self, key: int) -> None:
        """End a grant, if there is one; when this returns nothing lands under it any more."""
        ...

    def renew(self) -> None:
        """Begin another life: those that have fenced this node accept the links that it opens from now on."""
        ...

    async def fence(self, peer: int) -> None:
        """End the links that `peer` has opened, and accept none from that life of it; another one may come.

        When this returns nothing more of it lands, also of what was on its way.
        """
        ...

    async def connect(self, peer: int, address: str, lane: Lane) -> Link:
        """Open a link to `peer`; raises PeerGoneError if nobody answers, AuthError on a wrong secret."""
        ...

    async def receive(self) -> Notice | PeerLost:
        """Return the next notice from any peer (one consumer at a time)."""
        ...

    async def close(self) -> None:
        """Close all links and release all regions, threads and descriptors; pending writes fail."""
        ...
