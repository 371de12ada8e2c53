"""The `rdma` body: each link is a TCP connection, by which the ends meet, and a queue pair on every rail.

Rail i of one node writes to rail i of the other; a node that has more leaves its last ones idle.
"""

import functools
import socket
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack

from lambdascale.transport.base import Lane
from lambdascale.transport.dock import Dock
from lambdascale.transport.handshake import Guest
from lambdascale.transport.over_tcp import OverTcp, limit_answers
from lambdascale.transport.rdma.contact import Contact, Talk
from lambdascale.transport.rdma.incoming import RdmaIncoming
from lambdascale.transport.rdma.link import RdmaLink
from lambdascale.transport.rdma.memory import RdmaRegion
from lambdascale.transport.rdma.pair import Pair
from lambdascale.transport.rdma.ports import choose, discover
from lambdascale.transport.rdma.rail import Rail
from lambdascale.transport.rdma.verbs import Failure


class RdmaTransport(OverTcp):
    """`devices` are the rails to use, or those `near` a GPU: see `ports.choose`; `poll_s`: see `pair`."""

    def __init__(
        self,
        dock: Dock,
        secret: bytes,
        host: str,
        devices: Sequence[str] = (),
        poll_s: float = 0.0,
        near: tuple[str, ...] = (),
    ) -> None:
        super().__init__(dock, secret, host)
        self._chosen = choose(discover(), host, devices, near)
        self._poll_s = poll_s
        self._rails: list[Rail] = []

    async def open(self) -> "RdmaTransport":
        try:
            for port in self._chosen:
                self._rails.append(Rail(port, self._poll_s, self._lose))
            return await super().open()
        except BaseException:
            self._close_rails()
            raise

    def _allocate(self, key: int, nbytes: int, touched: bool, pool: Executor) -> RdmaRegion:
        """All pages are pinned, also if they need not be present."""
        return RdmaRegion.pinned(key, nbytes, pool, self._rails)

    def _make_socket(self) -> socket.socket:
        """Neither end says much on a connection."""
        sock = super()._make_socket()
        limit_answers(sock)
        return sock

    async def _lead(self, sock: socket.socket, peer: int, lane: Lane) -> RdmaLink:
        talk = await Talk.over(sock)
        link = RdmaLink(talk, peer, lane, self.dock, self._forget)
        pairs: Sequence[Pair] = ()
        try:
            pairs = _make_pairs(self._rails, True, link)
            talk.say(Contact(tuple(pair.contact for pair in pairs)))
            theirs = await talk.hear(Contact)
            link.begin(_connect(pairs, theirs))
        except BaseException:
            await _discard(pairs, talk)
            raise
        return link

    async def _follow(self, sock: socket.socket, guest: Guest) -> RdmaIncoming:
        talk = await Talk.over(sock)
        incoming = RdmaIncoming(talk, guest, self.dock, self._part)
        pairs: Sequence[Pair] = ()
        try:
            theirs = await talk.hear(Contact)
            pairs = _make_pairs(self._rails[: len(theirs.pairs)], False, incoming)
            incoming.begin(_connect(pairs, Contact(theirs.pairs[: len(pairs)])))
            talk.say(Contact(tuple(pair.contact for pair in pairs)))
        except BaseException:
            await _discard(pairs, talk)
            raise
        return incoming

    def _lose(self, rail: Rail) -> None:
        """A device is gone, and with it every link that has a queue pair on it."""
        for end in [*self._ends]:
            if isinstance(end, RdmaLink | RdmaIncoming) and end.uses(rail):
                end.stop(f"RDMA device {rail.port.device} was removed")

    async def close(self) -> None:
        await super().close()
        self._close_rails()

    def _close_rails(self) -> None:
        for rail in self._rails:
            rail.close()
        self._rails.clear()


def _make_pairs(rails: Sequence[Rail], is_leader: bool, end: RdmaLink | RdmaIncoming) -> list[Pair]:
    """Make a queue pair on each rail; raises ConfigError."""
    with ExitStack() as stack:
        pairs = []
        for number, rail in enumerate(rails):
            pairs.append(Pair(rail, is_leader, functools.partial(end.on_completion, number)))
            stack.callback(pairs[-1].close)
        stack.pop_all()
        return pairs


def _connect(pairs: Sequence[Pair], theirs: Contact) -> Sequence[Pair]:
    """Connect those that the peer has a partner for, close the others; raises ConnectionError."""
    used = pairs[: len(theirs.pairs)]
    for pair in pairs[len(used) :]:
        pair.close()
    try:
        for pair, contact in zip(used, theirs.pairs, strict=True):
            pair.connect(contact)
    except Failure as error:
        raise ConnectionError(f"the queue pairs cannot be connected: {error}") from error
    return used


async def _discard(pairs: Sequence[Pair], talk: Talk) -> None:
    for pair in pairs:
        pair.close()
    await talk.close()
