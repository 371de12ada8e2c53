"""Links over TCP: a frame's payload follows it and is received straight into the target region.

`BUFFER_BYTES` is explicit because it decides the speed: measured on loopback with two streams on two
cores (Zen 5, 1 MiB of L2 each), 1 MiB of socket buffer moves 10.7 GB/s where the kernel's autotuning
lets it grow past the caches and moves 7.2. It still covers the bandwidth-delay product of 80 Gbit/s
at 0.1 ms. `sendfile` from the memfd was slower (page-sized fragments).
"""

import socket

from lambdascale.transport.incoming import Incoming, receive_into
from lambdascale.transport.memory import MemoryRegion
from lambdascale.transport.outgoing import Job, StreamLink
from lambdascale.transport.over_tcp import OverTcp
from lambdascale.transport.threaded import ThreadedTransport
from lambdascale.transport.wire import Reply

BUFFER_BYTES = 1 << 20
_SCRATCH_BYTES = 1 << 16


class TcpLink(StreamLink):
    """Sends frame and payload on one stream."""

    async def _prepare(self, target: int, offset: int, nbytes: int) -> None:
        return  # the receiver checks the range

    def _move(self, job: Job) -> None:
        payload = job.payload
        self._sock.sendall(job.frame.pack(), socket.MSG_MORE if payload.nbytes else 0)
        kept = 1 if job.due > job.start and payload.nbytes else 0  # what the receiver waits for
        self._sock.sendall(payload[: payload.nbytes - kept])
        if self._wait_until(job.due):
            self._sock.sendall(payload[payload.nbytes - kept :])


class TcpIncoming(Incoming):
    """Receives payloads into regions; those of refused frames into a scratch buffer."""

    def _take(self, nbytes: int, into: memoryview | None) -> None:
        if into is not None:
            self._fill(into)
            return
        scratch = memoryview(bytearray(_SCRATCH_BYTES))
        for start in range(0, nbytes, _SCRATCH_BYTES):
            self._fill(scratch[: nbytes - start])

    def _fill(self, view: memoryview) -> None:
        if view.nbytes and not receive_into(self._sock, view):
            raise ConnectionError("connection closed before the payload")

    def _pass(self, reply: Reply, region: MemoryRegion) -> None:
        raise ConnectionError("a region cannot be passed over TCP")


class TcpTransport(OverTcp, ThreadedTransport):
    """The `tcp` body."""

    link_type = TcpLink
    incoming_type = TcpIncoming
    buffer_bytes = BUFFER_BYTES
