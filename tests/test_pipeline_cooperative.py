"""Cooperative pipelines: sound, never above the bound, and near it over a whole scale-out."""

import doctest
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.model.blocks import BlockMap
from lambdascale.model.nominal import nominal_shape
from lambdascale.multicast.plan import plan
from lambdascale.multicast.timing import arrival_times
from lambdascale.pipeline import cooperative, spread
from lambdascale.pipeline.cooperative import Lender, cooperate
from lambdascale.pipeline.costs import part_nbytes
from lambdascale.pipeline.execution import ExecutionPipeline
from lambdascale.pipeline.ramp import ramp_bound
from lambdascale.pipeline.ramps import RampReport, ramps

LAYOUT = nominal_shape("llama-2-13b").layout("llama-2-13b", "float16")
COSTS = part_nbytes(LAYOUT)
PASS = sum(COSTS)


@st.composite
def situations(draw):
    """(costs, lenders, runnable of everyone) with a few partly loaded receivers."""
    parts = draw(st.integers(1, 8))
    costs = draw(st.lists(st.integers(0, 5).map(float), min_size=parts, max_size=parts))
    costs[-1] += 1.0
    speeds = draw(st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=1, max_size=3))
    lenders = [Lender(node, speed) for node, speed in enumerate(speeds)]
    held = draw(st.lists(st.sets(st.integers(0, parts - 1)), max_size=5))
    runnable = {10 + i: frozenset(own) for i, own in enumerate(held) if len(own) < parts}
    return costs, lenders, runnable


@given(situations())
@settings(max_examples=200, deadline=None)
def test_an_arrangement_is_sound_and_never_above_the_bound(situation) -> None:
    costs, lenders, runnable = situation
    found = cooperate(list(runnable), runnable, lenders, costs)
    everyone = runnable | {lender.node: range(len(costs)) for lender in lenders}
    speeds = dict.fromkeys(runnable, 1.0) | {lender.node: lender.speed for lender in lenders}
    loads = dict.fromkeys(everyone, 0.0) | {n: r * sum(costs) for n, r in found.own.items()}
    for pipeline in found.pipelines:
        stages = ExecutionPipeline(0, pipeline.stages).stages
        assert stages[-1].stop == len(costs)
        for s in stages:
            assert set(range(s.first, s.stop)) <= set(everyone[s.node])
            loads[s.node] += pipeline.rate * sum(costs[s.first : s.stop])
    members = [node for p in found.pipelines for node in p.members]
    assert len(members) == len(set(members)), "a receiver is in at most one pipeline"
    assert all(loads[node] <= speeds[node] * (1 + 1e-6) for node in loads)
    alone = sum(lender.speed for lender in lenders) / sum(costs)
    bound = ramp_bound(everyone, costs, speeds).throughput
    assert alone * (1 - 1e-9) <= found.throughput <= bound * (1 + 1e-6)


def brute_force(costs, runnable, lender: int) -> float:
    """The best throughput of one pipeline of `runnable` and one lender, over every placement of parts."""
    best = 1 / sum(costs)
    homes = [[lender, *(n for n, own in runnable.items() if p in own)] for p in range(len(costs))]
    for placed in product(*homes):
        load = dict.fromkeys((lender, *runnable), 0.0)
        for part, node in enumerate(placed):
            load[node] += costs[part]
        lent = load.pop(lender)
        slowest = max(load.values())
        if slowest:
            rate = min(1 / slowest, 1 / lent if lent else 1e9)
            best = max(best, rate + max(0.0, 1 - rate * lent) / sum(costs))
    return best


@given(
    st.lists(st.integers(1, 4).map(float), min_size=5, max_size=5),
    st.lists(st.sets(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=2),
)
@settings(max_examples=150, deadline=None)
def test_the_rule_comes_near_the_best_of_all_placements(costs, held) -> None:
    runnable = {i + 1: frozenset(own) for i, own in enumerate(held)}
    found = cooperate(list(runnable), runnable, [Lender(0)], costs).throughput
    # The rule is greedy and five unequal parts cannot be cut evenly: over all 506,880 such cases (but
    # for the order of the two receivers) the mean is 0.979 of the best and the worst 0.733.
    assert found >= brute_force(costs, runnable, 0) * 0.73


def test_a_prefix_on_one_receiver_doubles_a_source_as_soon_as_it_is_half() -> None:
    costs = [1.0] * 8
    gains = [cooperate([1], {1: range(h)}, [Lender(0)], costs).throughput * 8 for h in range(0, 8)]
    assert gains == pytest.approx([1, 8 / 7, 8 / 6, 8 / 5, 2, 2, 2, 2])


def test_egress_that_weights_need_limits_pipelines_that_come_back_from_the_lender() -> None:
    costs, middle = [1.0] * 4, {1: {0, 2, 3}}
    free = cooperate([1], middle, [Lender(0)], costs, hop_nbytes=8.0)
    tight = cooperate([1], middle, [Lender(0, egress=1.0)], costs, hop_nbytes=8.0)
    none = cooperate([1], middle, [Lender(0, egress=0.0)], costs, hop_nbytes=8.0)
    assert free.pipelines[0].exits == 1
    assert sum(p.rate * p.exits * 8 for p in tight.pipelines) <= 1.0
    assert free.throughput > tight.throughput >= none.throughput == 0.25
    prefix = cooperate([1], {1: {0, 1}}, [Lender(0, egress=0.0)], costs, hop_nbytes=8.0)
    assert prefix.throughput == 0.5, "receiver first, source last: nothing leaves the source"


def test_without_a_lender_nothing_is_arranged() -> None:
    assert cooperate([1], {1: {0}}, [], [1.0, 1.0]).throughput == 0


@cache
def report(k: int, n: int, b: int) -> RampReport:
    schedule = plan("kway", n, k, b)
    return ramps(schedule, k, arrival_times(schedule, 1.0, 1.0), BlockMap.of(LAYOUT, b), COSTS)


GRID = [
    *((1, n, b) for n in (2, 4, 8, 12) for b in (8, 16, 32)),
    *((2, n, b) for n in (4, 8, 12) for b in (8, 16, 32)),
    *((k, n, b) for k, n in ((3, 7), (4, 8), (4, 12)) for b in (8, 16, 32)),
    (1, 16, 16),
]


@pytest.mark.parametrize(("k", "n", "b"), GRID)
def test_the_ramp_has_at_least_eighty_five_percent_of_the_bound(k: int, n: int, b: int) -> None:
    found = report(k, n, b)
    assert found.ratio("cooperative") >= found.ratio("joined") >= 0.85
    assert found.ratio("joined") > found.ratio("algorithm2") >= found.ratio("replicas")
    for moment in found.moments:
        assert moment.algorithm2 <= moment.joined * (1 + 1e-9)
        assert moment.cooperative <= moment.bound * (1 + 1e-9)
    last = found.moments[-1]
    assert last.replicas == pytest.approx(last.bound) == pytest.approx(n / PASS)


def test_the_target_is_missed_where_blocks_are_coarse_and_few_nodes_have_the_last_ones() -> None:
    """1 → 16 with 8 blocks: 0.83. A part that straddles two of 8 blocks needs both on one node, and
    the late blocks, an eighth of the model each, are on a few receivers that serve in one pipeline each,
    while the bound may share them among all. With 16 blocks it is above 0.85."""
    found = report(1, 16, 8)
    assert 0.80 < found.ratio("cooperative") < 0.85
    worst = min(found.moments, key=lambda m: m.cooperative / m.bound)
    assert worst.time_s > 0.6 * found.moments[-1].time_s
    early = [m for m in found.moments if m.time_s <= 4]
    assert all(m.cooperative > 0.95 * m.bound for m in early)


def test_one_source_gains_nothing_from_algorithm_two_before_a_copy_and_much_from_lending() -> None:
    found = report(1, 8, 16)
    half = [m for m in found.moments if 0 < m.time_s <= 9]
    assert all(m.algorithm2 == m.replicas for m in half)
    assert all(m.cooperative > m.replicas for m in half), "from the first block on"
    assert half[-1].cooperative * PASS > 1.9
    assert found.ratio("algorithm2") < 0.35 < 0.9 < found.ratio("cooperative")


@pytest.mark.parametrize("module", [cooperative, spread])
def test_the_examples_in_the_docstrings_are_true(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
