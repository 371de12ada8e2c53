"""Scale-outs over RDMA between processes: every block arrives and is right, requests are served meanwhile.

The agents, their executor of the schedule and the controller are those of production; the engine is the
symbolic one, whose tokens are wrong if a byte is.
"""

from dataclasses import replace

import pytest
from devices import Device, Wire
from leftovers import own_children, within
from scaling import SYMBOLIC, outputs, run, session
from test_links import held

from lambdascale.cluster.records import BlockRecord, LossRecord, Record
from lambdascale.config import ScaleSpec
from lambdascale.experiments.session import Session
from lambdascale.fleet.nursery import Nursery
from lambdascale.model.packed import PackedModel
from lambdascale.sim.content import put_image
from lambdascale.sim.models import symbolic_model
from lambdascale.sim.reference import reference_tokens
from lambdascale.sim.regions import new_region
from lambdascale.workload.request import Request

pytestmark = pytest.mark.timeout(240)  # which includes what the nursery still has to import

ENTRY = f"{SYMBOLIC}:main"
BLOCKS = 16
RATE = 20e6  # bytes/s of each node
SLOW = 5e6  # for what is to be disturbed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PackedModel:
    """A model of some MiB whose image is a file: the bytes that the symbolic engine knows."""
    packed = symbolic_model(num_layers=8, hidden=256, vocab=2000)
    packed = replace(packed, image=tmp_path_factory.mktemp("model") / "image.bin")
    content = new_region(0, packed.layout.nbytes, None)
    put_image(packed.image, 0, content, 0, content.nbytes)
    packed.image.write_bytes(content.view)
    return packed


def scale_out(
    model: PackedModel, sources: int, devices: list[str], rate: float = RATE, nodes: int = 4
) -> Session:
    requests = [Request(n, tuple(range(n, n + 8)), max_tokens=16) for n in range(2 * nodes)]
    return session(model, requests, ScaleSpec(sources, nodes, BLOCKS, timeout_s=60), devices, rate)


def check(
    records: list[Record], made: Session, model: PackedModel, sources: int, lost: int | None = None
) -> None:
    """Every receiver verified every block, and every request has the tokens of an undisturbed run."""
    verified = {(r.node, r.block) for r in records if isinstance(r, BlockRecord)}
    receivers = set(range(sources, made.cluster.num_nodes)) - {lost}
    assert {(node, block) for node in receivers for block in range(BLOCKS)} <= verified
    assert outputs(records, made) == reference_tokens(model, made.requests)


@pytest.mark.parametrize("sources", [1, 2])
def test_a_multicast_to_four_nodes_brings_every_block_and_serves_meanwhile(
    sources: int, model: PackedModel, warm: Nursery, devices: list[Device]
):
    before = held()
    made = scale_out(model, sources, [devices[0].name])
    check(run(made, warm, ENTRY), made, model, sources)
    assert held() == before


def test_a_wire_that_loses_frames_changes_nothing(model: PackedModel, warm: Nursery, wire: Wire):
    wire.lossy(2)
    made = scale_out(model, 1, [end.name for end in wire.ends])
    check(run(made, warm, ENTRY), made, model, 1)
    assert wire.num_lost > 0


@pytest.mark.parametrize(("victim", "sources"), [(2, 1), (0, 2)], ids=["relay", "source"])
def test_a_node_killed_in_the_middle_is_repaired_and_nothing_is_left(
    victim: int, sources: int, model: PackedModel, warm: Nursery, devices: list[Device]
):
    """The survivors finish from the union of their blocks, and requests that lost a stage resume."""
    before = held()
    made = scale_out(model, sources, [devices[0].name], SLOW)

    def kill(record: Record) -> None:
        if isinstance(record, BlockRecord) and record.src != record.node:
            warm.ask({"kill": victim})

    records = run(made, warm, ENTRY, kill)
    assert [record.node for record in records if isinstance(record, LossRecord)] == [victim]
    check(records, made, model, sources, lost=victim)
    assert within(lambda: len(own_children()) == 1), "only the nursery"
    assert within(lambda: held() == before), f"{before} became {held()}"
