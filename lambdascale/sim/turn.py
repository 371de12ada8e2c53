"""Whose turn it is on a simulated device: one call at a time, in the order they were made."""

import asyncio
from types import TracebackType


class Turn:
    """A lock that a long call may hold until somebody else waits for it; see `interrupted_by`."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._num_waiting = 0
        self._interrupt: asyncio.Event | None = None

    async def __aenter__(self) -> None:
        if self._interrupt is not None:
            self._interrupt.set()
        self._num_waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._num_waiting -= 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._interrupt = None
        self._lock.release()

    def interrupted_by(self, interrupt: asyncio.Event) -> None:
        """Let whoever waits set `interrupt`, until the turn ends; called by whose turn it is."""
        self._interrupt = interrupt
        if self._num_waiting:
            interrupt.set()
