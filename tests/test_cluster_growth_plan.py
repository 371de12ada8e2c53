"""Plans of scale-outs: every member gets every block once, whoever sends has it, hosts get it once."""

from collections import defaultdict
from itertools import product
from random import Random

import pytest

from lambdascale.cluster.growth_plan import GrowthPlan, plan_growth
from lambdascale.cluster.placement import place
from lambdascale.config import SystemSpec
from lambdascale.storage.tiers import Tier

NUM_BLOCKS = 16


def check(plan: GrowthPlan, num_blocks: int) -> None:
    """Play the plan by dependencies alone: sends in order, a block as soon as it is there."""
    everything = set(range(num_blocks))
    held: defaultdict[int, set[int]] = defaultdict(set)
    for node, tier in plan.senders.items():
        if tier is Tier.HOST and node not in plan.staging:
            held[node] = set(everything)
    sources = {t.src for t in plan.transfers} - set(plan.members)
    held |= {node: set(everything) for node in (*plan.whole, *(sources - set(plan.staging)))}
    gpu = {node: set(held[node]) if node in plan.whole else set() for node in plan.members}
    for load in plan.loads:
        target = gpu[load.node] if load.target is Tier.GPU else held[load.node]
        assert target.isdisjoint(load.blocks)
        target.update(load.blocks)
        held[load.node].update(load.blocks)
    waiting = list(plan.transfers)
    while waiting:
        able = [t for t in waiting if t.block in held[t.src]]
        assert able, "somebody waits for ever"
        for t in able:
            assert t.block not in gpu[t.dst], f"{t} comes twice"
            gpu[t.dst].add(t.block)
            held[t.dst].add(t.block)
        waiting = [t for t in waiting if t not in able]
    for member in plan.members:
        assert gpu[member] == everything


def random_case(seed: int) -> tuple[list[int], list[int], list[int], list[int], int]:
    """Free nodes, holders in each tier, and how many are wanted."""
    draw = Random(seed)
    nodes = range(draw.randint(2, 10))
    free = sorted(draw.sample(nodes, draw.randint(1, len(nodes))))
    gpu, host = (sorted(draw.sample(nodes, draw.randint(0, 3 % len(nodes)))) for _ in range(2))
    return free, gpu, host, list(nodes), draw.randint(1, len(free))


@pytest.mark.parametrize("seed", range(150))
@pytest.mark.parametrize("nodes_per_host", [1, 2, 4])
def test_every_member_gets_every_block_once_from_somebody_who_has_it(
    seed: int, nodes_per_host: int
):
    free, gpu, host, ssd, count = random_case(seed)
    placement = place(count, free, gpu, host, ssd)
    plan = plan_growth(placement, NUM_BLOCKS, SystemSpec(), lambda node: node // nodes_per_host)
    assert sorted(plan.members) == sorted(member.node for member in placement.members)
    check(plan, NUM_BLOCKS)


@pytest.mark.parametrize(("k", "n", "nodes_per_host"), [*product([1, 2], [8, 12], [2, 4])])
def test_a_block_crosses_the_network_once_per_host(k: int, n: int, nodes_per_host: int):
    sources = [i * nodes_per_host for i in range(k)]
    cold = [node for node in range(n) if node not in sources]
    placement = place(len(cold), cold, sources, (), ())
    plan = plan_growth(placement, NUM_BLOCKS, SystemSpec(), lambda node: node // nodes_per_host)
    check(plan, NUM_BLOCKS)
    crossed = [
        (t.dst // nodes_per_host, t.block)
        for t in plan.transfers
        if t.src // nodes_per_host != t.dst // nodes_per_host
    ]
    assert len(crossed) == len(set(crossed)) == NUM_BLOCKS * (n // nodes_per_host - k)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_readers_of_ssds_share_the_reading(n: int):
    placement = place(n, range(n), (), (), range(n))
    shared = plan_growth(placement, NUM_BLOCKS, SystemSpec())
    assert sum(len(load.blocks) for load in shared.loads) == NUM_BLOCKS
    check(shared, NUM_BLOCKS)
    alone = place(n, range(n), (), (), range(n), sources_allowed=())
    local = plan_growth(alone, NUM_BLOCKS, SystemSpec(sources=()))
    assert not local.transfers
    assert all(sorted(load.blocks) == list(range(NUM_BLOCKS)) for load in local.loads)
    check(local, NUM_BLOCKS)


def test_a_file_that_only_a_busy_node_has_is_read_there_into_host_memory_and_sent():
    plan = plan_growth(place(2, [1, 2], (), (), [0]), NUM_BLOCKS, SystemSpec())
    assert plan.staging == (0,)
    assert [(load.node, load.target) for load in plan.loads] == [(0, Tier.HOST)]
    check(plan, NUM_BLOCKS)
