"""The second clock: an asyncio event loop in virtual time (architecture.md, "one system, two clocks").

`time()` starts at 0 and jumps to the next timer whenever nothing is runnable, so twelve nodes replay
minutes in seconds. Order is a function of the program alone: timers of one instant fire in the order
they were made, and tasks hash by serial number, so even a set of tasks iterates the same way in every
run. Real I/O, executors and other threads are refused by name; a program that can never continue fails
with a `StalledError` that shows where every task waits.
"""

import asyncio
import heapq
import math
import threading
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from itertools import count
from typing import Any, TypeVar, TypeVarTuple, Unpack

from lambdascale.sim.stall import StalledError, describe

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_TURNS_PER_INSTANT = 1_000_000  # more turns than this without time moving is a livelock
MIN_CANCELLED_TIMERS = 1024  # below this many, cancelled timers are not worth a sweep

# fmt: off
REAL_CALLS = (
    "add_reader", "add_writer", "remove_reader", "remove_writer", "sock_accept", "sock_connect",
    "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_sendall",
    "sock_sendfile", "sock_sendto", "sendfile", "create_connection", "create_server",
    "create_datagram_endpoint", "create_unix_connection", "create_unix_server",
    "connect_accepted_socket", "start_tls", "getaddrinfo", "getnameinfo", "run_in_executor",
    "set_default_executor", "subprocess_exec", "subprocess_shell", "connect_read_pipe",
    "connect_write_pipe", "add_signal_handler", "remove_signal_handler",
)
# fmt: on


class _Task(asyncio.Task[Any]):
    """A task whose hash is its serial number, not its address in memory."""

    serial = 0

    def __hash__(self) -> int:
        return self.serial


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. `stop`, set from any thread, makes `run` cancel what it runs."""

    _ready: deque[events.Handle]
    _stopping: bool

    def __init__(self, stop: threading.Event | None = None) -> None:
        super().__init__()
        self._now = 0.0
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._serials = count(1)
        self._num_cancelled = 0
        self._turns = 0
        self._stop = stop
        self._main: asyncio.Task[Any] | None = None
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> events.TimerHandle:
        """Call back at virtual time `when`, after all earlier-made timers of that instant."""
        if self.is_closed():
            raise RuntimeError("the virtual loop is closed")
        timer = events.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._serials), timer))
        return timer

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> events.Handle:
        """Call back soon; only from the loop's own thread, since no other has a place in its order."""
        if self.is_running() and asyncio._get_running_loop() is not self:
            raise _refusal("call_soon_threadsafe from another thread")
        return self.call_soon(callback, *args, context=context)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main`, cancel whatever it leaves behind, and close the loop."""
        try:
            task = self.create_task(main)
            self._main = task
            return self.run_until_complete(task)
        finally:
            self._main = None
            try:
                self._cancel_leftovers()
            finally:
                self.close()

    def close(self) -> None:
        """Forget every callback; the loop must not be running."""
        super().close()
        self._timers.clear()

    def _cancel_leftovers(self) -> None:
        self._turns = 0
        leftovers = self.pending()
        for task in leftovers:
            task.cancel()
        if leftovers:
            self.run_until_complete(asyncio.wait(leftovers))
        self.run_until_complete(self.shutdown_asyncgens())
        for task in leftovers:
            if not task.cancelled() and (error := task.exception()):
                context = {"message": "a task failed while it was cancelled", "exception": error}
                self.call_exception_handler({**context, "task": task})

    def pending(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that are not done, oldest first."""
        return sorted(asyncio.all_tasks(self), key=hash)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> _Task:
        task = _Task.__new__(_Task)
        task.serial = next(self._serials)
        _Task.__init__(task, coro, loop=loop, **options)
        return task

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        """Count cancellations (also of timers that have fired) and sweep now and then."""
        self._num_cancelled += 1
        if self._num_cancelled > max(MIN_CANCELLED_TIMERS, len(self._timers) // 2):
            self._timers = [timer for timer in self._timers if not timer[2].cancelled()]
            heapq.heapify(self._timers)
            self._num_cancelled = 0

    def _run_once(self) -> None:
        """Run what is runnable now; if nothing is, let time pass first."""
        ready = self._ready
        if self._stop is not None and self._main is not None and self._stop.is_set():
            self._main.cancel()
            self._main = None
        if not ready and not self._stopping:
            self._advance()
        self._turns += 1
        if self._turns > MAX_TURNS_PER_INSTANT:
            raise StalledError(describe("time stands still", self._now, self.pending()))
        timers, now = self._timers, self._now
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _advance(self) -> None:
        """Move time to the next timer that still counts."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers or timers[0][0] == math.inf:
            raise StalledError(describe("nothing can run any more", self._now, self.pending()))
        if timers[0][0] > self._now:
            self._now = timers[0][0]
            self._turns = 0


def run(main: Coroutine[Any, Any, T], stop: threading.Event | None = None) -> T:
    """Run `main` to its end in virtual time and return its result.

    Works in any thread, and where an event loop already runs (a notebook cell): then in a thread of its
    own, which ends before this returns. Setting `stop` cancels the run (asyncio.CancelledError).
    """
    if asyncio._get_running_loop() is None:
        return VirtualLoop(stop).run(main)
    return _run_in_thread(main, stop or threading.Event())


def _run_in_thread(main: Coroutine[Any, Any, T], stop: threading.Event) -> T:
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()  # an interrupted Thread.join forgets that the thread still runs

    def body() -> None:
        try:
            results.append(VirtualLoop(stop).run(main))
        except BaseException as error:  # handed to the caller below
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=body, name="virtual-time").start()
    try:
        while not done.wait(0.2):  # in short waits, so that an interrupt is noticed
            pass
    except BaseException:
        stop.set()
        done.wait()
        raise
    if errors:
        raise errors[0]
    return results[0]


def _refusal(call: str) -> RuntimeError:
    return RuntimeError(f"{call} touches the real world; virtual time must not wait for it")


def _refuse(call: str) -> Callable[..., Any]:
    def refuse(self: VirtualLoop, *args: Any, **kwargs: Any) -> Any:
        raise _refusal(call)

    return refuse


for _call in REAL_CALLS:
    setattr(VirtualLoop, _call, _refuse(_call))
