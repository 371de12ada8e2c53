"""The production controller and agents in virtual time, on a cluster that a test may damage."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lambdascale.cluster.controller import Controller, ImageSource
from lambdascale.cluster.members import Members
from lambdascale.cluster.records import (
    BlockRecord,
    CorruptRecord,
    PipelineRecord,
    RunLog,
    TokenRecord,
)
from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import PeerGoneError
from lambdascale.fleet.base import AgentSpec
from lambdascale.model.packed import PackedModel
from lambdascale.sim.control import SimControl
from lambdascale.sim.fleet import SimFleet, SimHost
from lambdascale.sim.loop import run
from lambdascale.sim.models import image_checksums, nominal_model, symbolic_model
from lambdascale.sim.network import SimNetwork
from lambdascale.sim.reference import reference_tokens
from lambdascale.transport.base import Lane
from lambdascale.workload.request import Request, Sampling

SMALL = symbolic_model(num_layers=6)
DEVICE = DeviceModel(bandwidth=1e9, flops=1e12, launch_s=5e-3)
H800 = DeviceModel(bandwidth=3.35e12, flops=4e14)
SCALE = ScaleSpec(num_sources=2, num_nodes=4, num_blocks=16)


@dataclass
class World:
    """A simulated cluster about to run one scale-out."""

    network: SimNetwork
    control: SimControl
    fleet: SimFleet
    log: RunLog


Disturb = Callable[[World], None]


def undisturbed(_: World) -> None:
    """Do no harm."""


def requests(count: int = 24) -> tuple[Request, ...]:
    draw = random.Random(7)
    return tuple(
        Request(
            i,
            tuple(draw.randrange(1000) for _ in range(draw.randrange(1, 40))),
            12,
            Sampling(temperature=i % 2 * 0.8, seed=i),
            arrival_s=i * 0.001,
        )
        for i in range(count)
    )


async def run_scale_out(
    disturb: Disturb = undisturbed,
    model: PackedModel = SMALL,
    host: SimHost | None = None,
    system: SystemSpec | None = None,
    load_s: float = 0.1,
    scale: ScaleSpec = SCALE,
    device: DeviceModel = DEVICE,
) -> RunLog:
    """Run one scale-out to its end; a link carries the whole model in `load_s`."""
    network, control = SimNetwork(latency_s=5e-6), SimControl(latency_s=50e-6)
    world = World(network, control, SimFleet(network, control, host), RunLog())
    disturb(world)
    listener = await control.listen()
    members = Members(listener, world.fleet, scale.num_nodes)
    sized = host.sized_above if host else None
    checksums = image_checksums(model, scale.num_blocks, sized)
    image = ImageSource(str(model.image), model.config, model.layout, checksums)
    controller = Controller(system or SystemSpec(), scale, image, members, world.log)
    rate = model.layout.nbytes / load_s
    agents = tuple(
        AgentSpec(node, listener.address, "sim", rate, device) for node in range(scale.num_nodes)
    )
    try:
        await world.fleet.start(agents)
        await controller.run(requests())
    finally:
        await members.close()
        await world.fleet.close()
    return world.log


def scale_out(
    disturb: Disturb = undisturbed,
    model: PackedModel = SMALL,
    host: SimHost | None = None,
    system: SystemSpec | None = None,
    load_s: float = 0.1,
    scale: ScaleSpec = SCALE,
    device: DeviceModel = DEVICE,
) -> RunLog:
    """The same in a loop of its own."""
    return run(run_scale_out(disturb, model, host, system, load_s, scale, device))


def tokens(log: RunLog) -> dict[int, tuple[int, ...]]:
    """Output tokens by request."""
    found: dict[int, dict[int, int]] = {}
    for record in log.records:
        if isinstance(record, TokenRecord):
            found.setdefault(record.request, {})[record.position] = record.token
    return {
        request: tuple(row[i] for i in range(len(row))) for request, row in sorted(found.items())
    }


def blocks(log: RunLog) -> list[BlockRecord]:
    return [record for record in log.records if isinstance(record, BlockRecord)]


@pytest.mark.parametrize("sized", [None, 500_000])
@pytest.mark.parametrize("barrier", [False, True])
def test_a_scale_out_under_load_gives_the_tokens_of_an_undisturbed_run(
    sized: int | None, barrier: bool
) -> None:
    model = symbolic_model(num_layers=6, hidden=64)
    host = SimHost(sized_above=sized)
    log = scale_out(model=model, host=host, system=SystemSpec(barrier=barrier))
    assert tokens(log) == reference_tokens(model, requests(), sized)
    assert {(r.node, r.block) for r in blocks(log)} == {(n, b) for n in (2, 3) for b in range(16)}
    kinds = [r.kind for r in log.records if isinstance(r, PipelineRecord) and r.formed]
    assert kinds.count("replica") == 4
    assert "pipeline" in kinds
    assert any(r.kind == "pipeline" for r in log.records if isinstance(r, TokenRecord))


def test_a_block_corrupted_on_its_way_is_found_and_fetched_again() -> None:
    def disturb(world: World) -> None:
        world.network.corrupt(lambda d: d.lane is Lane.BULK and d.dst == 2)

    log = scale_out(disturb)
    corrupt = [record for record in log.records if isinstance(record, CorruptRecord)]
    assert [record.node for record in corrupt] == [2]
    assert tokens(log) == reference_tokens(SMALL, requests())


def test_a_corrupted_activation_is_seen_in_the_tokens() -> None:
    """Activations carry no checksum, so this shows that symbolic tokens notice what nothing else does."""

    def disturb(world: World) -> None:
        world.network.corrupt(lambda d: d.lane is Lane.EXPRESS and d.nbytes < 1000)

    log = scale_out(disturb)
    assert tokens(log) != reference_tokens(SMALL, requests())


def test_a_slow_receiver_changes_times_and_no_token() -> None:
    async def slow_down(world: World) -> None:
        await asyncio.sleep(0.05)
        world.network.slow(3, SMALL.layout.nbytes)

    keep: list[asyncio.Task[None]] = []

    def disturb(world: World) -> None:
        keep.append(asyncio.ensure_future(slow_down(world)))

    log, fast = scale_out(disturb), scale_out()
    assert tokens(log) == tokens(fast)
    assert max(r.verified_s for r in blocks(log)) > 1.5 * max(r.verified_s for r in blocks(fast))


def test_a_killed_agent_is_noticed_at_once() -> None:
    died_s = 0.03

    def disturb(world: World) -> None:
        world.fleet.kill_at(3, died_s)

    noticed_s = list[float]()

    async def main() -> None:
        with pytest.raises(PeerGoneError, match="node 3 is gone"):
            await run_scale_out(disturb)
        noticed_s.append(asyncio.get_running_loop().time())

    run(main())
    assert died_s < noticed_s[0] < died_s + 0.001


def test_seventy_billion_parameters_scale_to_twelve_nodes_in_virtual_time() -> None:
    model = nominal_model("llama-2-70b")
    scale = ScaleSpec(num_sources=1, num_nodes=12, num_blocks=32)
    host, load_s = SimHost(sized_above=1 << 26), 2.8
    log = scale_out(model=model, host=host, load_s=load_s, scale=scale, device=H800)
    assert tokens(log) == reference_tokens(model, requests(), host.sized_above)
    last_s = max(record.verified_s for record in blocks(log))
    assert load_s < last_s < 1.3 * load_s


PROGRAM = "from test_sim_cluster import scale_out; [print(r) for r in scale_out().records]"


def test_records_are_equal_under_any_hash_seed() -> None:
    def records(seed: str) -> bytes:
        folder = os.path.dirname(__file__)  # noqa: PTH120
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": folder}
        return subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment)

    first, second = records("1"), records("20")
    assert first == second
    assert first.count(b"TokenRecord") == 24 * 12
