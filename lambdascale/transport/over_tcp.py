"""Transports whose links begin as TCP connections: listening, dialling, and noticing a silent loss.

If the other end has not answered for `SILENCE_SECONDS`, a connection fails although nobody closed it (a cable
pulled, a host without power). The kernel watches where nothing is under way, and where only little is: the
answers of an end that listened. Where much is, TCP_USER_TIMEOUT would take a receiver that is merely slow for
dead; there a `Silence` is asked.
"""

import asyncio
import socket
import struct
import time

from lambdascale.errors import ConfigError
from lambdascale.transport.dock import Dock
from lambdascale.transport.stream import StreamTransport

SILENCE_SECONDS = 3
CHECK_SECONDS = 0.5
_U32 = struct.Struct("=I")
_UNACKED, _LAST_ACK_RECEIVED, _INFO_BYTES = 24, 56, 104  # in linux/tcp.h's struct tcp_info


class OverTcp(StreamTransport):
    """`host` is the address of the interface to listen on, and what peers dial."""

    buffer_bytes = 0  # of a socket, each way; 0 leaves it to the kernel

    def __init__(self, dock: Dock, secret: bytes, host: str) -> None:
        super().__init__(dock, secret)
        self._host = host

    def _listen(self) -> tuple[socket.socket, str]:
        listener = self._make_socket()
        limit_answers(listener)  # what it accepts inherits it
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


def limit_answers(sock: socket.socket) -> None:
    """Let a connection fail if what it sends, which is little, is not acknowledged."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_SECONDS * 1000)


class Silence:
    """Tells whether what a connection has sent stays unacknowledged; asked every `CHECK_SECONDS`.

    A receiver whose buffers are full still acknowledges the kernel's probes.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._since = time.monotonic()

    def is_loss(self) -> bool:
        """Has nothing come for `SILENCE_SECONDS` in which something was under way?"""
        info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        (unacknowledged,) = _U32.unpack_from(info, _UNACKED)
        (last_ms,) = _U32.unpack_from(info, _LAST_ACK_RECEIVED)
        if not unacknowledged or last_ms < CHECK_SECONDS * 1000:
            self._since = time.monotonic()
        return time.monotonic() - self._since > SILENCE_SECONDS
