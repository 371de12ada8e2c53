"""The best way to each peer: shm on one host, else rdma if both have it, else tcp.

A node listens in every way it can; its address names them all, and what tells one host from another. Regions,
inbox and imposed rate are the node's, not the way's, so peers of every kind write the same memory.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec

from lambdascale.errors import ConfigError
from lambdascale.transport.base import Lane, Link, Region
from lambdascale.transport.dock import Dock
from lambdascale.transport.docked import Docked
from lambdascale.transport.stream import StreamTransport

SHM = "shm"
BOOT = Path("/proc/sys/kernel/random/boot_id")
NETWORK = Path("/proc/self/ns/net")  # what shm addresses are names in


class Addresses(msgspec.Struct, frozen=True):
    """Where a node can be reached: its host, and an address for each way."""

    host: str
    ways: dict[str, str]


def this_host() -> str:
    """Return what processes have in common that can use `shm` with one another."""
    return f"{BOOT.read_text(encoding='ascii').strip()}/{NETWORK.readlink()}"


class AutoTransport(Docked):
    """A `Transport` of several bodies on one dock, best first; the one that makes regions is `maker`.

    `host` is what `this_host` says.
    """

    def __init__(
        self, dock: Dock, bodies: Mapping[str, StreamTransport], maker: StreamTransport, host: str
    ) -> None:
        super().__init__(dock)
        self._bodies = MappingProxyType(dict(bodies))
        self._maker = maker
        self._host = host

    @property
    def address(self) -> str:
        ways = {name: body.address for name, body in self._bodies.items()}
        return msgspec.json.encode(Addresses(self._host, ways)).decode()

    async def register(self, key: int, nbytes: int, touched: bool = True) -> Region:
        return await self._maker.register(key, nbytes, touched)

    async def connect(self, peer: int, address: str, lane: Lane) -> Link:
        try:
            theirs = msgspec.json.decode(address, type=Addresses)
        except msgspec.DecodeError as error:
            raise ConfigError(f"auto address is {address!r}; it must be one of `auto`") from error
        way = choose([*self._bodies], [*theirs.ways], same_host=theirs.host == self._host)
        return await self._bodies[way].connect(peer, theirs.ways[way], lane)

    async def close(self) -> None:
        """The maker goes last: the regions are its."""
        self.dock.shut()
        for body in self._bodies.values():
            if body is not self._maker:
                await body.leave()
        await self._maker.close()


def choose(ours: Sequence[str], theirs: Sequence[str], same_host: bool) -> str:
    """Return the first of our ways, best first, that the peer has too; ConfigError if there is none.

    >>> choose(["shm", "rdma", "tcp"], ["shm", "tcp"], same_host=False)
    'tcp'
    """
    for way in ours:
        if way in theirs and (same_host or way != SHM):
            return way
    raise ConfigError(f"a peer has {', '.join(theirs)}, we {', '.join(ours)}; start both alike")
