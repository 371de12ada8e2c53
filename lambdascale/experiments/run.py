"""`lambdascale.run`: one run, synchronous, for notebooks and the command line.

A notebook cell already runs inside an event loop, so the run has a loop of its own in a thread of its
own. An interrupt (Ctrl-C, the kernel's stop button) cancels the run, waits until it has cleaned up
after itself, and is then raised in the caller.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from lambdascale.cluster.records import Record, RunLog
from lambdascale.control.streams import StreamControl
from lambdascale.errors import LambdaScaleError
from lambdascale.experiments.inputs import Inputs, load_inputs
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.session import session
from lambdascale.experiments.simulated import simulate
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.local import LocalFleet

ENTRY = "lambdascale.cluster.entry:main"
PRELOAD = ("lambdascale.cluster.entry",)
SECRET_BYTES = 32

Watch = Callable[[Record], None]


def ignore(_: Record) -> None:
    """Watch nothing."""


def run(spec: RunSpec, watch: Watch = ignore, inputs: Inputs | None = None) -> RunResult:
    """Run `spec` and return its result; `watch` sees every record as it happens (in another thread).

    `inputs` replaces the model and prompts of the specification. Raises LambdaScaleError.
    """
    if spec.clock == "virtual":
        return simulate(spec, watch, inputs)
    inputs = inputs or load_inputs(spec)
    log = RunLog(watch)
    in_thread(_real(spec, inputs, log))
    return RunResult.of(spec, log.records, inputs.requests)


async def _real(spec: RunSpec, inputs: Inputs, log: RunLog) -> None:
    secret = secrets.token_bytes(SECRET_BYTES)
    fleet = LocalFleet(secret, ENTRY, PRELOAD)
    await session(spec, inputs, StreamControl(secret), fleet, log)


def run_all(specs: Sequence[RunSpec], watch: Watch = ignore) -> RunResult:
    """Run several specifications one after the other and return their tables as one."""
    return RunResult.joined([run(spec, watch) for spec in specs])


def in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on a new event loop in a new thread; an interrupt of the caller cancels it."""
    outcome: list[BaseException] = []
    started = threading.Event()
    handle: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    def body() -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(_announced(work, handle, started))
        except BaseException as error:  # carried to the caller's thread and raised there
            outcome.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=body, name="lambdascale-run")
    thread.start()
    try:
        _join(thread)
    except KeyboardInterrupt:
        started.wait()
        for loop, task in handle:
            loop.call_soon_threadsafe(task.cancel)
        _join(thread)
        raise
    if outcome:
        raise _plain(outcome[0])


async def _announced(
    work: Coroutine[Any, Any, None],
    handle: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]],
    started: threading.Event,
) -> None:
    task = asyncio.ensure_future(work)
    handle.append((asyncio.get_running_loop(), task))
    started.set()
    await task


def _join(thread: threading.Thread) -> None:
    """Join in short waits, so that an interrupt is noticed."""
    while thread.is_alive():
        thread.join(0.2)


def _plain(error: BaseException) -> BaseException:
    """Unwrap a group down to its first named error, which says what went wrong in one line."""
    if isinstance(error, BaseExceptionGroup):
        named, _ = error.split(LambdaScaleError)
        return _plain((named or error).exceptions[0])
    return error
