"""Links inside one host: the writer maps the peer's memfd and copies straight into it.

The stream (a Unix socket in the abstract namespace: no file to leak) carries only frames, replies and, once
per grant and link, the descriptor of the region. A descriptor is of a whole region, and a mapping cannot be
taken back: the owner asks the writer to let go of a key, and refuses what comes under it; the rest is up to
the writer.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable

from lambdascale.errors import ConfigError
from lambdascale.transport.base import Lane
from lambdascale.transport.copying import copy
from lambdascale.transport.dock import Dock
from lambdascale.transport.grants import Grant, Span
from lambdascale.transport.handshake import Guest
from lambdascale.transport.incoming import Incoming
from lambdascale.transport.memory import MemoryRegion, Window
from lambdascale.transport.outgoing import Job, LinkCallback, StreamLink
from lambdascale.transport.pacing import Port
from lambdascale.transport.threaded import ThreadedTransport
from lambdascale.transport.threads import shut_down
from lambdascale.transport.wire import Frame, Kind, Reply, Status, outside, ungranted


class ShmLink(StreamLink):
    """Copies payloads into the peer's memory, then sends the frame."""

    def __init__(
        self, sock: socket.socket, peer: int, lane: Lane, egress: Port, on_end: LinkCallback
    ) -> None:
        self._windows: dict[int, Window] = {}  # by what tells regions of this host apart
        self._granted: dict[int, Span] = {}  # by key
        self._mapped: dict[int, Window] = {}  # by key, until what was posted under it is written
        self._asking: int | None = None
        super().__init__(sock, peer, lane, egress, on_end)

    async def _prepare(self, key: int, offset: int, nbytes: int) -> None:
        if key not in self._granted:
            await self._ask(key)
        low, size = self._granted[key]
        if not low <= offset <= offset + nbytes <= low + size:
            raise outside(self.peer, offset, nbytes)

    async def _ask(self, key: int) -> None:
        self._asking = key
        frame = Frame(Kind.MAP, 0, next(self._seq), key, 0, 0)
        reply, descriptor = await self._answer_to(self._post(frame))
        if reply.status is not Status.REGION:
            raise ungranted(self.peer)
        window = self._window(descriptor)
        if window.nbytes < reply.offset + reply.nbytes:
            self._stop("it passed a smaller region than it granted")
            self._require_alive()
        if self._asking != key:
            raise ungranted(self.peer)  # it was revoked right after it had been granted
        self._granted[key], self._mapped[key] = (reply.offset, reply.nbytes), window

    def _window(self, descriptor: int) -> Window:
        region = os.fstat(descriptor).st_ino
        if region in self._windows:
            os.close(descriptor)
        else:
            self._windows[region] = Window(descriptor)
        return self._windows[region]

    def _revoked(self, key: int) -> None:
        """Write nothing more under `key`; say so once what has been posted is written."""
        self._granted.pop(key, None)
        if self._asking == key:
            self._asking = None
        frame = Frame(Kind.RELEASED, 0, next(self._seq), key, 0, 0)
        self._jobs.put(Job(0.0, 0.0, frame, memoryview(b"")))

    def _move(self, job: Job) -> None:
        frame = job.frame
        if frame.kind is Kind.WRITE:  # the first one maps the window, also if it is empty
            view = self._mapped[frame.key].view
            copy(view[frame.offset : frame.offset + frame.nbytes], job.payload)
        elif frame.kind is Kind.RELEASED:
            self._mapped.pop(frame.key, None)
        if self._wait_until(job.due):
            self._sock.sendall(frame.pack())

    def _finish(self) -> None:
        self._granted.clear()
        self._mapped.clear()
        for window in self._windows.values():
            window.close()
        self._windows.clear()
        super()._finish()


class ShmIncoming(Incoming):
    """The payload is in place before its frame comes."""

    def __init__(
        self, sock: socket.socket, guest: Guest, dock: Dock, on_end: Callable[[Incoming], None]
    ) -> None:
        self._shared: dict[int, None] = {}  # keys that the peer holds
        super().__init__(sock, guest, dock, on_end)

    def _take(self, nbytes: int, into: memoryview | None) -> None:
        return

    def _pass(self, frame: Frame, grant: Grant, region: MemoryRegion) -> None:
        self._shared[frame.key] = None
        reply = Reply(Status.REGION, frame.seq, *grant.hull)
        socket.send_fds(self._sock, [reply.pack()], [region.descriptor])

    def _released(self, key: int) -> None:
        self._shared.pop(key, None)

    async def withdraw(self, key: int) -> None:
        """Ask the peer to let go of a key."""
        await self._handled(key)
        if key in self._shared:
            self._ask_back(key)
            await self._until(lambda: key not in self._shared)

    def _ask_back(self, key: int) -> None:
        try:
            self._sock.send(Reply(Status.REVOKED, key).pack(), socket.MSG_DONTWAIT)
        except OSError:  # it reads nothing, or is gone
            shut_down(self._sock)


class ShmTransport(ThreadedTransport):
    """The `shm` body; its address is a name in the abstract namespace, after an at sign."""

    link_type = ShmLink
    incoming_type = ShmIncoming

    def _listen(self) -> tuple[socket.socket, str]:
        listener = _make_socket()
        name = f"lambdascale-{secrets.token_hex(8)}"
        listener.bind(f"\0{name}")
        return listener, f"@{name}"

    async def _dial(self, address: str) -> socket.socket:
        if not address.startswith("@"):
            raise ConfigError(f"shm address is {address!r}; it must start with @")
        sock = _make_socket()
        try:
            await asyncio.get_running_loop().sock_connect(sock, f"\0{address[1:]}")
        except BaseException:
            sock.close()
            raise
        return sock


def _make_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock
