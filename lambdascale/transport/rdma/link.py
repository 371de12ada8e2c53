"""The writing end of a link: posts writes on every rail, and waits until the receiver has counted them.

A write is its parts, and then on each rail a frame: a write with immediate into the peer's mailbox.
A queue pair keeps its order, so the notice of a frame means that the rail's parts are in place. The receiver
answers how many frames it has shown, which frees their slots.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lambdascale.errors import ConfigError, PeerGoneError
from lambdascale.transport.base import Lane, Region
from lambdascale.transport.dock import Dock
from lambdascale.transport.rdma.contact import Answer, Ask, Talk
from lambdascale.transport.rdma.frames import COUNTER, Frame, divide
from lambdascale.transport.rdma.memory import registered
from lambdascale.transport.rdma.pair import RECEIVE, SENDS, WINDOW, Pair
from lambdascale.transport.rdma.rail import Rail
from lambdascale.transport.rdma.status import failure, immediate
from lambdascale.transport.wire import check_write, outside, ungranted

WATCHES = 6  # in the time after which silence means loss


class Waiting(NamedTuple):
    """A write whose frames are posted: its number, its last request, what it is, and who waits for it."""

    number: int
    request: int
    frame: Frame
    answer: asyncio.Future[bool]


class RdmaLink:
    """A `Link` over one queue pair per rail."""

    def __init__(
        self,
        talk: Talk,
        peer: int,
        lane: Lane,
        dock: Dock,
        on_end: Callable[["RdmaLink"], None],
    ) -> None:
        self.peer = peer
        self._lane = lane
        self._talk = talk
        self._dock = dock
        self._on_end = on_end
        self._pairs: Sequence[Pair] = ()
        self._grants: dict[int, Answer] = {}
        self._releasing: set[asyncio.Task[None]] = set()
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._number = 0  # of the last write
        self._request = RECEIVE  # the number of the last request, on whatever rail
        self._order = asyncio.Lock()
        self._waiting: deque[Waiting] = deque()
        self._posted: Sequence[deque[int]] = ()  # per rail: the requests under way
        self._limits: Sequence[int] = ()  # per rail: the bytes of a message
        self._room = asyncio.Event()
        self._stopped = asyncio.Event()
        self._death: str | None = None
        self._tasks: Sequence[asyncio.Task[None]] = ()
        self._moved_s = 0.0  # when a request completed last, or was posted on an idle link

    def begin(self, pairs: Sequence[Pair]) -> None:
        """Use these queue pairs, which are connected."""
        self._pairs = pairs
        self._posted = [deque() for _ in pairs]
        self._limits = [pair.rail.max_message for pair in pairs]
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._watch())]

    async def write(
        self, source: Region, offset: int, nbytes: int, key: int, target_offset: int, tag: int
    ) -> None:
        self._require_alive()
        check_write(self.peer, source, offset, nbytes, key, target_offset, tag)
        due = self._dock.egress.leave(time.monotonic(), nbytes, self._lane)
        async with self._order:
            grant = await self._grant(key)
            if not grant.low <= target_offset <= target_offset + nbytes <= grant.low + grant.nbytes:
                raise outside(self.peer, target_offset, nbytes)
            await self._sleep_until(due - self._dock.egress.seconds(nbytes))
            await self._post(source.key, offset, nbytes, grant, target_offset)
            await self._sleep_until(due)
            answer = self._notify(Frame(key, target_offset, nbytes), tag)
        await self._answered(answer)

    async def _grant(self, key: int) -> Answer:
        """Return what the peer lets us write under a key, asking it the first time."""
        if key not in self._grants:
            self._require_alive()
            self._asked[key] = asyncio.get_running_loop().create_future()
            self._talk.say(Ask(key))
            await self._answered(self._asked[key])
        if key not in self._grants:
            raise ungranted(self.peer)
        return self._grants[key]

    async def _post(
        self, key: int, offset: int, nbytes: int, grant: Answer, target_offset: int
    ) -> None:
        """Post the parts of a write as there is room for them, and wait for room for its frames."""
        region = registered(self._dock, key)
        if region is None:
            raise ConfigError(f"region {key} is not registered here; register it before writing")
        for part in divide(nbytes, self._limits):
            await self._room_on(part.rail)
            self._pairs[part.rail].post_write(
                self._next_request(part.rail),
                region.address + offset + part.offset,
                part.nbytes,
                region.registrations[part.rail].lkey,
                grant.address + target_offset + part.offset,
                grant.rkeys[part.rail],
            )

        for rail in range(len(self._pairs)):
            await self._room_on(rail)

    async def _room_on(self, rail: int) -> None:
        """Wait for a slot in the mailbox, and until a rail can take one more request."""
        while len(self._waiting) >= WINDOW or len(self._posted[rail]) >= SENDS:
            self._require_alive()
            self._room.clear()
            await self._room.wait()
        self._require_alive()

    def _next_request(self, rail: int) -> int:
        if not any(self._posted):
            self._moved_s = time.monotonic()
        self._request += 1
        self._posted[rail].append(self._request)
        return self._request

    def _notify(self, frame: Frame, tag: int) -> asyncio.Future[bool]:
        """Post the frames of a write; the future tells whether the peer has shown it."""
        self._require_alive()
        self._number += 1
        for rail, pair in enumerate(self._pairs):
            request, slot = self._next_request(rail), self._number % WINDOW
            pair.post_frame(request, slot, frame.pack(), tag)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(self._number, self._request, frame, answer))
        return answer

    async def _answered(self, answer: asyncio.Future[bool]) -> None:
        if not await answer:  # an exception inside the future would be a cycle
            raise PeerGoneError(self.peer, self._death or "connection closed")

    def _require_alive(self) -> None:
        if self._death is not None:
            raise PeerGoneError(self.peer, self._death)

    async def _sleep_until(self, time_s: float) -> None:
        """Sleep until then, or until the link is stopped."""
        if (delay := time_s - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(delay):
                    await self._stopped.wait()
            except TimeoutError:
                return

    async def _listen(self) -> None:
        """Take grants, and let go of them, until the peer is gone."""
        try:
            while True:
                self._take(await self._talk.hear(Answer))
        except OSError as error:
            self.stop(error.strerror or str(error))

    def _take(self, answer: Answer) -> None:
        asked = self._asked.pop(answer.key, None)
        if answer.rkeys:
            self._grants[answer.key] = answer
        elif asked is None:
            self._grants.pop(answer.key, None)
            releasing = asyncio.create_task(self._release(answer.key))
            self._releasing.add(releasing)
            releasing.add_done_callback(self._releasing.discard)
        if asked is not None and not asked.done():
            asked.set_result(True)

    async def _release(self, key: int) -> None:
        """Say that nothing more comes under a key, once what has been posted has arrived."""
        async with self._order:
            under_way = [waiting.answer for waiting in self._waiting]
        if under_way:
            await asyncio.wait(under_way)
        if self._death is None:
            self._talk.say(Ask(key, released=True))

    async def _watch(self) -> None:
        """Stop the link if requests are under way and none completes: devices may try for ever."""
        silence_s = max(pair.rail.silence_s for pair in self._pairs)
        while not self._stopped.is_set():
            await self._sleep_until(time.monotonic() + silence_s / WATCHES)
            if any(self._posted) and time.monotonic() - self._moved_s > silence_s:
                oldest = min(posted[0] for posted in self._posted if posted)
                self.stop(f"{self._operation(oldest)}: no answer for {silence_s:g} s")

    def uses(self, rail: Rail) -> bool:
        """Has this end a queue pair on a rail?"""
        return any(pair.rail is rail for pair in self._pairs)

    def on_completion(self, rail: int, completion: Any) -> None:
        """Take a completion of one of the queue pairs."""
        self._moved_s = time.monotonic()
        if why := failure(completion):
            self.stop(f"{self._operation(completion.wr_id)}: {why}")
        elif completion.wr_id == RECEIVE:
            self._pairs[rail].post_receive()
            self._on_answer(immediate(completion))
        else:
            posted = self._posted[rail]
            while posted and posted[0] <= completion.wr_id:
                posted.popleft()
            self._room.set()

    def _on_answer(self, shown: int) -> None:
        """The peer has shown so many frames in all, modulo the counter."""
        while self._waiting and (shown - self._waiting[0].number) % COUNTER < COUNTER // 2:
            answer = self._waiting.popleft().answer
            if not answer.done():
                answer.set_result(True)
        self._room.set()

    def _operation(self, request: int) -> str:
        """Name what a request that failed belongs to: the oldest write that had posted it."""
        for waiting in self._waiting:
            if request <= waiting.request:
                _, offset, nbytes = waiting.frame
                return f"write of {nbytes} bytes at {offset} of its region"
        return "write under way"

    def stop(self, why: str) -> None:
        """Fail every write, now and later; the first reason stays."""
        if self._death is not None:
            return
        self._death = why
        self._stopped.set()
        self._room.set()
        answers = [*self._asked.values(), *(waiting.answer for waiting in self._waiting)]
        for answer in answers:
            if not answer.done():
                answer.set_result(False)
        for pair in self._pairs:
            pair.close()
        self._talk.abort()
        self._on_end(self)

    async def close(self) -> None:
        self.stop("this link is closed")
        await asyncio.gather(*self._tasks, *self._releasing)
        await self._talk.close()
