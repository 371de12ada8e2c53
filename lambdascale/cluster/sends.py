"""What one node sends in one scale-out: begun in the order of the plan, but not held up by a slow peer.

Dependency-driven (paper.md i.2): a send begins when its block is verified and the window has room for it;
there is no barrier and the controller is not asked. In barrier mode each tick also waits for the
controller's word, as in the paper's system. The rules are those of `multicast.timing`.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lambdascale.clock import now
from lambdascale.control.messages import Target
from lambdascale.multicast.schedule import Transfer
from lambdascale.multicast.window import Window

Deliver = Callable[[Transfer], Coroutine[Any, Any, bool]]
IsHere = Callable[[int], bool]


def ignore(peer: int, seconds: float) -> None:
    """Nobody wants to know how long writes take."""


class Ticks:
    """Barrier mode: the tick up to which sends may start; without a barrier, all of them."""

    def __init__(self, barrier: bool) -> None:
        self._barrier = barrier
        self._open = 0

    def open(self, tick: int) -> None:
        """Let the sends of `tick` start."""
        self._open = tick

    def is_open(self, tick: int) -> bool:
        """May the sends of `tick` start?"""
        return self._open >= tick or not self._barrier


class Course:
    """Steps that begin one after the other; `over` is set when the last of those that began has ended."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._stopped = False
        self._beginning: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Begin no more steps."""
        self._stopped = True
        if self._beginning is not None:
            self._beginning.cancel()

    async def run(self, begin: Callable[[asyncio.TaskGroup], Coroutine[Any, Any, None]]) -> None:
        """Let `begin` create steps in a group, until it ends or is stopped; wait for those steps."""
        try:
            async with asyncio.TaskGroup() as group:
                if not self._stopped:
                    self._beginning = group.create_task(begin(group))
        finally:
            self.over.set()


@dataclass(frozen=True, slots=True)
class Sends:
    """What one node sends in one scale-out: in order, to where, by a window of `window` writes.

    `slow`: peers that are known to be. `wrote` is told of each write and its seconds. `delivered`: what has
    reached its peer so far; `under_way`: what has begun, and when. `changed`: something may go on.
    `in_order`: nobody is passed by (`Window`).
    """

    transfers: Sequence[Transfer]
    targets: Mapping[int, Target]
    window: int
    ticks: Ticks
    tick_s: float = 0.0
    slow: Collection[int] = ()
    wrote: Callable[[int, float], None] = ignore
    delivered: list[Transfer] = field(default_factory=list)
    under_way: dict[asyncio.Task[None], tuple[Transfer, float]] = field(default_factory=dict)
    course: Course = field(default_factory=Course)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    in_order: bool = False

    async def quiet(self, slow: Collection[int]) -> None:
        """Wait until those that are under way now have ended, but for those to and from `slow` nodes."""
        waiting = [
            task for task, (t, _) in self.under_way.items() if not {t.src, t.dst} & set(slow)
        ]
        if waiting:
            await asyncio.wait(waiting)

    async def run(self, is_here: IsHere, deliver: Deliver) -> None:
        """Begin the sends until they are done or stopped; wait for those that have begun."""
        await self.course.run(partial(self._begin_all, is_here, deliver))

    async def _begin_all(self, is_here: IsHere, deliver: Deliver, group: asyncio.TaskGroup) -> None:
        window, begun_s = Window(self.window, self.slow, self.in_order), now()
        links: dict[int, deque[tuple[int, Transfer]]] = {}
        for at, transfer in enumerate(self.transfers):
            links.setdefault(transfer.dst, deque()).append((at, transfer))

        while links:
            first = self._next(links, window, is_here)
            wait_s = begun_s + self.tick_s * (first.tick - 1) - now() if first else math.inf
            if first is None or wait_s > 0:
                await self._change(wait_s)
                continue
            links[first.dst].popleft()
            if not links[first.dst]:
                del links[first.dst]
            self._begin(first, window, deliver, group)

    async def _change(self, most_s: float) -> None:
        """Wait until something may go on, or for so long."""
        self.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s if math.isfinite(most_s) else None):
                await self.changed.wait()

    def _next(
        self, links: Mapping[int, deque[tuple[int, Transfer]]], window: Window, is_here: IsHere
    ) -> Transfer | None:
        """The first of the plan that the window has room for, unless one before it lacks its block."""
        for _, transfer in sorted(link[0] for link in links.values()):
            if not (self.ticks.is_open(transfer.tick) and is_here(transfer.block)):
                return None
            if window.admits(transfer.dst):
                return transfer
        return None

    def _begin(
        self, transfer: Transfer, window: Window, deliver: Deliver, group: asyncio.TaskGroup
    ) -> None:
        flight = window.begin(transfer.dst)

        def ended(task: asyncio.Task[None]) -> None:
            del self.under_way[task]
            window.end(flight)
            self.changed.set()

        task = group.create_task(self._carry_out(transfer, deliver))
        self.under_way[task] = transfer, now()
        task.add_done_callback(ended)

    async def _carry_out(self, transfer: Transfer, deliver: Deliver) -> None:
        begun_s = now()
        if await deliver(transfer):
            self.delivered.append(transfer)
            self.wrote(transfer.dst, now() - begun_s)
