"""The receiving end of a link: one thread reads frames, places payloads, queues notices, replies.

Order inside the thread is the contract: bytes placed → (imposed ingress rate) → notice queued on the
event loop → reply. A frame that nothing grants is answered and skipped; the link lives on. One whose key is
not known yet waits, and with it what comes behind it on this link.
"""

import asyncio
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from lambdascale.transport.base import Notice, PeerLost
from lambdascale.transport.dock import Dock
from lambdascale.transport.grants import PATIENCE_S, POLL_S, Grant
from lambdascale.transport.handshake import Guest
from lambdascale.transport.memory import MemoryRegion
from lambdascale.transport.threads import LoopCaller, shut_down
from lambdascale.transport.wire import FRAME_BYTES, Frame, Kind, Reply, Status


class Incoming(ABC):
    """A connection that a peer opened to us. Bodies say how the payload arrives."""

    def __init__(
        self, sock: socket.socket, guest: Guest, dock: Dock, on_end: Callable[["Incoming"], None]
    ) -> None:
        self._sock = sock
        self.guest = guest
        self._under: int | None = None  # the key of the frame that is being handled
        self._dock = dock
        self._on_end = on_end
        self._call = LoopCaller(asyncio.get_running_loop())
        self._stopped = threading.Event()
        self._ended = asyncio.Event()
        name = f"reader-from-{guest.peer}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @abstractmethod
    def _take(self, nbytes: int, into: memoryview | None) -> None:
        """Bring the payload of a frame into place, or discard it if `into` is None."""

    @abstractmethod
    def _pass(self, frame: Frame, grant: Grant, region: MemoryRegion) -> None:
        """Answer a MAP frame: hand the region itself to the peer."""

    def _released(self, key: int) -> None:
        """The peer has let go of a key that was revoked."""
        return

    def _run(self) -> None:
        try:
            while (frame := self._next_frame()) is not None and not self._stopped.is_set():
                self._handle(frame)
        except OSError:
            return  # told to the consumer as PeerLost, like a clean end
        finally:
            self._call(self._finish)

    def _next_frame(self) -> Frame | None:
        header = memoryview(bytearray(FRAME_BYTES))
        return Frame.unpack(header) if receive_into(self._sock, header) else None

    def _handle(self, frame: Frame) -> None:
        if frame.kind is Kind.RELEASED:
            self._released(frame.key)
            return
        self._under = frame.key  # before it is looked up: see `withdraw`
        grant = self._dock.granted(frame.key) or self._await_grant(frame.key)
        region = None if grant is None else self._dock.find(grant.region)
        if grant is None or region is None:
            self._refuse(frame, Status.UNGRANTED)
        elif frame.kind is Kind.MAP:
            self._pass(frame, grant, region)
        elif not grant.covers(frame.offset, frame.nbytes):
            self._refuse(frame, Status.OUTSIDE)
        else:
            self._accept(frame, region)
        self._under = None

    def _await_grant(self, key: int) -> Grant | None:
        until_s = time.monotonic() + PATIENCE_S
        while self._dock.may_come(key) and time.monotonic() < until_s:
            if self._stopped.wait(POLL_S):
                return None
            if (grant := self._dock.granted(key)) is not None:
                return grant
        return None

    def _refuse(self, frame: Frame, status: Status) -> None:
        if frame.kind is Kind.WRITE:
            self._take(frame.nbytes, None)
        self._sock.sendall(Reply(status, frame.seq).pack())

    def _accept(self, frame: Frame, region: MemoryRegion) -> None:
        self._take(frame.nbytes, region.part(frame.offset, frame.nbytes))
        shown = self._dock.arrival(frame.nbytes, self.guest.lane)
        if (delay := shown - time.monotonic()) > 0 and self._stopped.wait(delay):
            return
        peer = self.guest.peer
        notice = Notice(peer, frame.tag, region.key, frame.offset, frame.nbytes)
        self._call(self._dock.deliver, notice)
        self._sock.sendall(Reply(Status.DONE, frame.seq).pack())

    def _finish(self) -> None:
        self._thread.join()  # to call this was the last that it did
        self._stopped.set()
        self._sock.close()
        self._dock.deliver(PeerLost(self.guest.peer, self.guest.lane))
        self._ended.set()
        self._on_end(self)

    async def withdraw(self, key: int) -> None:
        await self._handled(key)

    async def _handled(self, key: int) -> None:
        """Wait until no frame under `key` is being handled."""
        await self._until(lambda: self._under != key)

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Wait for what the thread does; end the link if it takes too long, as a peer can make it."""
        until_s = time.monotonic() + PATIENCE_S
        while not reached() and not self._ended.is_set():
            if time.monotonic() > until_s:
                await self.close()
            await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            shut_down(self._sock)
        await self._ended.wait()


def receive_into(sock: socket.socket, view: memoryview) -> bool:
    """Fill `view`; False if the stream ended right before it, ConnectionError if in the middle."""
    filled = 0
    while filled < view.nbytes:
        count = sock.recv_into(view[filled:], 0, socket.MSG_WAITALL)
        if count == 0 and filled == 0:
            return False
        if count == 0:
            raise ConnectionError("connection closed in the middle of a frame")
        filled += count
    return True
