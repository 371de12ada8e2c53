"""Agents of real scale-outs die by SIGKILL and are started again: they come back, and are used again."""

import signal
import time
from dataclasses import replace

import psutil
import pytest
from engine_driver import reference, reference_model
from leftovers import own_children, within
from tiny import TinyModel

from lambdascale.cluster.records import BlockRecord, Record, ReturnRecord, RunLog, TokenRecord
from lambdascale.config import ScaleSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.agents import agent_site
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


@pytest.mark.parametrize("lease_s", [0.0, 20.0], ids=["no lease", "lease"])
@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_killed_receiver_comes_back_and_gives_tokens_again(
    transport: str, lease_s: float, tiny_model: TinyModel
):
    folder = tiny_model("llama")
    packed = load_packed(str(folder), "float32")
    spec = RunSpec(
        model=str(folder),
        transport=transport,
        scale=ScaleSpec(1, NUM_NODES, BLOCKS, max_slots=2, timeout_s=90),
        link_gbps=packed.layout.nbytes * 8 / LOAD_S / 1e9,
        device=DeviceModel(bandwidth=packed.layout.nbytes / 0.06, flops=1e12),
    )
    requests = tuple(
        Request(i, tuple((i * 41 + 7 * j) % 500 for j in range(2 + (5 * i) % 19)), 32)
        for i in range(30)
    )
    inputs = Inputs(ImageSource.of(packed, block_checksums(packed, BLOCKS)), requests)
    session = scale_out(spec, inputs)
    session = replace(
        session,
        cluster=replace(session.cluster, restart_s=0.2),
        agents=tuple(replace(agent, lease_s=lease_s) for agent in session.agents),
    )
    with agent_site() as site:
        killed: list[int] = []

        def kill(record: Record) -> None:
            mine = isinstance(record, BlockRecord) and record.node == VICTIM
            if mine and record.block > 3 and not killed:
                agents = sorted(psutil.Process(site.pid).children(), key=lambda a: a.pid)
                killed.append(agents[VICTIM].pid)
                agents[VICTIM].send_signal(signal.SIGKILL)

        log = RunLog(kill)
        in_processes(session, log, site, time.monotonic())
        assert within(lambda: not psutil.Process(site.pid).children()), "no agent is left"
    assert [r.node for r in log.records if isinstance(r, ReturnRecord)] == [VICTIM]
    (back_s,) = (r.time_s for r in log.records if isinstance(r, ReturnRecord))
    tokens = [r for r in log.records if isinstance(r, TokenRecord) and r.node == VICTIM]
    assert any(token.time_s > back_s for token in tokens), "it is used again"
    outputs = RunResult.of(spec, log.records, requests).outputs()
    model = reference_model(folder)
    assert outputs == {r.id: tuple(reference(model, r)) for r in requests}
    assert not own_children()
