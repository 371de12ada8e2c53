"""Fleets: one behaviour of both bodies, and a real scale-out leaves nothing behind however it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from fleet_conformance import CHECKS, DEVICE, SECRET, Check, specs
from leftovers import Footprint, alive, footprint, own_children, within
from tiny import TinyModel

from lambdascale.clock import deadline
from lambdascale.control.base import Control
from lambdascale.control.streams import StreamControl
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.agents import MODELS
from lambdascale.fleet.base import Fleet
from lambdascale.fleet.local import LocalFleet
from lambdascale.fleet.nursery import Nursery
from lambdascale.model.catalogue import load_packed
from lambdascale.sim import loop
from lambdascale.sim.control import SimControl
from lambdascale.sim.fleet import SimFleet
from lambdascale.sim.network import SimNetwork

pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def path_of_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with Nursery(("agents_of_tests",)) as made:
        yield made
    assert within(lambda: not own_children())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_real_processes_conform(check: Check, nursery: Nursery):
    def make(crash: bool) -> tuple[Control, Fleet, DeviceModel | None]:
        entry = "agents_of_tests:die_at_birth" if crash else "agents_of_tests:stay"
        return StreamControl(SECRET), LocalFleet(nursery, SECRET, entry), DEVICE

    asyncio.run(check(make))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_simulated_agents_conform(check: Check):
    def make(crash: bool) -> tuple[Control, Fleet, DeviceModel | None]:
        control = SimControl(1e-4)
        return control, SimFleet(SimNetwork(1e-4), control), None if crash else DEVICE

    loop.run(check(make))


def test_one_nursery_serves_several_fleets_one_after_the_other(nursery: Nursery):
    async def body() -> None:
        for count in (2, 3):
            fleet = LocalFleet(nursery, SECRET, "agents_of_tests:outlive")
            await fleet.start(specs("", count, None))
            await fleet.kill(0)
            assert await fleet.died() == 0
            assert len(own_children()) == 1 + count - 1
            await fleet.close()
            assert len(own_children()) == 1, "only the nursery"

    asyncio.run(body())


def test_agents_have_one_thread_and_nothing_to_read(capfd):
    async def body(nursery: Nursery) -> None:
        fleet = LocalFleet(nursery, SECRET, "agents_of_tests:look_around")
        await fleet.start(specs("", 1, None))
        assert await fleet.died() == 0
        await fleet.close()

    with Nursery(("agents_of_tests", *MODELS)) as nursery:
        asyncio.run(body(nursery))
    assert capfd.readouterr().err == "node 0: 1 thread, '' to read\n"


def test_what_preloaded_modules_print_goes_to_standard_error_once(capfd, tmp_path, monkeypatch):
    (tmp_path / "talkative.py").write_text(
        """import os; print("a banner"); os.write(1, b"and a raw line\\n"); os.system("echo a child")"""
    )
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}{os.pathsep}{tmp_path}")

    async def body(nursery: Nursery) -> None:
        fleet = LocalFleet(nursery, SECRET, "agents_of_tests:look_around")
        await fleet.start(specs("", 2, None))
        async with deadline(10, "the ends of both agents"):
            assert {await fleet.died(), await fleet.died()} == {0, 1}
        await fleet.close()

    with Nursery(("talkative", "agents_of_tests")) as nursery:
        asyncio.run(body(nursery))
    out, err = capfd.readouterr()
    assert out == ""
    assert sorted(err.splitlines()) == [
        *("a banner", "a child", "and a raw line"),
        *(f"node {node}: 1 thread, '' to read" for node in range(2)),
    ]


def test_an_agent_holds_nothing_of_its_nursery_or_its_siblings(capfd):
    async def body(nursery: Nursery) -> None:
        fleet = LocalFleet(nursery, SECRET, "agents_of_tests:show_descriptors")
        await fleet.start(specs("", 2, None))
        async with deadline(10, "the end of the second agent"):
            assert await fleet.died() == 1
        await fleet.close()

    with Nursery(("agents_of_tests",)) as nursery:
        asyncio.run(body(nursery))
    assert capfd.readouterr().err == "node 1: /dev/null, True, {}\n"


def test_agents_end_with_their_nursery(nursery: Nursery):
    async def body() -> None:
        fleet = LocalFleet(nursery, SECRET, "agents_of_tests:outlive")
        await fleet.start(specs("", 3, None))
        assert within(lambda: len(own_children()) == 4)
        os.kill(nursery.pid, signal.SIGKILL)
        async with deadline(3, "the news of all deaths"):
            assert {await fleet.died() for _ in range(3)} == {0, 1, 2}
        await fleet.close()
        assert within(lambda: not own_children())

    asyncio.run(body())


def test_a_nursery_that_cannot_import_is_reported_as_dead_agents(capfd):
    async def body(nursery: Nursery) -> None:
        fleet = LocalFleet(nursery, SECRET, "agents_of_tests:stay")
        await fleet.start(specs("", 2, None))
        async with deadline(5, "the news of all deaths"):
            assert {await fleet.died(), await fleet.died()} == {0, 1}
        await fleet.close()

    with Nursery(("there_is_no_such_module",)) as nursery:
        asyncio.run(body(nursery))
    assert "there_is_no_such_module" in capfd.readouterr().err


MAKER = """
from lambdascale.fleet.nursery import Nursery
print(Nursery(("slow_to_import",)).pid, flush=True)
input()
"""


def test_a_nursery_that_still_imports_ends_with_its_maker(tmp_path: Path):
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-c", MAKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    ) as maker:
        assert maker.stdout is not None
        nursery = psutil.Process(int(maker.stdout.readline()))
        maker.kill()
    assert within(lambda: not alive((nursery,)), 1.0)


class ScaleOut:
    """A real `lambdascale scale` as a process, in the middle of its scale-out."""

    def __init__(self, process: subprocess.Popen[str], found: Footprint) -> None:
        self.process = process
        self.footprint = found

    def agents(self) -> list[psutil.Process]:
        """The agents, oldest first (node 0 first)."""
        (nursery,) = psutil.Process(self.process.pid).children()
        return sorted(nursery.children(), key=lambda agent: agent.pid)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the status and the standard error."""
        _, err = self.process.communicate(timeout=10)
        return self.process.returncode, err


@pytest.fixture
def scale_out(tiny_model: TinyModel, tmp_path: Path) -> Iterator[ScaleOut]:
    """One whose load takes half a minute; its first answer has been seen, so it has begun."""
    with running(tiny_model("llama"), tmp_path) as begun:
        assert begun.process.poll() is None
        assert len(begun.footprint.processes) == 1 + 1 + 4, "driver, nursery, agents"
        assert len(begun.footprint.addresses) >= 1 + 4, "the controller and all agents listen"
        assert begun.footprint.regions >= 4, "every agent shares memory"
        yield begun


@contextmanager
def running(model: Path, tmp_path: Path) -> Iterator[ScaleOut]:
    prompts, scratch = tmp_path / "prompts.txt", tmp_path / "scratch"
    prompts.write_text("one\ntwo\n")
    scratch.mkdir()
    cache = tmp_path / "cache"
    load_packed(str(model), "float32", cache)
    shape = ("--sources", "2", "--nodes", "4", "--link-gbps", "0.0008", "--max-tokens", "2")
    given = ("--model", str(model), "--prompts", str(prompts))
    with subprocess.Popen(
        [sys.executable, "-m", "lambdascale", "scale", *shape, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch), "LAMBDASCALE_CACHE": str(cache)},
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield ScaleOut(process, footprint(process.pid, scratch))
        finally:
            process.kill()


def test_a_driver_killed_in_the_middle_leaves_nothing_behind(scale_out: ScaleOut):
    scale_out.process.kill()
    assert within(lambda: scale_out.footprint.gone, 3.0), scale_out.footprint
    assert scale_out.process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_a_scale_out_cleanly(scale_out: ScaleOut, number, status, word):
    scale_out.process.send_signal(number)
    assert scale_out.end() == (status, f"lambdascale scale: {word}\n")
    assert within(lambda: scale_out.footprint.gone, 1.0), scale_out.footprint


def test_a_scale_out_goes_on_without_an_agent_that_is_killed_in_the_middle(scale_out: ScaleOut):
    scale_out.agents()[3].kill()
    time.sleep(1.0)
    assert scale_out.process.poll() is None, "its death ends nothing"
    scale_out.process.send_signal(signal.SIGINT)
    assert scale_out.end() == (130, "lambdascale scale: interrupted\n")
    assert within(lambda: scale_out.footprint.gone, 1.0), scale_out.footprint


def test_a_scale_out_whose_agents_are_all_killed_ends_with_one_line(scale_out: ScaleOut):
    for agent in scale_out.agents():
        agent.kill()
    status, err = scale_out.end()
    assert status == 2
    assert err.startswith("lambdascale scale: all 4 nodes have ended")
    assert err.count("\n") == 1
    assert within(lambda: scale_out.footprint.gone, 1.0), scale_out.footprint
