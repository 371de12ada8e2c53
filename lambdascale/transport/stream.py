"""What the real transports share: listening, the handshake, and closing.

A body says how to listen and dial, and makes the ends of links. Everything here runs on the event loop
that opened it, except a small pool for checksums and pages.
"""

import asyncio
import logging
import socket
from abc import ABC, abstractmethod
from concurrent.futures import Executor
from typing import Protocol, Self

from lambdascale.errors import LambdaScaleError, PeerGoneError
from lambdascale.transport.auth import check_secret
from lambdascale.transport.base import Lane, Link
from lambdascale.transport.dock import Dock, Follower
from lambdascale.transport.docked import Docked
from lambdascale.transport.handshake import Guest, admit, introduce
from lambdascale.transport.memory import MemoryRegion

HANDSHAKE_SECONDS = 20.0  # all nodes connect to all at once, and queue pairs take their time
_BACKLOG = 1024
_log = logging.getLogger(__name__)


class End(Protocol):
    """One end of a link, ours or a peer's, as its transport sees it."""

    async def close(self) -> None: ...


class StreamTransport(Docked, ABC):
    """A `Transport` whose links begin on stream sockets; what a node has is in its `dock`."""

    def __init__(self, dock: Dock, secret: bytes) -> None:
        super().__init__(dock)
        self.address = ""
        self._secret = check_secret(secret)
        self._ends: dict[End, None] = {}
        self._greetings: dict[asyncio.Task[None], None] = {}
        self._listener: socket.socket | None = None
        self._door: asyncio.Task[None] | None = None
        self._closed = False

    @abstractmethod
    def _listen(self) -> tuple[socket.socket, str]:
        """Return a bound, non-blocking socket and the address that peers dial."""

    @abstractmethod
    async def _dial(self, address: str) -> socket.socket:
        """Return a connected, non-blocking socket. Raises ConfigError, OSError."""

    @abstractmethod
    async def _lead(self, sock: socket.socket, peer: int, lane: Lane) -> Link:
        """Make the writing end of a link, over a socket on which both have proved the secret.

        Raises OSError, ConfigError.
        """

    @abstractmethod
    async def _follow(self, sock: socket.socket, guest: Guest) -> Follower:
        """Make the receiving end of a link. Raises OSError, ConfigError."""

    async def open(self) -> Self:
        """Start to listen on the running event loop; return self."""
        self._listener, self.address = self._listen()
        self._listener.listen(_BACKLOG)
        self._door = asyncio.create_task(self._accept_forever(self._listener))
        return self

    async def register(self, key: int, nbytes: int, touched: bool = True) -> MemoryRegion:
        return await self.dock.register(key, nbytes, touched, self._allocate)

    def _allocate(self, key: int, nbytes: int, touched: bool, pool: Executor) -> MemoryRegion:
        """Make the memory of a region, on a thread of the pool. Raises ConfigError."""
        return MemoryRegion.allocate(key, nbytes, pool, touched)

    async def connect(self, peer: int, address: str, lane: Lane) -> Link:
        self.dock.require_open()
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                link = await self._open_link(peer, address, lane)
        except TimeoutError as error:
            raise PeerGoneError(peer, f"no answer within {HANDSHAKE_SECONDS:g} s") from error
        except OSError as error:
            raise PeerGoneError(peer, error.strerror or str(error)) from error
        self._ends[link] = None
        return link

    async def _open_link(self, peer: int, address: str, lane: Lane) -> Link:
        sock = await self._dial(address)
        try:
            await introduce(sock, self._secret, self.node, self.dock.epoch, peer, lane)
            self.dock.require_open()
            return await self._lead(sock, peer, lane)
        except BaseException:
            sock.close()
            raise

    async def _accept_forever(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:
                _log.warning("node %d cannot accept: %s", self.node, error.strerror)
                await asyncio.sleep(0.1)
                continue
            task = asyncio.create_task(self._greet(sock))
            self._greetings[task] = None
            task.add_done_callback(self._greetings.pop)

    async def _greet(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                guest = await admit(sock, self._secret, self.node, self.dock.epoch)
                end = await self._follow(sock, guest)
        except (LambdaScaleError, OSError) as error:
            _log.warning("node %d refused a connection: %s", self.node, error)
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise
        else:
            self._ends[end] = None
            self.dock.follow(end)
            if self.dock.is_fenced(guest):
                await end.close()

    async def close(self) -> None:
        self.dock.shut()
        await self.leave()
        self.dock.clear()

    async def leave(self) -> None:
        """Close what is this body's own: its door and the ends of its links. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._stop_listening()
            await asyncio.gather(*(end.close() for end in [*self._ends]))

    async def _stop_listening(self) -> None:
        tasks = [*self._greetings] if self._door is None else [self._door, *self._greetings]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

    def _forget(self, end: End) -> None:
        self._ends.pop(end, None)

    def _part(self, end: Follower) -> None:
        self._forget(end)
        self.dock.unfollow(end)
