"""Predicted times: those of the runtime's own sends on simulated links, the paper's numbers, the ports."""

import asyncio
import doctest
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.clock import now
from lambdascale.cluster.copies import ModelCopy, Sends, Ticks
from lambdascale.cluster.links import Links
from lambdascale.cluster.tags import GPU, untag
from lambdascale.control.messages import Address, Target
from lambdascale.errors import ConfigError, ScheduleError
from lambdascale.model.image import ImageSource
from lambdascale.model.layout import ALIGNMENT, ImageLayout
from lambdascale.multicast import ports, timing
from lambdascale.multicast.binomial import binomial
from lambdascale.multicast.interleaved import interleaved
from lambdascale.multicast.plan import ALGORITHMS, plan
from lambdascale.multicast.ports import validate_times
from lambdascale.multicast.schedule import Schedule, Transfer
from lambdascale.multicast.timing import Times, arrival_times
from lambdascale.sim.loop import run
from lambdascale.sim.network import SimNetwork
from lambdascale.sim.transport import SimTransport
from lambdascale.transport.base import Lane, PeerLost

NBYTES = 100 * ALIGNMENT  # of a block; a hundredth of it is a whole number of bytes, too


def completion(times: Times) -> float:
    return max(map(max, times))


def base_of(node: int) -> int:
    """Where the copy of a node begins: elsewhere on every node."""
    return ALIGNMENT * node


async def prepared(schedule: Schedule, nodes: Sequence[SimTransport]) -> list[ModelCopy]:
    """A copy per node, those of sources filled and verified, with every link open that will be needed."""
    addresses = {node.node: Address(node.address, 0, 0) for node in nodes}
    size = NBYTES * schedule.num_blocks
    layout = ImageLayout("m", "float32", (0, NBYTES // 2, NBYTES, size), (), tied=True)
    made_up = bytes(i % 251 for i in range(size))
    copies: list[ModelCopy] = []
    image = ImageSource("", "{}", layout, ())
    for node in nodes:
        arena = await node.register(GPU, base_of(node.node) + size)
        node.grant(GPU, GPU, [(0, arena.nbytes)])
        if node.node < schedule.num_sources:
            arena.fill(base_of(node.node), made_up)
        links = Links(node)
        links.learn(addresses)
        for peer in {t.dst: None for t in schedule.sends_of(node.node)}:
            await links.get(peer, Lane.BULK)
        if not image.checksums:
            sums = [arena.fingerprint(at, NBYTES) for at in range(0, size, NBYTES)]
            image = replace(image, checksums=tuple(sums))
        copies.append(ModelCopy(arena, base_of(node.node), image, range(3), links))
    for source in range(schedule.num_sources):
        for block in range(schedule.num_blocks):
            assert await copies[source].verify(block, source, "ssd") is not None
    return copies


async def multicast(
    schedule: Schedule, rates: Sequence[float], occupancy_s: float, latency_s: float, window: int
) -> Times:
    """Let the agents' own copies send and verify over simulated links that are open before the start."""
    network = SimNetwork(latency_s, occupancy_s)
    nodes = [SimTransport(network, node, rate) for node, rate in enumerate(rates)]
    copies = await prepared(schedule, nodes)
    targets = {node.node: Target(base_of(node.node), GPU) for node in nodes}
    started = now()
    times = [
        [0.0 if block in held else math.inf for block in range(schedule.num_blocks)]
        for held in schedule.held
    ]

    async def receive(node: int) -> None:
        while math.inf in times[node]:
            notice = await nodes[node].receive()
            assert not isinstance(notice, PeerLost)
            _, block = untag(notice.tag)
            assert copies[node].is_block(block, notice.offset)
            arrival = await copies[node].arrived(block, notice.peer, lambda *_: None)
            assert arrival is not None
            times[node][block] = arrival.verified_s - started

    async with asyncio.TaskGroup() as group:
        for node, copy in enumerate(copies):
            group.create_task(receive(node))
            sends = Sends(schedule.sends_of(node), targets, window, Ticks(barrier=False))
            group.create_task(copy.send_all(sends))
    return times


COSTS = st.tuples(
    st.sampled_from([0.0, 0.01]), st.sampled_from([0.0, 0.013, 0.2]), st.integers(2, 4)
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_predicted_times_are_those_of_the_agents_own_sends(data: st.DataObject) -> None:
    """Where no two writes can reach a node at one instant, to the last block, whatever a write costs."""
    n = data.draw(st.integers(2, 9), "nodes")
    k = data.draw(st.integers(1, n - 1), "sources")
    b = data.draw(st.integers(k, 12), "blocks")
    schedule = plan(data.draw(st.sampled_from(["chain", "ring", "tree", "star"])), n, k, b)
    occupancy_s, latency_s, window = data.draw(COSTS)
    rates = [float(NBYTES)] * n
    predicted = arrival_times(schedule, rates, NBYTES, occupancy_s, latency_s, window)
    seen = run(multicast(schedule, rates, occupancy_s, latency_s, window))
    for expected, times in zip(predicted, seen, strict=True):
        assert times == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_predicted_completion_is_that_of_the_agents_but_for_ties(data: st.DataObject) -> None:
    """Two writes that land at one instant go in either order; that moves the end by a few blocks at most."""
    n = data.draw(st.integers(2, 9), "nodes")
    k = data.draw(st.integers(1, n - 1), "sources")
    b = data.draw(st.integers(k, 12), "blocks")
    schedule = plan(data.draw(st.sampled_from(list(ALGORITHMS))), n, k, b)
    occupancy_s, latency_s, window = data.draw(COSTS)
    rates = [float(NBYTES)] * n
    predicted = completion(arrival_times(schedule, rates, NBYTES, occupancy_s, latency_s, window))
    seen = completion(run(multicast(schedule, rates, occupancy_s, latency_s, window)))
    assert abs(predicted - seen) <= 3 * (1 + occupancy_s + latency_s)


@pytest.mark.parametrize(
    ("algorithm", "alpha_s", "beta", "low", "high"),
    [("binomial", 6.3e-3, 42.1e9, 0.80, 0.81), ("tree", 0.0, 38.2e9, 1.44, 1.46)],
)
def test_with_barriers_the_papers_constants_give_the_papers_seconds(
    algorithm: str, alpha_s: float, beta: float, low: float, high: float
) -> None:
    """13B to 8 nodes; measured: 0.80 s and 1.4622 s."""
    schedule = plan(algorithm, 8, 1, 16)
    times = arrival_times(schedule, beta, 1627e6, occupancy_s=alpha_s, barrier=True)
    assert low <= completion(times) <= high


@pytest.mark.parametrize("nodes", [4, 5, 6, 7, 8, 12, 16])
@pytest.mark.parametrize("blocks", [16, 32])
def test_two_half_model_binomials_beat_one_under_latency(nodes: int, blocks: int) -> None:
    """A latency of one block's time, two writes in flight; without latency one is at least as good at 8."""

    def seconds(transfers: tuple[Transfer, ...], latency_s: float) -> float:
        whole = (tuple(range(nodes)),)
        schedule = Schedule("interleaved", nodes, 1, blocks, whole, transfers)
        return completion(arrival_times(schedule, 1.0, 1.0, latency_s=latency_s))

    one, two = binomial(nodes, blocks), interleaved(nodes, blocks, 2, binomial)
    assert seconds(two, 1.0) < seconds(one, 1.0)
    if nodes == 8:
        assert seconds(two, 0.0) > seconds(one, 0.0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("barrier", [False, True])
def test_every_prediction_respects_the_ports(algorithm: str, barrier: bool) -> None:
    for n, k, b in [(2, 1, 5), (5, 1, 9), (7, 2, 8), (9, 3, 7), (12, 1, 16)]:
        schedule = plan(algorithm, n, k, b)
        rates = [1.0 + node % 3 for node in range(n)]
        times = arrival_times(schedule, rates, 1.0, 0.0, 0.1, barrier=barrier)
        validate_times(schedule, times, rates, 1.0)
        assert completion(times) >= b / max(rates)


def test_with_a_barrier_a_multicast_takes_its_ticks_and_without_at_most_that() -> None:
    for n in (2, 4, 8, 16, 32):
        schedule = plan("circulant", n, 1, 12)
        assert completion(arrival_times(schedule, 1.0, 1.0, barrier=True)) == schedule.num_ticks
        assert completion(arrival_times(schedule, 1.0, 1.0)) == schedule.num_ticks


def test_a_slow_receiver_takes_its_time_and_blocks_of_a_lost_one_never_come() -> None:
    schedule = plan("chain", 3, 1, 2)
    assert arrival_times(schedule, [1.0, 0.25, 1.0], 1.0)[1:] == [[4.0, 8.0], [8.0, 12.0]]
    cut = Schedule("chain", 3, 1, 2, ((0, 1, 2),), schedule.transfers[:1])
    assert arrival_times(cut, 1.0, 1.0)[1:] == [[1.0, math.inf], [math.inf, math.inf]]


@pytest.mark.parametrize(
    ("times", "why"),
    [
        (
            [[0.0, 0.0], [1.0, 2.0], [1.5, 3.0]],
            "block 0: arrives at 1.5 s, sent from 1 s, takes 1 s",
        ),
        (
            [[0.0, 0.0], [1.0, 1.5], [2.0, 3.0]],
            "node 1 gets blocks at 1 s and 1.5 s; one takes 1 s",
        ),
    ],
)
def test_impossible_times_are_refused_with_the_reason(times: Times, why: str) -> None:
    with pytest.raises(ScheduleError, match=why):
        validate_times(plan("chain", 3, 1, 2), times, 1.0, 1.0)


def test_a_sender_with_more_than_its_rate_is_refused() -> None:
    with pytest.raises(ScheduleError, match="node 0 has sent 2 blocks by 1 s"):
        validate_times(plan("star", 3, 1, 1), [[0.0], [1.0], [1.0]], 1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"rates": [1.0, 1.0]}, "rates has 2 values; give one per node \\(4\\)"),
        ({"rates": [1.0, 0.0, 1.0, 1.0]}, "the rate of node 1 is 0.0"),
        ({"block_nbytes": 0.0}, "block_nbytes is 0.0"),
        ({"latency_s": -1.0}, "latency_s is -1.0"),
        ({"window": 0}, "window is 0"),
    ],
)
def test_costs_that_cannot_be_are_refused(values, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        arrival_times(plan("kway", 4, 1, 2), **{"rates": 1.0, "block_nbytes": 1.0, **values})


@pytest.mark.parametrize("module", [ports, timing])
def test_the_examples_in_the_docstrings_are_true(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
