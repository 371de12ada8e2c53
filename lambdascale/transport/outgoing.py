"""The writing end of a link: one thread moves bytes in order, the event loop collects the replies.

Posting reserves the node's egress, so a backlog leaves at exactly the imposed rate: a write's bytes move
while its slot lasts and the peer hears of them at its end, as on a real wire. A peer's death is
seen by the event loop as the end of the reply stream and fails every write, also one whose thread is
still asleep or blocked: shutting the socket down wakes it.
"""

import asyncio
import itertools
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from lambdascale.errors import PeerGoneError
from lambdascale.transport.base import Lane, Region
from lambdascale.transport.pacing import Port
from lambdascale.transport.threads import LoopCaller, shut_down
from lambdascale.transport.wire import (
    REPLY_BYTES,
    Frame,
    Kind,
    Reply,
    Status,
    check_write,
    outside,
    ungranted,
)

_RECEIVE_BYTES = 4096
_ONE_DESCRIPTOR = socket.CMSG_SPACE(4)
_NOTHING = memoryview(b"")


LinkCallback = Callable[["StreamLink"], None]


class Job(NamedTuple):
    """A frame and the bytes that go with it, which are on their way from `start` to `due` (monotonic s)."""

    start: float
    due: float
    frame: Frame
    payload: memoryview


class Answer(NamedTuple):
    """A reply, and the descriptor that came with it (shm regions only; −1 otherwise)."""

    reply: Reply
    descriptor: int


class StreamLink(ABC):
    """A `Link` over a connected, authenticated stream socket. Bodies say how the payload travels."""

    def __init__(
        self, sock: socket.socket, peer: int, lane: Lane, egress: Port, on_end: LinkCallback
    ) -> None:
        self.peer = peer
        self._lane = lane
        self._sock = sock
        self._egress = egress
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._call = LoopCaller(self._loop)
        self._seq = itertools.count()
        self._order = asyncio.Lock()
        self._pending: dict[int, asyncio.Future[Answer | None]] = {}
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._unread = bytearray()
        self._descriptors: deque[int] = deque()
        self._death: str | None = None
        self._stopped = threading.Event()
        self._ended = asyncio.Event()
        self._loop.add_reader(sock, self._on_readable)
        self._thread = threading.Thread(target=self._run, name=f"writer-to-{peer}", daemon=True)
        self._thread.start()

    @abstractmethod
    async def _prepare(self, key: int, offset: int, nbytes: int) -> None:
        """Get ready to write that range of the peer; on the event loop, in posting order."""

    def _revoked(self, key: int) -> None:
        """The peer grants nothing under `key` any more."""
        return

    @abstractmethod
    def _move(self, job: Job) -> None:
        """Bring the payload to its place, and once it is due let the peer see it; on the writer thread.

        May block. Between the two it waits by `_wait_until`, and stops if that is False.
        """

    async def write(
        self, source: Region, offset: int, nbytes: int, key: int, target_offset: int, tag: int
    ) -> None:
        self._require_alive()
        check_write(self.peer, source, offset, nbytes, key, target_offset, tag)
        payload = source.view[offset : offset + nbytes]
        async with self._order:
            await self._prepare(key, target_offset, nbytes)
            frame = Frame(Kind.WRITE, tag, next(self._seq), key, target_offset, nbytes)
            posted = self._post(frame, payload)
        self._require_done((await self._answer_to(posted)).reply, frame)

    def _post(self, frame: Frame, payload: memoryview = _NOTHING) -> asyncio.Future[Answer | None]:
        self._require_alive()
        posted: asyncio.Future[Answer | None] = self._loop.create_future()
        self._pending[frame.seq] = posted
        due = self._egress.leave(time.monotonic(), payload.nbytes, self._lane)
        start = due - self._egress.seconds(payload.nbytes)
        self._jobs.put(Job(start, due, frame, payload))
        return posted

    def _require_alive(self) -> None:
        if self._death is not None:
            raise PeerGoneError(self.peer, self._death)

    async def _answer_to(self, posted: asyncio.Future[Answer | None]) -> Answer:
        answer = await posted
        if (
            answer is None
        ):  # an exception inside the future would be a cycle that keeps memory alive
            raise PeerGoneError(self.peer, self._death or "connection closed")
        return answer

    def _require_done(self, reply: Reply, frame: Frame) -> None:
        if reply.status is Status.UNGRANTED:
            raise ungranted(self.peer)
        if reply.status is Status.OUTSIDE:
            raise outside(self.peer, frame.offset, frame.nbytes)

    def _run(self) -> None:
        why = "its writer thread ended"
        try:
            self._work()
        except OSError as error:
            why = error.strerror or str(error)
        finally:
            self._call(self._stop, why)
            self._stopped.wait()
            self._call(self._finish)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not self._wait_until(job.start):
                return
            self._move(job)
            del job  # an idle thread must not keep the source alive

    def _wait_until(self, time_s: float) -> bool:
        """Sleep until then; False if the link was stopped."""
        if (delay := time_s - time.monotonic()) > 0:
            self._stopped.wait(delay)
        return not self._stopped.is_set()

    def _on_readable(self) -> None:
        try:
            data, ancillary, _, _ = self._sock.recvmsg(
                _RECEIVE_BYTES, _ONE_DESCRIPTOR, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
            for _, _, content in ancillary:
                self._descriptors.extend(memoryview(content).cast("i"))
            self._unread += data
            self._answer_all()
        except BlockingIOError:
            return
        except OSError as error:
            self._stop(error.strerror or str(error))
        else:
            if not data:
                self._stop("connection closed")

    def _answer_all(self) -> None:
        whole = len(self._unread) // REPLY_BYTES * REPLY_BYTES
        replies, self._unread = self._unread[:whole], self._unread[whole:]
        for start in range(0, whole, REPLY_BYTES):
            reply = Reply.unpack(replies[start : start + REPLY_BYTES])
            if reply.status is Status.REVOKED:
                self._revoked(reply.seq)
                continue
            descriptor = self._descriptors.popleft() if reply.status is Status.REGION else -1
            self._settle(Answer(reply, descriptor))

    def _settle(self, answer: Answer) -> None:
        waiting = self._pending.pop(answer.reply.seq, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
        elif answer.descriptor >= 0:
            os.close(answer.descriptor)

    def _stop(self, why: str) -> None:
        """Fail every write, now and later, and wake the thread; the first reason stays."""
        if self._death is not None:
            return
        self._death = why
        self._loop.remove_reader(self._sock)
        self._stopped.set()
        self._jobs.put(None)
        shut_down(self._sock)
        pending, self._pending = self._pending, {}
        for waiting in pending.values():
            if not waiting.done():
                waiting.set_result(None)

    def _finish(self) -> None:
        self._thread.join()  # to call this was the last that it did
        self._sock.close()
        self._jobs = SimpleQueue()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._ended.set()
        self._on_end(self)

    async def close(self) -> None:
        self._stop("this link is closed")
        await self._ended.wait()
