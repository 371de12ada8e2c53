"""The bound on what partly loaded nodes can serve: exact by brute force, sound by its witness."""

import doctest
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.errors import ConfigError
from lambdascale.pipeline import flow, ramp
from lambdascale.pipeline.flow import ship
from lambdascale.pipeline.ramp import area, ramp_bound
from lambdascale.pipeline.stages import assign_stages


def cases(max_nodes: int = 5, max_parts: int = 6):
    return st.integers(1, max_parts).flatmap(
        lambda parts: st.tuples(
            st.lists(st.integers(1, 9).map(float), min_size=parts, max_size=parts),
            st.lists(st.sets(st.integers(0, parts - 1)), min_size=1, max_size=max_nodes),
            st.lists(st.integers(1, 4).map(float), min_size=max_nodes, max_size=max_nodes),
        )
    )


def brute_force(costs, runnable, speeds) -> float:
    parts = range(len(costs))
    subsets = chain.from_iterable(combinations(parts, r) for r in range(1, len(costs) + 1))
    return min(
        sum(speeds[n] for n, own in runnable.items() if own & set(chosen))
        / sum(costs[p] for p in chosen)
        for chosen in subsets
    )


@given(cases())
@settings(max_examples=300, deadline=None)
def test_the_bound_is_the_scarcest_set_of_parts(case) -> None:
    costs, held, pace = case
    runnable, speeds = dict(enumerate(held)), dict(enumerate(pace))
    bound = ramp_bound(runnable, costs, speeds)
    assert bound.throughput == pytest.approx(brute_force(costs, runnable, speeds), rel=1e-8)
    scarce = list(bound.limiting)
    able = sum(speeds[n] for n, own in runnable.items() if own & set(scarce))
    assert bound.throughput == pytest.approx(able / sum(costs[p] for p in scarce), rel=1e-8)


@given(cases(max_nodes=12, max_parts=20))
@settings(max_examples=100, deadline=None)
def test_the_witness_reaches_the_bound_and_overloads_nobody(case) -> None:
    costs, held, pace = case
    runnable, speeds = dict(enumerate(held)), dict(enumerate(pace))
    bound = ramp_bound(runnable, costs, speeds)
    load = dict.fromkeys(runnable, 0.0)
    for part, shares in enumerate(bound.shares):
        assert sum(shares.values()) == pytest.approx(bound.throughput, rel=1e-7)
        for node, share in shares.items():
            assert part in runnable[node]
            load[node] += share * costs[part]
    assert all(load[node] <= speeds[node] * (1 + 1e-7) for node in load)


@given(cases())
@settings(max_examples=100, deadline=None)
def test_no_pipeline_beats_the_bound(case) -> None:
    costs, held, _ = case
    runnable = dict(enumerate(held))
    stages = assign_stages(costs, runnable)
    bound = ramp_bound(runnable, costs).throughput
    if stages is None:
        assert bound == 0
        return
    loads = dict.fromkeys(runnable, 0.0)
    for stage in stages:
        loads[stage.node] += sum(costs[stage.first : stage.stop])
    assert 1 / max(loads.values()) <= bound * (1 + 1e-9)


@given(cases(), st.integers(0, 5), st.integers(0, 4))
@settings(max_examples=100, deadline=None)
def test_one_more_part_on_a_node_never_lowers_the_bound(case, part: int, node: int) -> None:
    costs, held, _ = case
    runnable = dict(enumerate(held))
    more = {n: own | ({part} if n == node else set()) for n, own in runnable.items()}
    before, after = ramp_bound(runnable, costs), ramp_bound(more, costs)
    assert after.throughput >= before.throughput * (1 - 1e-9)


def test_replicas_add_up_and_a_free_part_needs_a_holder_all_the_same() -> None:
    everything = frozenset(range(3))
    assert ramp_bound(dict.fromkeys(range(5), everything), [0.0, 1.0, 1.0]).throughput == 2.5
    assert ramp_bound({0: {1, 2}, 1: {1, 2}}, [0.0, 1.0, 1.0]).throughput == 0
    bound = ramp_bound({0: {0}, 1: {1, 2}}, [0.0, 1.0, 1.0])
    assert bound.throughput == 0.5
    assert bound.shares[0] == {0: 0.5}


def test_a_source_and_receivers_with_a_prefix_are_limited_by_the_rest() -> None:
    costs = [1.0] * 8
    half = {0: range(8)} | {n: range(4) for n in range(1, 8)}
    bound = ramp_bound(half, costs)
    assert bound.throughput == pytest.approx(1 / 4)
    assert bound.limiting == {4, 5, 6, 7}


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sets(st.integers(0, 3))), min_size=1, max_size=5),
    st.lists(st.integers(0, 6), min_size=4, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_a_shipment_is_maximal(supplies, room) -> None:
    amounts, routes = [float(s) for s, _ in supplies], [r for _, r in supplies]
    shipment = ship(amounts, [float(r) for r in room], routes)
    shipped = sum(sum(row.values()) for row in shipment.shipped)
    for i, row in enumerate(shipment.shipped):
        assert set(row) <= routes[i]
        assert sum(row.values()) <= amounts[i] + 1e-9
    for j, r in enumerate(room):
        assert sum(row.get(j, 0.0) for row in shipment.shipped) <= r + 1e-9
    outside = sum(a for i, a in enumerate(amounts) if i not in shipment.cut)
    reached = set().union(*(routes[i] for i in shipment.cut)) if shipment.cut else set()
    assert shipped == pytest.approx(outside + sum(room[j] for j in reached))


def test_negative_costs_and_a_model_that_costs_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        ramp_bound({0: {0}}, [-1.0])
    with pytest.raises(ConfigError, match="must cost something"):
        ramp_bound({0: {0}}, [0.0])


def test_the_area_of_a_ramp_counts_each_step_for_as_long_as_it_lasts() -> None:
    assert area(lambda t: 2 * t, [3.0, 0.0, 1.0]) == 0 * 1 + 2 * 2


@pytest.mark.parametrize("module", [flow, ramp])
def test_the_examples_in_the_docstrings_are_true(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
