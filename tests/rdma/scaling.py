"""Real scale-outs between processes over RDMA: sessions of production, their runs, and what came out."""

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from leftovers import own_children, within

from lambdascale.cluster.records import Record, RunLog, TokenRecord
from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.control.streams import StreamControl
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.scaling import scale_out
from lambdascale.experiments.session import Session
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.local import LocalFleet
from lambdascale.fleet.nursery import Nursery
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.model.packed import PackedModel
from lambdascale.workload.request import Request

AGENTS, SYMBOLIC = "lambdascale.cluster.entry", "symbolic_agents"
MODULES = (SYMBOLIC, AGENTS, "transformers.models.llama.modeling_llama")
Watch = Callable[[Record], None]
Outputs = dict[int, tuple[int, ...]]


@contextmanager
def nursery(*preload: str) -> Iterator[Nursery]:
    """A nursery whose agents find the modules of this folder; all of them are gone afterwards."""
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(here), prepend=os.pathsep)
        with Nursery(preload) as made:
            yield made
    assert within(lambda: not own_children())


def born(warm: Nursery) -> None:
    """Wait until a nursery has imported everything: until it has had a child, which has ended."""
    warm.ask({"node": 0, "entry": f"{SYMBOLIC}:idle", "argument": ""})
    assert b"ended" in warm.hear()


def session(
    model: PackedModel,
    requests: Sequence[Request],
    scale: ScaleSpec,
    devices: Sequence[str],
    rate: float,
) -> Session:
    """A scale-out to all nodes; node n uses device n modulo their number, at `rate` bytes/s."""
    spec = RunSpec(system=SystemSpec(kv_switch="recompute"), scale=scale, transport="rdma")
    image = ImageSource.of(model, block_checksums(model, scale.num_blocks))
    made = scale_out(spec, Inputs(image, tuple(requests)))
    agents = [
        replace(agent, transport=f"rdma:{devices[agent.node % len(devices)]}", rate=rate)
        for agent in made.agents
    ]
    return replace(made, agents=tuple(agents))


def run(made: Session, warm: Nursery, entry: str, watch: Watch = lambda _: None) -> list[Record]:
    """Run a session on agents that begin at `entry`."""
    log, secret = RunLog(watch), secrets.token_bytes(32)

    async def body() -> None:
        await made.run(StreamControl(secret), LocalFleet(warm, secret, entry), log)

    asyncio.run(body())
    return log.records


def outputs(records: Sequence[Record], made: Session) -> Outputs:
    """The tokens of every request, which must have come in order."""
    tokens: dict[int, list[int]] = {request.id: [] for request in made.requests}
    for record in records:
        if isinstance(record, TokenRecord):
            assert record.position == len(tokens[record.request])
            tokens[record.request].append(record.token)
    return {number: tuple(found) for number, found in tokens.items()}
