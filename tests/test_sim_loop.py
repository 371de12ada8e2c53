"""The virtual clock: time jumps, order is fixed, the real world is refused, a stall explains itself."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lambdascale.sim.loop import REAL_CALLS, VirtualLoop, run
from lambdascale.sim.stall import StalledError

pytestmark = pytest.mark.alone


def test_time_starts_at_zero_and_jumps_to_the_next_timer() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        times = [loop.time()]
        for seconds in (0.25, 3600.0, 1e6):
            await asyncio.sleep(seconds)
            times.append(loop.time())
        return times

    began = time.perf_counter()
    assert run(main()) == [0.0, 0.25, 3600.25, 1003600.25]
    assert time.perf_counter() - began < 5


def test_timers_of_one_instant_fire_in_the_order_they_were_made() -> None:
    async def main() -> list[int]:
        loop, fired = asyncio.get_running_loop(), list[int]()
        for i in range(100):
            loop.call_at(1.0 if i % 2 else 0.5 + 0.5, fired.append, i)
        await asyncio.sleep(1.0)
        return fired

    assert run(main()) == list(range(100))


def test_deadlines_and_cancelled_timers_cost_no_virtual_time() -> None:
    async def main() -> float:
        for _ in range(5000):
            async with asyncio.timeout(1000.0):
                await asyncio.sleep(0.001)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(5.0)


def test_a_timeout_fires_at_its_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main()) == 2.0


def test_a_stall_shows_the_name_and_the_whole_stack_of_every_task() -> None:
    async def innermost(event: asyncio.Event) -> None:
        await event.wait()

    async def main() -> None:
        waiting = asyncio.create_task(innermost(asyncio.Event()), name="the waiting one")
        await asyncio.sleep(1.5)
        await waiting

    with pytest.raises(StalledError) as caught:
        run(main())
    text = str(caught.value)
    assert "t = 1.500000 s; 2 tasks" in text
    assert "the waiting one" in text
    assert "innermost" in text
    assert "Event.wait" in text


def test_a_livelock_is_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambdascale.sim.loop.MAX_TURNS_PER_INSTANT", 1000)

    async def main() -> None:
        for _ in range(10_000):
            await asyncio.sleep(0)

    with pytest.raises(StalledError, match="time stands still"):
        run(main())


@pytest.mark.parametrize("call", REAL_CALLS)
def test_every_real_call_is_refused_by_name(call: str) -> None:
    loop = VirtualLoop()
    try:
        with pytest.raises(RuntimeError, match=call):
            getattr(loop, call)()
    finally:
        loop.close()


def test_what_asyncio_builds_on_real_calls_is_refused_too() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="run_in_executor"):
            await asyncio.to_thread(time.sleep, 0)
        with pytest.raises(RuntimeError, match="create_connection"):
            await asyncio.open_connection("localhost", 1)
        with pytest.raises(RuntimeError, match="create_server"):
            await asyncio.start_server(print, "localhost", 0)
        with pytest.raises(RuntimeError, match="subprocess_exec"):
            await asyncio.create_subprocess_exec("true")

    run(main())


def test_another_thread_cannot_call_into_virtual_time() -> None:
    async def main() -> list[str]:
        loop, refused = asyncio.get_running_loop(), list[str]()

        def intrude() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except RuntimeError as error:
                refused.append(str(error))

        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(refused.append, "from its own thread")
        await asyncio.sleep(0)
        return refused

    first, second = run(main())
    assert "call_soon_threadsafe" in first
    assert second == "from its own thread"


def test_leftover_tasks_are_cancelled_and_run_their_cleanup() -> None:
    log = list[str]()

    async def left() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            await asyncio.sleep(1)
            log.append("cleaned up")

    async def main() -> str:
        task = asyncio.create_task(left())
        await asyncio.sleep(0)
        assert not task.done()
        return "done"

    assert run(main()) == "done"
    assert log == ["cleaned up"]


def test_an_error_of_main_reaches_the_caller() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(main())


def test_it_runs_where_a_loop_already_runs_and_leaves_that_one_as_it_was() -> None:
    async def virtual() -> float:
        await asyncio.sleep(1000)
        return asyncio.get_running_loop().time()

    async def cell() -> bool:
        loop = asyncio.get_running_loop()
        assert run(virtual()) == 1000.0
        with pytest.raises(StalledError):
            run(asyncio.Event().wait())
        await asyncio.sleep(0)
        return asyncio.get_running_loop() is loop

    assert asyncio.run(cell())


def test_it_runs_in_another_thread_while_a_loop_runs_in_the_main_one() -> None:
    async def virtual() -> float:
        await asyncio.sleep(1000)
        return asyncio.get_running_loop().time()

    async def main() -> float:
        return await asyncio.to_thread(run, virtual())

    assert asyncio.run(main()) == 1000.0


def test_stop_set_from_another_thread_cancels_the_run_cleanly() -> None:
    stop, log = threading.Event(), list[str]()

    async def main() -> None:
        try:
            while True:
                await asyncio.sleep(1.0)
                if asyncio.get_running_loop().time() == 100.0:
                    threading.Thread(target=stop.set).start()
        finally:
            log.append("left in order")

    with pytest.raises(asyncio.CancelledError):
        run(main(), stop)
    assert log == ["left in order"]


def test_an_interrupted_notebook_cell_leaves_nothing_running() -> None:
    log, main_thread = list[str](), threading.main_thread().ident
    assert main_thread is not None

    async def endless() -> None:
        threading.Timer(0.1, signal.pthread_kill, (main_thread, signal.SIGINT)).start()
        try:
            for _ in range(10**9):
                await asyncio.sleep(1.0)
        finally:
            await asyncio.sleep(1.0)
            log.append("left in order")

    async def cell() -> None:
        run(endless())

    kernel = asyncio.new_event_loop()  # as a kernel has it: without a SIGINT handler of its own
    try:
        with pytest.raises(KeyboardInterrupt):
            kernel.run_until_complete(cell())
    finally:
        kernel.close()
    assert log == ["left in order"]


ORDER_PROGRAM = """
import asyncio
from lambdascale.sim.loop import run

log = []

async def worker(name):
    try:
        await asyncio.sleep(hash(name) * 0 + 1)
        await asyncio.Event().wait()
    finally:
        log.append(name)

async def main():
    keep = [object() for _ in range(hash("a") % 97)]  # move objects about in memory
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(worker(f"w{i}")) for i in range(40)}
            await asyncio.sleep(1)
            log.extend(str(hash(task)) for task in tasks)
            raise ValueError
    except* ValueError:
        pass

run(main())
print(" ".join(log))
"""


def test_even_sets_of_tasks_iterate_the_same_under_any_hash_seed() -> None:
    def output(seed: str) -> bytes:
        command = [sys.executable, "-c", ORDER_PROGRAM]
        return subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": seed})

    assert len({output(seed) for seed in ("0", "1", "4242")}) == 1
