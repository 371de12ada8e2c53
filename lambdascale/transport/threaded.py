"""Transports that move payloads themselves: one thread at each end of a link, over blocking sockets."""

import socket
from typing import ClassVar

from lambdascale.transport.base import Lane
from lambdascale.transport.handshake import Guest
from lambdascale.transport.incoming import Incoming
from lambdascale.transport.outgoing import StreamLink
from lambdascale.transport.stream import StreamTransport


class ThreadedTransport(StreamTransport):
    """A `StreamTransport` whose bodies say which types of ends carry their payloads."""

    link_type: ClassVar[type[StreamLink]]
    incoming_type: ClassVar[type[Incoming]]

    async def _lead(self, sock: socket.socket, peer: int, lane: Lane) -> StreamLink:
        sock.setblocking(True)
        return self.link_type(sock, peer, lane, self.dock.egress, self._forget)

    async def _follow(self, sock: socket.socket, guest: Guest) -> Incoming:
        sock.setblocking(True)
        return self.incoming_type(sock, guest, self.dock, self._part)
