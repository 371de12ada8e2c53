"""What a simulated cluster costs beyond its rates: each condition alone, against arithmetic."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from statistics import fmean, stdev

import pytest
from serverless import STEP_S, Serverless, ask, burst, deploy
from virtual import MODEL, some_requests, virtual_spec

from lambdascale.cluster.records import BlockRecord, ScaleRecord
from lambdascale.cluster.tags import GPU, HOST, INBOX, KV
from lambdascale.config import SystemSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.simulated import simulate
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.image import ImageSource
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.jitter import Jitter
from lambdascale.sim.loop import run
from lambdascale.sim.models import image_checksums
from lambdascale.sim.network import SimNetwork
from lambdascale.sim.pcie import Pcie
from lambdascale.sim.storage import SimStorage
from lambdascale.sim.transport import SimTransport
from lambdascale.storage.tiers import Tier
from lambdascale.transport.base import Lane

RATE = 1000.0  # bytes/s
ALL = ScalingPolicy("fixed", min_instances=4)


def timed(scenario: Callable[[], Awaitable[list[float]]]) -> list[float]:
    async def main() -> list[float]:
        return list(await scenario())

    return run(main())


class Node:
    """A transport and a storage that share a PCIe link, with a region in every memory."""

    def __init__(self, network: SimNetwork, node: int, rate: float, pcie_rate: float) -> None:
        pcie = Pcie(pcie_rate)
        self.transport = SimTransport(network, node, rate, pcie=pcie)
        self.storage = SimStorage(RATE / 10, pcie_rate, pcie)

    @classmethod
    async def make(cls, network: SimNetwork, node: int, rate: float, pcie_rate: float) -> "Node":
        made = cls(network, node, rate, pcie_rate)
        for key in (GPU, HOST, INBOX, KV):
            await made.transport.register(key, 100_000)
            made.transport.grant(key, key, [(0, 100_000)])
        return made

    async def write(
        self, peer: "Node", nbytes: int, key: int = GPU, source: int = GPU, lane: Lane = Lane.BULK
    ) -> float:
        link = await self.transport.connect(peer.transport.node, peer.transport.address, lane)
        await link.write(self.transport.region(source), 0, nbytes, key, 0, 0)
        return asyncio.get_running_loop().time()

    async def copy(self, source: int, target: int, nbytes: int) -> float:
        regions = [self.transport.region(key) for key in (source, target)]
        await self.storage.copy(regions[0], 0, regions[1], 0, nbytes)
        return asyncio.get_running_loop().time()


async def pair(rate: float = RATE, pcie_rate: float = RATE) -> tuple[Node, Node]:
    network = SimNetwork()
    return await Node.make(network, 0, rate, pcie_rate), await Node.make(
        network, 1, rate, pcie_rate
    )


def test_a_copy_into_the_gpu_and_a_write_from_a_peer_get_half_of_the_pcie_link_each() -> None:
    async def scenario() -> list[float]:
        a, b = await pair()
        copies = [b.copy(HOST, GPU, 500) for _ in range(4)]
        writes = [a.write(b, 500) for _ in range(4)]
        alternating = [job for both in zip(copies, writes, strict=True) for job in both]
        return await asyncio.gather(*alternating)

    times = timed(scenario)
    assert max(times) == 4.0, "4000 bytes at 1000 bytes/s, where each alone takes 2 s"


def test_directions_of_the_pcie_link_are_apart_and_so_is_host_memory_for_the_nic() -> None:
    async def scenario() -> list[float]:
        a, b = await pair()
        return await asyncio.gather(
            b.copy(HOST, GPU, 1000),  # into the GPU of b
            b.copy(GPU, HOST, 1000),  # out of it
            a.copy(HOST, GPU, 1000),
            a.write(b, 1000, key=HOST, source=HOST),
        )

    assert timed(scenario) == [1.0, 1.0, 1.0, 1.0]


def test_a_slower_pcie_link_than_the_nic_is_what_a_gpudirect_write_gets() -> None:
    async def scenario() -> list[float]:
        a, b = await pair(pcie_rate=RATE / 4)
        return [await a.write(b, 1000)]

    assert timed(scenario) == [pytest.approx(4.0)]


@pytest.mark.parametrize(("key", "lane"), [(INBOX, Lane.EXPRESS), (KV, Lane.EXPRESS)])
def test_activations_and_kv_entries_take_their_share_from_blocks_on_nic_and_pcie(
    key: int, lane: Lane
) -> None:
    """Express writes do not wait, but the blocks behind them end later by their bytes."""

    async def scenario() -> list[float]:
        a, b = await pair()
        return await asyncio.gather(
            a.write(b, 2000), a.write(b, 500, key, GPU, lane), b.copy(HOST, GPU, 1000)
        )

    block, express, copy = timed(scenario)
    assert express == pytest.approx(0.5)
    assert max(block, copy) == pytest.approx(3.5), "3500 bytes over one link into the GPU"


@pytest.mark.parametrize("sd", [0.05, 0.3])
def test_jitter_is_a_function_of_seed_and_count_with_mean_1_and_its_deviation(sd: float) -> None:
    def draw(seed: int, who: int) -> list[float]:
        jitter = Jitter(sd, seed, who)
        return [jitter.factor() for _ in range(4000)]

    drawn = draw(1, 2)
    assert drawn == draw(1, 2)
    assert drawn != draw(2, 2)
    assert drawn != draw(1, 3)
    assert min(drawn) > 0
    assert fmean(drawn) == pytest.approx(1.0, abs=4 * sd / 4000**0.5)
    assert stdev(drawn) == pytest.approx(sd, rel=0.1)
    assert [Jitter(0.0, 1).factor() for _ in range(2)] == [1.0, 1.0]


def test_jittered_writes_take_on_average_what_they_take_without_and_a_new_link_goes_on() -> None:
    def last(jitter: float, seed: int, reconnect: bool = False) -> float:
        async def scenario() -> list[float]:
            network = SimNetwork(jitter=jitter, seed=seed)
            a, b = (SimTransport(network, node, RATE) for node in range(2))
            for transport in (a, b):
                await transport.register(GPU, 1000)
                transport.grant(GPU, GPU, [(0, 1000)])
            link = await a.connect(1, b.address, Lane.BULK)
            for i in range(400):
                if reconnect and i == 200:
                    link = await a.connect(1, b.address, Lane.BULK)
                await link.write(a.region(GPU), 0, 1000, GPU, 0, 0)
            return [asyncio.get_running_loop().time()]

        return timed(scenario)[0]

    assert last(0.1, 1) == last(0.1, 1) == last(0.1, 1, reconnect=True) != last(0.1, 2)
    assert fmean(last(0.1, seed) for seed in range(4)) == pytest.approx(400, rel=0.01)


def test_opening_a_link_takes_the_connection_set_up_and_two_latencies() -> None:
    async def scenario() -> list[float]:
        network = SimNetwork(latency_s=0.5, connect_s=3.0)
        a, b = (SimTransport(network, node, RATE) for node in range(2))
        await a.connect(1, b.address, Lane.BULK)
        return [asyncio.get_running_loop().time()]

    assert timed(scenario) == [4.0]


def phases(run: Serverless) -> dict[str, float]:
    return {record.phase: record.time_s for record in run.records(ScaleRecord)}


COLD = Conditions(
    decision_s=0.25,
    register_s=0.125,
    start_up=(("process started", 2.0), ("graphs captured", 1.0)),
)


@pytest.mark.parametrize("preconnect", [True, False])
@pytest.mark.parametrize("initial", [{0: Tier.GPU}, dict.fromkeys(range(4), Tier.HOST), {}])
def test_decision_start_up_and_registration_are_phases_before_anything_moves(
    initial: dict[int, Tier], preconnect: bool
) -> None:
    def served(conditions: Conditions) -> Serverless:
        deployment, requests = deploy("a", ALL, initial), burst(8, max_tokens=200)
        return Serverless(
            [deployment], requests, conditions=conditions, preconnect=preconnect
        ).run()

    warm, cold = phases(served(Conditions())), phases(served(COLD))
    assert cold["decided"] - cold["queued"] == pytest.approx(0.25)
    assert cold["process started"] - cold["prepared"] == pytest.approx(2.0)
    assert cold["graphs captured"] - cold["process started"] == pytest.approx(1.0)
    assert cold["registered"] - cold["graphs captured"] == pytest.approx(0.125)
    assert "context created" not in cold
    assert cold["loading"] - warm["loading"] == pytest.approx(3.375, abs=2e-3)


def test_a_node_that_has_the_model_on_its_gpu_needs_no_start_up() -> None:
    policy = ScalingPolicy(target=1.0, idle_s=0.1)
    requests = (ask(0), ask(1, at=30.0))
    system = SystemSpec(gpu_keep_alive_s=100.0)
    conditions = replace(COLD, decision_s=0.5)
    run = Serverless([deploy("a", policy)], requests, conditions=conditions, system=system).run()
    first, second = (run.first_token_s(i) - run.requests[i].arrival_s for i in range(2))
    assert first > 3.0
    assert second == pytest.approx(0.5, abs=5 * STEP_S), "the decision, and a prefill"


def arrivals(run: Serverless, node: int) -> list[float]:
    return [r.arrived_s for r in run.records(BlockRecord) if r.node == node]


def test_stragglers_slow_themselves_and_whoever_waits_for_them_and_nobody_else() -> None:
    """All nodes load from their own host memory: only the straggler takes longer."""

    def served(conditions: Conditions) -> Serverless:
        deployment = deploy("a", ALL, dict.fromkeys(range(4), Tier.HOST))
        return Serverless([deployment], (), conditions=conditions).run()

    plain = served(Conditions())
    slowed = served(Conditions(stragglers=((2, 4.0),)))
    for node in (0, 1, 3):
        assert arrivals(slowed, node) == pytest.approx(arrivals(plain, node))
    assert max(arrivals(slowed, 2)) == pytest.approx(4 * max(arrivals(plain, 2)), rel=0.01)


def test_the_same_tokens_come_out_under_any_conditions() -> None:
    """`run` checks them: neither luck nor a slow node nor a shared link may change an answer."""
    conditions = Conditions(
        occupancy_s=1e-3,
        jitter=0.2,
        stragglers=((1, 2.0),),
        pcie_shared=True,
        seed=3,
        connect_s=0.01,
    )
    deployment = deploy("a", ALL, {0: Tier.GPU, 1: Tier.HOST})
    Serverless([deployment], burst(12), conditions=conditions, preconnect=False).run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency_s": -1.0}, "latency_s is -1.0; give seconds"),
        ({"jitter": float("nan")}, "jitter is nan"),
        ({"start_up": (("coffee", 1.0),)}, r"start_up has the phases \['coffee'\]; use process st"),
        ({"start_up": (("process started", -1.0),)}, "start_up of 'process started' is -1.0"),
        ({"corruption": 1.0}, "corruption is 1.0; give a share of the writes, below 1"),
        ({"stragglers": ((1, 2.0), (1, 3.0))}, "each once"),
        ({"stragglers": ((1, 0.0),)}, "straggler 1 has factor 0.0"),
    ],
)
def test_impossible_conditions_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Conditions(**change)


def test_a_straggler_must_be_one_of_the_nodes() -> None:
    with pytest.raises(ConfigError, match="straggler 4 is none of the nodes 0 to 3"):
        RunSpec(conditions=Conditions(stragglers=((4, 2.0),)))


def test_a_run_of_a_specification_is_simulated_under_its_conditions() -> None:
    spec = virtual_spec(1, 3)
    image = ImageSource.of(MODEL, image_checksums(MODEL, spec.scale.num_blocks, 0))
    inputs = Inputs(image, some_requests(4))

    def complete(conditions: Conditions) -> float:
        return simulate(replace(spec, conditions=conditions), lambda _: None, inputs).phase_s(
            "complete"
        )

    plain = complete(Conditions())
    assert complete(Conditions(decision_s=0.5)) == pytest.approx(plain + 0.5, abs=5e-3)
    assert complete(Conditions(occupancy_s=0.01)) > plain + 16 * 0.01
