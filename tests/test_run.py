"""`run` is synchronous wherever it is called from, and an interrupt leaves nothing behind."""

import _thread
import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager
from leftovers import footprint, own_children, within
from tiny import TinyModel

from lambdascale.cluster.records import BlockRecord, PhaseRecord, Record
from lambdascale.config import ScaleSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import DeadlineError
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.inputs import load_inputs
from lambdascale.experiments.run import in_thread, run, run_all
from lambdascale.experiments.simulated import symbolic_inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.nursery import Nursery

pytestmark = pytest.mark.alone

LOAD_S = 0.4


@pytest.fixture
def spec(tiny_model: TinyModel) -> RunSpec:
    """A small real scale-out, 1 → 3 nodes, that loads in about LOAD_S."""
    return RunSpec(
        model=str(tiny_model("llama")),
        scale=ScaleSpec(num_sources=1, num_nodes=3, num_blocks=8, max_slots=2),
        prompts=("one", "two", "three"),
        max_tokens=4,
        link_gbps=0.05,
    )


@pytest.fixture(scope="module")
def warm() -> Iterator[Nursery]:
    """A nursery for the tests that need not see one begin."""
    with agent_site() as nursery:
        yield nursery


@pytest.fixture(autouse=True)
def nothing_left(warm: Nursery) -> Iterator[None]:
    yield
    assert within(lambda: [child.pid for child in own_children()] == [warm.pid], 1.0)
    assert within(lambda: not running() & {"lambdascale-run", "virtual-time"}, 0.5)


def running() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def at_block(number: int, act: Callable[[], object]) -> Callable[[Record], None]:
    """Watch a run and act once, when block `number` has arrived somewhere."""
    done: list[object] = []

    def watch(record: Record) -> None:
        if isinstance(record, BlockRecord) and record.block == number and not done:
            done.append(act())

    return watch


def test_several_runs_in_a_row_where_an_event_loop_already_runs(spec: RunSpec):
    specs = [replace(spec, label=label) for label in ("first", "second")]

    async def cell() -> None:
        result = run_all(specs)
        assert result.outputs("first") == result.outputs("second")
        assert sorted(result.outputs("first")) == [0, 1, 2]
        assert all(len(tokens) == 4 for tokens in result.outputs().values())

    asyncio.run(cell())


def test_a_run_from_a_worker_thread_shows_its_records_and_the_start_of_the_agents(spec: RunSpec):
    seen: list[Record] = []
    worker = threading.Thread(target=lambda: run(spec, seen.append))
    worker.start()
    worker.join()
    phases = [record.phase for record in seen if isinstance(record, PhaseRecord)]
    assert phases[:4] == ["called", "inputs ready", "agents up", "prepared"]
    assert phases[-1] == "finished"
    assert sum(isinstance(record, BlockRecord) for record in seen) == 2 * 8


def raise_in_main_thread() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@pytest.mark.parametrize("interrupt", [raise_in_main_thread, _thread.interrupt_main])
def test_an_interrupted_run_is_cancelled_and_cleaned_up(spec: RunSpec, warm: Nursery, interrupt):
    slow = replace(spec, link_gbps=0.002)
    began: list[float] = []

    def now() -> None:
        began.append(time.monotonic())
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        run(slow, at_block(0, now), load_inputs(slow), warm)
    assert time.monotonic() - began[0] < 3
    assert len(own_children()) == 1, "the agents are gone before the interrupt is raised"


def test_an_interrupted_simulation_is_cancelled():
    device = DeviceModel(3.35e12, 4e14)
    spec = RunSpec(
        model="llama-2-7b",
        dtype="float16",
        scale=ScaleSpec(num_sources=1, num_nodes=8, max_length=4096, timeout_s=1e6),
        max_tokens=3000,
        link_gbps=400.0,
        device=device,
        clock="virtual",
    )
    inputs = symbolic_inputs(spec, num_requests=64, prompt_tokens=16)
    began: list[float] = []

    def now() -> None:
        began.append(time.monotonic())
        raise_in_main_thread()

    with pytest.raises(KeyboardInterrupt):
        run(spec, at_block(0, now), inputs)
    assert time.monotonic() - began[0] < 3

    async def cell() -> None:
        began.clear()
        run(spec, at_block(0, now), inputs)

    with closing(asyncio.new_event_loop()) as kernel, pytest.raises(KeyboardInterrupt):
        kernel.run_until_complete(cell())  # asyncio.run would handle the signal itself
    assert time.monotonic() - began[0] < 3


def test_a_run_that_takes_too_long_ends_with_a_named_error(spec: RunSpec, warm: Nursery):
    impatient = replace(spec, link_gbps=0.001, scale=replace(spec.scale, timeout_s=1.0))
    with pytest.raises(DeadlineError, match="the whole run did not happen within 1 s"):
        run(impatient, site=warm)


def test_an_error_of_the_watcher_ends_the_run(spec: RunSpec, warm: Nursery):
    def fail() -> None:
        raise ZeroDivisionError("a bug of the caller")

    with pytest.raises(ZeroDivisionError, match="a bug of the caller"):
        run(spec, at_block(0, fail), site=warm)


def test_work_in_a_thread_that_was_cancelled_has_cleaned_up_before_the_interrupt_is_raised():
    log: list[str] = []

    async def work() -> None:
        try:
            raise_in_main_thread()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.3)
            log.append("clean")

    with pytest.raises(KeyboardInterrupt):
        in_thread(work())
    assert log == ["clean"]


CELL = """
from lambdascale.config import ScaleSpec
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
scale = ScaleSpec(num_sources=1, num_nodes=3, num_blocks=8, max_slots=2)
result = run(
    RunSpec(model={model!r}, scale=scale, prompts=("one",), max_tokens=4, link_gbps={gbps}),
    lambda record: print(type(record).__name__, flush=True),
)
len(result.outputs()[0])
"""


def test_an_interrupted_notebook_cell_leaves_a_kernel_in_which_the_next_run_succeeds(
    spec: RunSpec, tmp_path: Path
):
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        client.execute(CELL.format(model=spec.model, gbps=0.002))
        wait_for(client, lambda message: "BlockRecord" in message["content"].get("text", ""))
        kernel = manager.provisioner.pid
        assert len(footprint(kernel, tmp_path).processes) == 1 + 1 + 3
        manager.interrupt_kernel()
        error = wait_for(client, lambda message: message["msg_type"] == "error")
        assert error["content"]["ename"] == "KeyboardInterrupt"
        assert len(footprint(kernel, tmp_path).processes) == 1, "no agent is left"
        wait_for(client, lambda message: message["content"].get("execution_state") == "idle")
        client.execute(CELL.format(model=spec.model, gbps=0.05))
        result = wait_for(client, lambda message: message["msg_type"] == "execute_result")
        assert result["content"]["data"]["text/plain"] == "4"
        assert len(footprint(kernel, tmp_path).processes) == 1
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def wait_for(client, wanted: Callable[[dict], bool]) -> dict:
    """Return the first message of the kernel that is wanted; fails after half a minute of silence."""
    while not wanted(message := client.get_iopub_msg(timeout=30)):
        pass
    return message
