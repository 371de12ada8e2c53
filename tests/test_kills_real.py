"""Agents of real scale-outs die by SIGKILL: the others answer, with the tokens of plain transformers."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import pytest
from engine_driver import reference, reference_model
from leftovers import own_children, within
from tiny import TinyModel

from lambdascale.cluster.records import BlockRecord, LossRecord, PipelineRecord, Record
from lambdascale.config import ScaleSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.workload.request import Request

pytestmark = pytest.mark.alone

LOAD_S = 2.0
NUM_NODES = 4
SOURCES = 2
BLOCKS = 16


def source(record: Record) -> int | None:
    """The first source, once blocks come from it."""
    moves = isinstance(record, BlockRecord) and record.src != record.node and record.src == 0
    return 0 if moves else None


def receiver(record: Record) -> int | None:
    """A receiver that has got blocks."""
    return 3 if isinstance(record, BlockRecord) and record.node == 3 and record.block > 3 else None


def head(record: Record) -> int | None:
    """The first stage of an execution pipeline."""
    formed = isinstance(record, PipelineRecord) and record.kind == "pipeline"
    return record.stages[0].node if formed else None


def last_stage(record: Record) -> int | None:
    """The last stage of an execution pipeline."""
    formed = isinstance(record, PipelineRecord) and record.kind == "pipeline"
    return record.stages[-1].node if formed else None


@dataclass
class Killer:
    """Kills the agent that `choose` names, once; or only stops it, so that its channel stays open."""

    pid: int  # of the nursery
    choose: Callable[[Record], int | None]
    how: signal.Signals = signal.SIGKILL
    killed: int | None = None
    lost: list[int] = field(default_factory=list)

    def __call__(self, record: Record) -> None:
        if isinstance(record, LossRecord):
            self.lost.append(record.node)
        if self.killed is None and (node := self.choose(record)) is not None:
            self.killed = node
            agents = sorted(psutil.Process(self.pid).children(), key=lambda agent: agent.pid)
            agents[node].send_signal(self.how)


@pytest.mark.parametrize("transport", ["shm", "tcp"])
@pytest.mark.parametrize("choose", [source, receiver, head, last_stage], ids=lambda f: f.__name__)
def test_a_killed_agent_costs_no_request_and_no_token(
    choose: Callable[[Record], int | None], transport: str, tiny_model: TinyModel
):
    check(choose, transport, signal.SIGKILL, tiny_model)


def test_neither_does_an_agent_that_hangs(tiny_model: TinyModel):
    check(last_stage, "shm", signal.SIGSTOP, tiny_model)


def check(
    choose: Callable[[Record], int | None],
    transport: str,
    how: signal.Signals,
    tiny_model: TinyModel,
) -> None:
    folder = tiny_model("llama")
    packed = load_packed(str(folder), "float32")
    spec = RunSpec(
        model=str(folder),
        transport=transport,
        scale=ScaleSpec(SOURCES, NUM_NODES, BLOCKS, max_slots=4, timeout_s=60),
        link_gbps=packed.layout.nbytes * 8 / LOAD_S / 1e9,
        device=DeviceModel(bandwidth=packed.layout.nbytes / 0.04, flops=1e12),
    )
    requests = tuple(
        Request(i, tuple((i * 41 + 7 * j) % 500 for j in range(2 + (5 * i) % 19)), 24)
        for i in range(24)
    )
    inputs = Inputs(ImageSource.of(packed, block_checksums(packed, BLOCKS)), requests)
    with agent_site() as site:
        killer = Killer(site.pid, choose, how)
        result = run(spec, killer, inputs, site)
        assert within(lambda: not psutil.Process(site.pid).children()), "no agent is left"
    assert killer.killed is not None
    assert killer.lost == [killer.killed]
    model = reference_model(folder)
    assert result.outputs() == {r.id: tuple(reference(model, r)) for r in requests}
    held = result.blocks.groupby("node")["block"].nunique()
    survivors = set(range(SOURCES, NUM_NODES)) - {killer.killed}
    assert all(held[node] == BLOCKS for node in survivors), "the others complete the scale-out"
    assert not own_children()
