"""How the micro-batches of an execution pipeline take turns: each by itself, or in lock-step (paper.md c.7).

    step   stage 0   stage 1   stage 2
      1    lane 0
      2    lane 1    lane 0
      3    lane 2    lane 1    lane 0      a step begins when all of the last one has ended

Lock-step is the authors': their manager waits for the reports of all stages, then tells all of them to go on.
Here the head does, so rows come back to it after every stage. Ours are free.
"""

import asyncio
from collections import deque


class FreeRun:
    """Nobody waits for anybody."""

    async def enter(self) -> None:
        """Wait until a lane may run its first stage."""

    async def proceed(self) -> None:
        """A stage is over: wait until the lane may run its next one."""

    def leave(self) -> None:
        """The last stage is over, and what it has sampled may enter again."""

    def fail(self, error: Exception) -> None:
        """Let everybody who waits raise `error`."""


class LockStep(FreeRun):
    """Lanes run their next stages at once, `messages_s` after the last step; one lane enters per step."""

    def __init__(self, messages_s: float) -> None:
        self._messages_s = messages_s
        self._running = 0
        self._inside: list[asyncio.Future[None]] = []
        self._entering: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._entering.append(turn)
        self._begin_soon()
        await turn

    async def proceed(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._inside.append(turn)
        self.leave()
        await turn

    def leave(self) -> None:
        self._running -= 1
        self._begin_soon()

    def fail(self, error: Exception) -> None:
        waiting = [*self._inside, *self._entering]
        self._inside.clear()
        self._entering.clear()
        for turn in waiting:
            if not turn.done():
                turn.set_exception(error)

    def _begin_soon(self) -> None:
        """Begin a step once whoever has just left has had the time to come again."""
        asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        if self._running:
            return
        turns, self._inside = self._inside, []
        if self._entering:
            turns.append(self._entering.popleft())
        self._running = len(turns)
        if turns:
            asyncio.get_running_loop().call_later(self._messages_s, _let, turns)


def _let(turns: list[asyncio.Future[None]]) -> None:
    for turn in turns:
        if not turn.done():
            turn.set_result(None)
