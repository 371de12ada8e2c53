"""Links over TCP: a frame's payload follows it and is received straight into the target region.

`BUFFER_BYTES` is explicit because it decides the speed: measured on loopback with two streams on two
cores (Zen 5, 1 MiB of L2 each), 1 MiB of socket buffer moves 10.7 GB/s where the kernel's autotuning
lets it grow past the caches and moves 7.2. It still covers the bandwidth-delay product of 80 Gbit/s
at 0.1 ms. `sendfile` from the memfd was slower (page-sized fragments).
"""

import socket

from lambdascale.transport.base import Lane
from lambdascale.transport.grants import Grant
from lambdascale.transport.incoming import Incoming, receive_into
from lambdascale.transport.memory import MemoryRegion
from lambdascale.transport.outgoing import Job, LinkCallback, StreamLink
from lambdascale.transport.over_tcp import CHECK_SECONDS, SILENCE_SECONDS, OverTcp, Silence
from lambdascale.transport.pacing import Port
from lambdascale.transport.threaded import ThreadedTransport
from lambdascale.transport.wire import Frame

BUFFER_BYTES = 1 << 20
_SCRATCH_BYTES = 1 << 16


class TcpLink(StreamLink):
    """Sends frame and payload on one stream, and watches that it is acknowledged."""

    def __init__(
        self, sock: socket.socket, peer: int, lane: Lane, egress: Port, on_end: LinkCallback
    ) -> None:
        super().__init__(sock, peer, lane, egress, on_end)
        self._silence = Silence(sock)
        self._timer = self._loop.call_later(CHECK_SECONDS, self._check)

    def _check(self) -> None:
        if self._silence.is_loss():
            self._stop(f"no answer for {SILENCE_SECONDS} s")
        else:
            self._timer = self._loop.call_later(CHECK_SECONDS, self._check)

    def _stop(self, why: str) -> None:
        self._timer.cancel()
        super()._stop(why)

    async def _prepare(self, key: int, offset: int, nbytes: int) -> None:
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

    def _pass(self, frame: Frame, grant: Grant, region: MemoryRegion) -> None:
        raise ConnectionError("a region cannot be passed over TCP")


class TcpTransport(OverTcp, ThreadedTransport):
    """The `tcp` body."""

    link_type = TcpLink
    incoming_type = TcpIncoming
    buffer_bytes = BUFFER_BYTES
