"""Scale-outs over RDMA between processes: every block arrives and is right, requests are served meanwhile.

The agents, their executor of the schedule and the controller are those of production; the engine is the
symbolic one, whose tokens are wrong if a byte is.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from devices import Device, Wire
from leftovers import own_children, within
from test_links import held

from lambdascale.cluster.records import BlockRecord, Record, RunLog, TokenRecord
from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.control.streams import StreamControl
from lambdascale.errors import LambdaScaleError
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.scaling import scale_out
from lambdascale.experiments.session import Session
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.local import LocalFleet
from lambdascale.fleet.nursery import Nursery
from lambdascale.model.checksum import block_checksums
from lambdascale.model.image import ImageSource
from lambdascale.model.packed import PackedModel
from lambdascale.sim.content import put_image
from lambdascale.sim.models import symbolic_model
from lambdascale.sim.reference import reference_tokens
from lambdascale.sim.regions import new_region
from lambdascale.workload.request import Request

BLOCKS = 16
RATE = 20e6  # bytes/s of each node, so that a run lasts long enough to be disturbed
Watch = Callable[[Record], None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PackedModel:
    """A model of some MiB whose image is a file: the bytes that the symbolic engine knows."""
    packed = symbolic_model(num_layers=8, hidden=256, vocab=2000)
    image = tmp_path_factory.mktemp("model") / "image.bin"
    packed = replace(packed, image=image)
    content = new_region(0, packed.layout.nbytes, None)
    put_image(image, 0, content, 0, content.nbytes)
    image.write_bytes(content.view)
    return packed


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with pytest.MonkeyPatch.context() as patch:
        here = Path(__file__).parent
        patch.setenv("PYTHONPATH", f"{here}:{here.parent.parent}", prepend=":")
        with Nursery(("symbolic_agents",)) as made:
            yield made
    assert within(lambda: not own_children())


def requests(count: int) -> tuple[Request, ...]:
    return tuple(Request(n, tuple(range(n, n + 8)), max_tokens=16) for n in range(count))


def session(
    model: PackedModel, sources: int, nodes: int, rails: list[str], rate: float = RATE
) -> Session:
    """A scale-out to all nodes; node n uses rail n modulo their number."""
    scale = ScaleSpec(sources, nodes, num_blocks=BLOCKS, timeout_s=60.0)
    spec = RunSpec(system=SystemSpec(kv_switch="recompute"), scale=scale, transport="rdma")
    image = ImageSource.of(model, block_checksums(model, BLOCKS))
    made = scale_out(spec, Inputs(image, requests(2 * nodes)))
    agents = [
        replace(agent, transport=f"rdma:{rails[agent.node % len(rails)]}", rate=rate)
        for agent in made.agents
    ]
    return replace(made, agents=tuple(agents))


def run(made: Session, nursery: Nursery, watch: Watch = lambda _: None) -> list[Record]:
    log, secret = RunLog(watch), secrets.token_bytes(32)

    async def body() -> None:
        fleet = LocalFleet(nursery, secret, "symbolic_agents:main")
        await made.run(StreamControl(secret), fleet, log)

    asyncio.run(body())
    return log.records


def check(records: list[Record], made: Session, model: PackedModel, sources: int) -> None:
    """Every receiver verified every block, and every request has the tokens of an undisturbed run."""
    verified = {(r.node, r.block) for r in records if isinstance(r, BlockRecord)}
    receivers = range(sources, made.cluster.num_nodes)
    assert {(n, b) for n in receivers for b in range(BLOCKS)} <= verified
    tokens: dict[int, list[int]] = {request.id: [] for request in made.requests}
    for record in records:
        if isinstance(record, TokenRecord):
            assert record.position == len(tokens[record.request])
            tokens[record.request].append(record.token)
    expected = reference_tokens(model, made.requests)
    assert {number: tuple(found) for number, found in tokens.items()} == expected


@pytest.mark.parametrize(("sources", "nodes"), [(1, 4), (2, 4)])
def test_a_multicast_brings_every_block_and_serves_meanwhile(
    sources: int, nodes: int, model: PackedModel, nursery: Nursery, devices: list[Device]
):
    before = held()
    made = session(model, sources, nodes, [devices[0].name])
    check(run(made, nursery), made, model, sources)
    assert held() == before


def test_a_wire_that_loses_frames_changes_nothing(model: PackedModel, nursery: Nursery, wire: Wire):
    wire.lossy(2)
    made = session(model, 2, 4, [end.name for end in wire.ends])
    check(run(made, nursery), made, model, 2)
    assert wire.num_lost > 0


@pytest.mark.parametrize(("victim", "sources"), [(2, 1), (0, 2)], ids=["relay", "source"])
def test_a_node_killed_in_the_middle_is_named_and_nothing_is_left(
    victim: int, sources: int, model: PackedModel, nursery: Nursery, devices: list[Device]
):
    before = held()
    made = session(model, sources, 4, [devices[0].name], rate=2e6)

    def kill(record: Record) -> None:
        if isinstance(record, BlockRecord) and record.src != record.node:
            nursery.ask({"kill": victim})

    with pytest.raises(LambdaScaleError, match=f"node {victim} is gone"):
        run(made, nursery, kill)
    assert within(lambda: len(own_children()) == 1), "only the nursery"
    assert within(lambda: held() == before), f"{before} became {held()}"
