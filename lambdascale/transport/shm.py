"""Links inside one host: the writer maps the peer's memfd and copies straight into it.

The stream (a Unix socket in the abstract namespace: no file to leak) carries only frames, replies and,
once per region and link, the descriptor of the region.
"""

import asyncio
import secrets
import socket

from lambdascale.errors import ConfigError
from lambdascale.transport.base import Lane
from lambdascale.transport.copying import copy
from lambdascale.transport.incoming import Incoming
from lambdascale.transport.memory import MemoryRegion, Window
from lambdascale.transport.outgoing import Job, LinkCallback, StreamLink
from lambdascale.transport.pacing import Port
from lambdascale.transport.threaded import ThreadedTransport
from lambdascale.transport.wire import Frame, Kind, Reply, Status, check_range, unknown_region


class ShmLink(StreamLink):
    """Copies payloads into the peer's memory, then sends the frame."""

    def __init__(
        self, sock: socket.socket, peer: int, lane: Lane, egress: Port, on_end: LinkCallback
    ) -> None:
        self._windows: dict[int, Window] = {}
        super().__init__(sock, peer, lane, egress, on_end)

    async def _prepare(self, target: int, offset: int, nbytes: int) -> None:
        window = self._windows.get(target)
        if window is None:
            window = self._windows[target] = await self._open_window(target)
        check_range(f"region {target} of node {self.peer}", offset, nbytes, window.nbytes)

    async def _open_window(self, target: int) -> Window:
        frame = Frame(Kind.MAP, 0, next(self._seq), target, 0, 0)
        reply, descriptor = await self._answer_to(self._post(frame))
        if reply.status is not Status.REGION:
            raise unknown_region(self.peer, target)
        return Window(descriptor, reply.nbytes)

    def _move(self, job: Job) -> None:
        frame = job.frame
        if frame.kind is Kind.WRITE:  # the first one maps the window, also if it is empty
            view = self._windows[frame.region].view
            copy(view[frame.offset : frame.offset + frame.nbytes], job.payload)
        if self._wait_until(job.due):
            self._sock.sendall(frame.pack())

    def _finish(self) -> None:
        for window in self._windows.values():
            window.close()
        self._windows.clear()
        super()._finish()


class ShmIncoming(Incoming):
    """The payload is in place before its frame comes."""

    def _take(self, nbytes: int, into: memoryview | None) -> None:
        return

    def _pass(self, reply: Reply, region: MemoryRegion) -> None:
        socket.send_fds(self._sock, [reply.pack()], [region.descriptor])


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
