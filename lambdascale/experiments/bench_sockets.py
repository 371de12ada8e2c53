"""The reference of the multicast bench: the same schedule over plain sockets, as a short program would.

Raw bytes in schedule order, a thread per connection end: no frames, no replies, no pacing, no errors
but a lost peer. What our tcp body costs more than this is the price of its contract.
"""

import socket
import threading
from collections.abc import Sequence

from lambdascale.errors import PeerGoneError
from lambdascale.multicast.schedule import Schedule
from lambdascale.transport.tcp import BUFFER_BYTES


class SocketLane:
    """The schedule over plain sockets: a thread per connection end, no frames, no replies."""

    def __init__(self, node: int, schedule: Schedule, blocks: Sequence[memoryview]) -> None:
        self._node = node
        self._sends = schedule.sends_of(node)
        self._receives = schedule.receives_of(node)
        self._blocks = blocks
        self._out: dict[int, socket.socket] = {}
        self._in: dict[int, socket.socket] = {}
        self._listener = _plain_socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def connect(self, ports: Sequence[int]) -> None:
        """Open one connection per ordered pair of nodes in the schedule."""
        for peer in sorted({t.dst for t in self._sends}):
            self._out[peer] = sock = _plain_socket()
            sock.connect(("127.0.0.1", ports[peer]))
            sock.sendall(bytes([self._node]))
        for _ in {t.src for t in self._receives}:
            sock, _address = self._listener.accept()
            self._in[sock.recv(1)[0]] = sock

    def multicast(self) -> None:
        """Take part in one multicast; return when all is here and all is handed to the kernel."""
        here = [threading.Event() for _ in self._blocks]
        for block in set(range(len(here))) - {t.block for t in self._receives}:
            here[block].set()
        ends = [(self._send, peer) for peer in self._out] + [(self._receive, p) for p in self._in]
        threads = [threading.Thread(target=body, args=(peer, here)) for body, peer in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, peer: int, here: Sequence[threading.Event]) -> None:
        for transfer in self._sends:
            if transfer.dst == peer:
                here[transfer.block].wait()
                self._out[peer].sendall(self._blocks[transfer.block])

    def _receive(self, peer: int, here: Sequence[threading.Event]) -> None:
        for transfer in self._receives:
            if transfer.src == peer:
                part = self._blocks[transfer.block]
                while part:
                    count = self._in[peer].recv_into(part, 0, socket.MSG_WAITALL)
                    if count == 0:
                        raise PeerGoneError(peer)
                    part = part[count:]
                here[transfer.block].set()

    def close(self) -> None:
        for sock in (self._listener, *self._out.values(), *self._in.values()):
            sock.close()


def _plain_socket() -> socket.socket:
    """A socket with the buffers of our tcp body, without which it would be slower."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    return sock
