"""`lambdascale.run`: one run, synchronous, for notebooks and the command line.

A notebook cell already runs inside an event loop, so the run has a loop of its own in a thread of its
own. An interrupt (Ctrl-C, the kernel's stop button) cancels the run, waits until it has cleaned up
after itself, and is then raised in the caller.
"""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from lambdascale.cluster.records import PhaseRecord, Record, RunLog
from lambdascale.control.streams import StreamControl
from lambdascale.errors import plain
from lambdascale.experiments.agents import ENTRY, agent_site
from lambdascale.experiments.ground import Ground
from lambdascale.experiments.inputs import Inputs, check, check_inputs, load_inputs, load_model
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.scaling import scale_out
from lambdascale.experiments.session import Session, Work
from lambdascale.experiments.simulated import simulate
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.base import Site
from lambdascale.fleet.placement import Placement
from lambdascale.transport.threads import LoopCaller

HEARTBEAT_S = (
    1.0  # a question and an answer of some bytes for every agent: nothing, even of a thousand
)
START_S = 1.0  # a thread that has not begun by then was interrupted before it was made

Watch = Callable[[Record], None]


def ignore(_: Record) -> None:
    """Watch nothing."""


def run(
    spec: RunSpec,
    watch: Watch = ignore,
    inputs: Inputs | None = None,
    site: Site | None = None,
) -> RunResult:
    """Run `spec` and return its result; `watch` sees every record as it happens (in another thread).

    `inputs` replaces the model and prompts of the specification; `site` is where agents are
    started if not on this machine, or one that is warm already; it stays the caller's. Raises
    LambdaScaleError.
    """
    if spec.clock == "virtual":
        return simulate(spec, watch, inputs)
    called_s = time.monotonic()
    if inputs:
        check_inputs(spec, inputs)
    else:
        check(spec)
    packed = None if inputs else load_model(spec)
    log = RunLog(watch)
    with nullcontext(site) if site else agent_site() as warm:
        inputs = inputs or load_inputs(spec, packed)  # while its nurseries import
        in_processes(scale_out(spec, inputs), log, warm, called_s)
    return RunResult.of(spec, log.records, inputs.requests)


def in_processes(
    session: Session,
    log: RunLog,
    site: Site,
    called_s: float,
    work: Work | None = None,
    ground: Ground | None = None,
) -> None:
    """Run a session on real agents at `site`; it was asked for at `called_s`. `work`: see `Session.run`."""
    ground = ground or Ground.fresh(site.host)
    folder = ground.ssd
    agents = [
        replace(a, ssd=str(folder / str(a.node)), lease_s=ground.lease_s) for a in session.agents
    ]
    try:
        cluster = replace(session.cluster, heartbeat_s=HEARTBEAT_S)
        session = replace(session, cluster=cluster, agents=tuple(agents))
        in_thread(_real(session, log, site, called_s, work, ground))
    finally:
        if folder.exists():
            shutil.rmtree(folder)


async def _real(
    session: Session,
    log: RunLog,
    site: Site,
    called_s: float,
    work: Work | None,
    ground: Ground,
) -> None:
    log.restart()
    log.add(PhaseRecord("called", log.since(called_s)))
    log.phase("inputs ready")
    control = StreamControl(ground.secret, ground.place)
    await session.run(control, site.fleet(ground.secret, ENTRY), log, work)


def run_all(
    specs: Sequence[RunSpec], watch: Watch = ignore, placement: Placement | None = None
) -> RunResult:
    """Run several specifications one after the other and return their tables as one.

    Real runs share one site, on a cluster if `placement` says which agents; so only the first waits for
    imports.
    """
    if all(spec.clock == "virtual" for spec in specs):
        return RunResult.joined([run(spec, watch) for spec in specs])
    with agent_site(placement) as site:
        return RunResult.joined([run(spec, watch, site=site) for spec in specs])


def in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on a new event loop in a new thread; an interrupt of the caller cancels it."""
    outcome: list[BaseException] = []
    begun, ended = threading.Event(), threading.Event()
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    loop = runner.get_loop()
    task = loop.create_task(work)

    def body() -> None:
        begun.set()
        try:
            with runner:
                runner.run(_finish(task))
        except BaseException as error:  # carried to the caller's thread and raised there
            outcome.append(error)
        finally:
            ended.set()

    try:
        threading.Thread(target=body, name="lambdascale-run").start()
        _wait(ended)
    except BaseException:
        LoopCaller(loop)(task.cancel)
        if begun.wait(START_S):
            _wait(ended)
        raise
    if outcome:
        raise plain(outcome[0])


async def _finish(task: asyncio.Task[None]) -> None:
    await task


def _wait(ended: threading.Event) -> None:
    """Wait in short turns, so that an interrupt is noticed.

    `Thread.join` would not do: interrupted, it takes a running thread for an ended one (Python < 3.13).
    """
    while not ended.wait(0.2):
        pass
