"""The receiving end of a link: counts frames on every rail, shows their notices in order, and answers.

A write is whole when each rail has brought its frame: notice n follows the least of the rails' counts.
Access is given on request, grant by grant, to this link's queue pairs only, and ends with grant or link.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lambdascale.transport.base import Notice, PeerLost
from lambdascale.transport.dock import Dock
from lambdascale.transport.grants import PATIENCE_S, POLL_S, Grant
from lambdascale.transport.handshake import Guest
from lambdascale.transport.rdma.contact import Answer, Ask, Talk
from lambdascale.transport.rdma.frames import COUNTER, FRAME_BYTES, Frame
from lambdascale.transport.rdma.memory import registered
from lambdascale.transport.rdma.pair import RECEIVE, SENDS, WINDOW, Pair
from lambdascale.transport.rdma.rail import Rail
from lambdascale.transport.rdma.status import failure, immediate
from lambdascale.transport.rdma.windows import Windows

_log = logging.getLogger(__name__)
ANSWER = 1  # the number of every request that answers; those that bind windows have larger ones
ANSWERS = SENDS - WINDOW  # under way; the rest is for windows


class Arrival(NamedTuple):
    """A write that is here, and when it may be seen (monotonic s)."""

    shown: float
    notice: Notice


class Shared(NamedTuple):
    """A grant that the peer uses, until it has let go of it."""

    grant: Grant
    released: asyncio.Event


class RdmaIncoming:
    """A connection that a peer opened to us."""

    def __init__(
        self, talk: Talk, guest: Guest, dock: Dock, on_end: Callable[["RdmaIncoming"], None]
    ) -> None:
        self._talk = talk
        self.guest = guest
        self._dock = dock
        self._on_end = on_end
        self._pairs: Sequence[Pair] = ()
        self._counts: list[int] = []
        self._tags: deque[int] = deque()  # of the frames on the first rail that are not whole yet
        self._whole = 0
        self._arrivals: deque[Arrival] = deque()
        self._shown = self._told = self._answering = 0
        self._timer: asyncio.TimerHandle | None = None
        self._windows = Windows()
        self._shared: dict[int, Shared] = {}  # by key: what the peer may write
        self._order = asyncio.Lock()  # of answers
        self._stopped = False
        self._hearing: asyncio.Task[None] | None = None
        self._granting: asyncio.Task[None] | None = None

    def begin(self, pairs: Sequence[Pair]) -> None:
        """Use these queue pairs, which are connected."""
        self._pairs = pairs
        self._counts = [0] * len(pairs)
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        """Answer what the peer asks for, one thing at a time, until it is gone."""
        try:
            while True:
                ask = await self._talk.hear(Ask)
                if ask.released:
                    if ask.key in self._shared:
                        self._shared[ask.key].released.set()
                elif self._granting is None or self._granting.done():
                    self._granting = asyncio.create_task(self._answer_ask(ask.key))
                else:
                    raise ConnectionError("the peer asks for two things at a time")
        except OSError as error:
            self.stop(error.strerror or str(error))

    async def _answer_ask(self, key: int) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while self._dock.granted(key) is None and self._dock.may_come(key):
            if self._stopped or time.monotonic() > until_s:
                break
            await asyncio.sleep(POLL_S)
        try:
            async with self._order:
                self._talk.say(await self._share(key))
        except ConnectionError as error:
            self.stop(str(error))

    async def _share(self, key: int) -> Answer:
        grant = self._dock.granted(key)
        region = None if grant is None else registered(self._dock, grant.region)
        if grant is None or region is None or self._stopped:
            return Answer(key)
        self._shared[key] = Shared(grant, asyncio.Event())
        rkeys = await self._windows.to(key, grant.hull, region, self._pairs)
        return Answer(key, *grant.hull, region.address, rkeys)

    async def withdraw(self, key: int) -> None:
        """Ask the peer to let go of a key, then end its access; who does not answer loses the link."""
        async with self._order:
            shared = self._shared.get(key)
            if shared is None or self._stopped:
                return
            self._talk.say(Answer(key))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await shared.released.wait()
        except TimeoutError:
            self.stop("the peer does not let go of what was revoked")
        self._shared.pop(key, None)
        self._windows.end(key)

    def uses(self, rail: Rail) -> bool:
        """Has this end a queue pair on a rail?"""
        return any(pair.rail is rail for pair in self._pairs)

    def on_completion(self, rail: int, completion: Any) -> None:
        """Take a completion of one of the queue pairs."""
        if why := failure(completion):
            _log.warning("the link from node %d broke: %s", self.guest.peer, why)
            self.stop(why)
        elif completion.wr_id == RECEIVE:
            self._pairs[rail].post_receive()
            self._counts[rail] += 1
            if rail == 0:
                self._tags.append(immediate(completion))
            self._take_whole()
        elif completion.wr_id == ANSWER:
            self._answering -= 1
            self._answer()
        else:
            self._windows.bound(completion.wr_id)

    def _take_whole(self) -> None:
        """Read the frames that every rail has brought."""
        while self._whole < min(self._counts):
            self._whole += 1
            frame = Frame.unpack(self._pairs[0].read_slot(self._whole % WINDOW, FRAME_BYTES))
            shared = self._shared.get(frame.key)
            if shared is None or not shared.grant.covers(frame.offset, frame.nbytes):
                self.stop("the peer wrote what it was not granted")
                return
            shown = self._dock.arrival(frame.nbytes, self.guest.lane)
            place = shared.grant.region, frame.offset, frame.nbytes
            notice = Notice(self.guest.peer, self._tags.popleft(), *place)
            self._arrivals.append(Arrival(shown, notice))
        self._show()

    def _show(self) -> None:
        """Deliver what may be seen, answer once for all of it, and come back for the rest."""
        while self._arrivals and self._arrivals[0].shown <= time.monotonic():
            self._dock.deliver(self._arrivals.popleft().notice)
            self._shown += 1
        self._answer()
        if self._arrivals and self._timer is None:
            delay = self._arrivals[0].shown - time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(max(delay, 0.0), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._show()

    def _answer(self) -> None:
        """Say how many are shown, unless too many answers are under way: then when one has arrived."""
        if self._told < self._shown and self._answering < ANSWERS and not self._stopped:
            self._told = self._shown
            self._answering += 1
            self._pairs[0].post_answer(ANSWER, self._shown % COUNTER)

    def stop(self, why: str) -> None:
        """End the peer's access and tell the consumer that it is gone; what has come is shown before."""
        if self._stopped:
            return
        for pair in self._pairs:
            pair.drain()
        if self._stopped:
            return  # draining found the queue pairs broken, and did the rest
        self._stopped = True
        _log.debug("the link from node %d ended: %s", self.guest.peer, why)
        if self._timer is not None:
            self._timer.cancel()
        for shared in self._shared.values():
            shared.released.set()
        self._shared.clear()
        self._windows.close()
        for pair in self._pairs:
            pair.close()
        self._talk.abort()
        self._dock.deliver(PeerLost(self.guest.peer, self.guest.lane))
        self._on_end(self)

    async def close(self) -> None:
        self.stop("closed here")
        for task in (self._hearing, self._granting):
            if task is not None:
                await task
        await self._talk.close()
