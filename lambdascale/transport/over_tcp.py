"""Transports whose links begin as TCP connections: listening, dialling, and noticing a silent loss.

The kernel watches connections on which nothing is under way: if the other end has not answered for
`SILENCE_SECONDS`, the connection fails, although nobody closed it (a pulled cable, a host without power).
Bytes under way are not timed (TCP_USER_TIMEOUT), since a receiver that is merely slow would count as dead.
"""

import asyncio
import socket

from lambdascale.errors import ConfigError
from lambdascale.transport.dock import Dock
from lambdascale.transport.stream import StreamTransport

SILENCE_SECONDS = 3


class OverTcp(StreamTransport):
    """`host` is the address of the interface to listen on, and what peers dial."""

    buffer_bytes = 0  # of a socket, each way; 0 leaves it to the kernel

    def __init__(self, dock: Dock, secret: bytes, host: str) -> None:
        super().__init__(dock, secret)
        self._host = host

    def _listen(self) -> tuple[socket.socket, str]:
        listener = self._make_socket()
        try:
            listener.bind((self._host, 0))
        except OSError as error:
            listener.close()
            raise ConfigError(f"cannot listen on {self._host}: {error.strerror}") from error
        return listener, f"{self._host}:{listener.getsockname()[1]}"

    async def _dial(self, address: str) -> socket.socket:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigError(f"address is {address!r}; it must be host:port")
        sock = self._make_socket()
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        except BaseException:
            sock.close()
            raise
        return sock

    def _make_socket(self) -> socket.socket:
        """Return a non-blocking socket; what a listener accepts has its options."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _watch(sock)
        if self.buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer_bytes)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer_bytes)
        sock.setblocking(False)
        return sock


def _watch(sock: socket.socket) -> None:
    """Let the kernel end an idle connection whose other end is silent: probes each second after the first."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, SILENCE_SECONDS - 1)
