"""Agents of real scale-outs are killed or cut off: they come back, and are used again."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import psutil
import pytest
from engine_driver import reference, reference_model
from leftovers import own_children, within
from tiny import TinyModel

from lambdascale.cluster.controller import Controller
from lambdascale.cluster.records import BlockRecord, Record, ReturnRecord, RunLog, TokenRecord
from lambdascale.config import ScaleSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.ground import Ground
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.run import in_processes
from lambdascale.experiments.scaling import scale_out
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.workload.request import Request

pytestmark = pytest.mark.alone

LOAD_S = 1.0
NUM_NODES = 3
BLOCKS = 16
VICTIM = 2

Harm = Callable[[Controller, int], Awaitable[None]]  # told the nursery's process, too


async def kill(controller: Controller, nursery: int) -> None:
    """Kill the agent."""
    agents = sorted(psutil.Process(nursery).children(), key=lambda agent: agent.pid)
    agents[VICTIM].send_signal(signal.SIGKILL)


async def cut_off(controller: Controller, nursery: int) -> None:
    """Close the connection to the agent, which lives."""
    await controller._members._channels[VICTIM].close()


@dataclass
class Receiver:
    """Waits until the victim has got some blocks."""

    half_full: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, record: Record) -> None:
        if isinstance(record, BlockRecord) and record.node == VICTIM and record.block > 3:
            self.half_full.set()


def come_back(folder: str, transport: str, lease_s: float, harm: Harm) -> RunLog:
    """Run a scale-out, do harm to a receiver in the middle, and check the tokens."""
    packed = load_packed(folder, "float32")
    spec = RunSpec(
        model=folder,
        transport=transport,
        scale=ScaleSpec(1, NUM_NODES, BLOCKS, max_slots=2, timeout_s=90),
        link_gbps=packed.layout.nbytes * 8 / LOAD_S / 1e9,
        device=DeviceModel(bandwidth=packed.layout.nbytes / 0.06, flops=1e12),
    )
    requests = tuple(
        Request(i, tuple((i * 41 + 7 * j) % 500 for j in range(2 + (5 * i) % 19)), 20)
        for i in range(20)
    )
    inputs = Inputs(ImageSource.of(packed, block_checksums(packed, BLOCKS)), requests)
    session = scale_out(spec, inputs)
    session = replace(session, cluster=replace(session.cluster, restart_s=0.2))
    receiver = Receiver()
    log = RunLog(receiver)
    with agent_site() as site:

        async def work(controller: Controller) -> None:
            serving = asyncio.ensure_future(controller.run(requests))
            await receiver.half_full.wait()
            await harm(controller, site.pid)
            await serving

        ground = replace(Ground.fresh(site.host), lease_s=lease_s)
        in_processes(session, log, site, time.monotonic(), work, ground)
        assert within(lambda: not psutil.Process(site.pid).children()), "no agent is left"
    assert not own_children()
    model, outputs = reference_model(folder), RunResult.of(spec, log.records, requests).outputs()
    assert outputs == {r.id: tuple(reference(model, r)) for r in requests}
    return log


def check_used_again(log: RunLog) -> ReturnRecord:
    (back,) = (r for r in log.records if isinstance(r, ReturnRecord))
    assert back.node == VICTIM
    tokens = [r for r in log.records if isinstance(r, TokenRecord) and r.node == VICTIM]
    assert any(token.time_s > back.time_s for token in tokens), "it is used again"
    return back


@pytest.mark.parametrize(
    ("transport", "lease_s"), [("shm", 0.0), ("tcp", 20.0)], ids=["no lease", "lease"]
)
def test_a_killed_receiver_comes_back_and_gives_tokens_again(
    transport: str, lease_s: float, tiny_model: TinyModel
):
    log = come_back(str(tiny_model("llama")), transport, lease_s, kill)
    assert check_used_again(log).blocks == 0, "its memory is gone"


def test_a_receiver_that_was_cut_off_gets_what_it_lacks(tiny_model: TinyModel):
    log = come_back(str(tiny_model("llama")), "tcp", 20.0, cut_off)
    assert check_used_again(log).blocks > 3
    mine = [r.block for r in log.records if isinstance(r, BlockRecord) and r.node == VICTIM]
    assert len(mine) == len(set(mine)), "no block came twice"
