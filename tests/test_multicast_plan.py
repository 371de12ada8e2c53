"""Properties of every plan: exhaustive for small N, k, b; hypothesis beyond; the table of paper.md c.5."""

import doctest
from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.errors import ConfigError
from lambdascale.multicast import (
    binomial,
    bounds,
    circulant,
    interleaved,
    order,
    plan,
    relays,
    subgroups,
)
from lambdascale.multicast.bounds import arrivals, coverage_tick, holdings, joint_tick, lower_bound
from lambdascale.multicast.order import ORDERS, block_orders
from lambdascale.multicast.plan import ALGORITHMS
from lambdascale.multicast.schedule import Schedule, Transfer
from lambdascale.multicast.subgroups import split
from lambdascale.multicast.validate import validate

GRID = [(n, k, b) for n in range(2, 18) for k in range(1, n) for b in range(k, 18)]

# paper.md c.5, b = 16: (N, k) → ticks until all destinations have everything, until they jointly do, until
# some choice of one destination per sub-group does, until some single destination does
TABLE = {
    (4, 1): (17, 16, 17, 17),
    (4, 2): (16, 8, 8, 16),
    (8, 1): (18, 16, 18, 18),
    (8, 2): (17, 8, 9, 17),
    (8, 4): (16, 4, 4, 16),
    (12, 1): (19, 16, 18, 18),
    (12, 2): (18, 8, 9, 17),
    (12, 4): (17, 4, 4, 16),
}


def log2_up(num_members: int) -> int:
    return (num_members - 1).bit_length()


def optimal_ticks(num_members: int, num_blocks: int) -> int:
    return num_blocks + log2_up(num_members) - 1


def interleaved_ticks(num_members: int, num_blocks: int) -> int:
    """Part p of two has its last round, number ⌈(b − p) ÷ 2⌉ − 1 + ⌈log2 L⌉, in every second tick."""
    parts = min(2, num_blocks)
    rounds = [-(-(num_blocks - p) // parts) - 1 + log2_up(num_members) for p in range(parts)]
    return max(parts * (last - 1) + p + 1 for p, last in enumerate(rounds))


def tree_ticks(num_members: int, num_blocks: int) -> int:
    """A level of the tree has as many members as the two before it together."""
    levels, level, above = [2], 1, 1
    while levels[-1] < num_members:
        level, above = level + above, level
        levels.append(levels[-1] + level)
    return num_blocks if num_members == 2 else 2 * (num_blocks - 1) + len(levels)


TICKS = {
    "binomial": optimal_ticks,
    "kway": optimal_ticks,
    "circulant": optimal_ticks,
    "interleaved": interleaved_ticks,
    "weighted": optimal_ticks,
    "chain": lambda members, blocks: blocks + members - 2,
    "ring": lambda members, blocks: blocks + members - 2,
    "tree": tree_ticks,
    "star": lambda members, blocks: blocks * (members - 1),
}
EMITS_EVERY_TICK = ["kway", "circulant", "interleaved", "weighted", "chain", "ring"]


def table_row(schedule: Schedule) -> tuple[int, int, int, int]:
    arrived = arrivals(schedule)
    destinations = [group[1:] for group in schedule.subgroups]
    singles = [(node,) for group in destinations for node in group]
    one_of_each, single = (
        min(joint_tick(arrived, members, schedule.num_blocks) for members in choices)
        for choices in (product(*destinations), singles)
    )
    return schedule.num_ticks, coverage_tick(schedule), one_of_each, single


def check(schedule: Schedule) -> None:
    validate(schedule)
    n, k, b = schedule.num_nodes, schedule.num_sources, schedule.num_blocks
    ticks = TICKS[schedule.algorithm]
    assert len(schedule.transfers) == (n - k) * b
    assert schedule.num_ticks >= lower_bound(n, k, b)
    last = [0] * n
    for tick, _, dst, _ in schedule.transfers:
        last[dst] = tick
    for group in schedule.subgroups:
        assert max(last[node] for node in group) == ticks(len(group), b)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_small_plan_is_valid_and_as_long_as_its_formula_says(algorithm: str) -> None:
    for n, k, b in GRID:
        check(plan.plan(algorithm, n, k, b))


@pytest.mark.parametrize("algorithm", EMITS_EVERY_TICK)
def test_every_small_plan_covers_the_model_after_one_chunk(algorithm: str) -> None:
    """Wherever a source emits a new block each tick."""
    for n, k, b in GRID:
        assert coverage_tick(plan.plan(algorithm, n, k, b)) == -(-b // min(k, n - k))


def test_no_plan_has_fewer_ticks_than_circulant() -> None:
    """Ticks are those of the largest sub-group, whatever the order."""
    for members in range(2, 18):
        for b in range(1, 18):
            ticks = {name: plan.plan(name, members, 1, b).num_ticks for name in ALGORITHMS}
            assert min(ticks.values()) == ticks["circulant"]


@pytest.mark.parametrize("nodes", range(2, 258))
def test_circulant_is_round_optimal_for_every_number_of_nodes(nodes: int) -> None:
    for b in (1, 2, 5, 16):
        check(plan.plan("circulant", nodes, 1, b))


@pytest.mark.parametrize("nodes", [2, 3, 17, 100, 129, 255, 256, 257])
def test_circulant_is_round_optimal_for_many_blocks(nodes: int) -> None:
    for b in (17, 31, 64, 127, 128):
        check(plan.plan("circulant", nodes, 1, b))


def test_circulant_receives_one_block_per_tick_where_binomial_needs_two() -> None:
    for algorithm, per_tick in (("circulant", 1), ("binomial", 2)):
        moves = plan.plan(algorithm, 13, 1, 16).transfers
        assert max(Counter((t.tick, t.dst) for t in moves).values()) == per_tick


def test_a_thousand_nodes_are_planned_and_validated() -> None:
    schedule = plan.plan("circulant", 1024, 1, 256)
    validate(schedule)
    assert schedule.num_ticks == 256 - 1 + 10


def test_faasnets_tree_takes_the_rounds_of_the_paper() -> None:
    """paper.md 6.5, b = 16: the rounds for 2 … 12 nodes."""
    ticks = [plan.plan("tree", n, 1, 16).num_ticks for n in range(2, 13)]
    assert ticks == [16, 32, 32, 33, 33, 33, 34, 34, 34, 34, 34]


def test_faasnets_tree_for_twelve_nodes_has_the_papers_parents() -> None:
    parents = {t.dst: t.src for t in plan.plan("tree", 12, 1, 4).transfers}
    assert [parents[n] for n in range(1, 12)] == [0, 1, 0, 2, 1, 3, 4, 2, 5, 6, 3]


def test_no_node_of_a_tree_has_more_than_two_children() -> None:
    for n in range(2, 130):
        assert max(Counter(relays.tree_parents(n)).values()) <= 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ORDERS)
def test_every_algorithm_composes_with_every_order(algorithm: str, name: str) -> None:
    for n, k, b in GRID[::7]:
        check(plan.plan(algorithm, n, k, b, name))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_larger_plans_keep_the_properties(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 257), "nodes")
    k = data.draw(st.integers(1, min(n - 1, 128)), "sources")
    b = data.draw(st.integers(k, 128), "blocks")
    name = data.draw(st.sampled_from([*ORDERS, None]), "order")
    check(plan.plan(data.draw(st.sampled_from(list(ALGORITHMS)), "algorithm"), n, k, b, name))


def test_a_plan_for_hundreds_of_nodes_is_valid() -> None:
    check(plan.plan("kway", 257, 3, 128))


@pytest.mark.parametrize(("nodes", "sources"), TABLE)
def test_availability_is_that_of_the_papers_table(nodes: int, sources: int) -> None:
    assert table_row(plan.plan("kway", nodes, sources, 16)) == TABLE[nodes, sources]


@pytest.mark.parametrize(("nodes", "sources"), TABLE)
def test_strided_chunks_give_the_same_timing_as_contiguous_ones(nodes: int, sources: int) -> None:
    assert table_row(plan.plan("kway", nodes, sources, 16, "strided")) == TABLE[nodes, sources]


@pytest.mark.parametrize(("nodes", "sources"), TABLE)
def test_without_reordering_nothing_is_covered_early(nodes: int, sources: int) -> None:
    every, union, one_of_each, single = table_row(plan.plan("binomial", nodes, sources, 16))
    assert (every, union, single) == (TABLE[nodes, sources][0], 16, TABLE[nodes, sources][3])
    assert one_of_each >= 16


def test_half_reordering_covers_at_the_rate_of_half_the_sources() -> None:
    assert coverage_tick(plan.plan("kway", 8, 4, 16, "half")) == 8


@pytest.mark.parametrize("power", range(1, 8))
@pytest.mark.parametrize("blocks", [1, 2, 7, 16, 100])
def test_one_source_and_a_power_of_two_meet_the_lower_bound(power: int, blocks: int) -> None:
    nodes = 2**power
    assert lower_bound(nodes, 1, blocks) == blocks + power - 1
    assert plan.plan("binomial", nodes, 1, blocks).num_ticks == blocks + power - 1


@given(st.integers(2, 40), st.integers(1, 40), st.data())
def test_the_lower_bound_is_the_least_tick_of_its_definition(
    n: int, b: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, n - 1))

    def enough(ticks: int) -> bool:
        able = (min(n - k, k * 2 ** (t - 1)) for t in range(1, ticks + 1))
        return ticks >= b and sum(able) >= (n - k) * b

    bound = lower_bound(n, k, b)
    assert enough(bound)
    assert not enough(bound - 1)


def test_the_four_node_example_reads_as_the_paper_draws_it() -> None:
    assert plan.plan("kway", 4, 2, 2).transfers == (
        Transfer(1, 0, 2, 0),
        Transfer(1, 1, 3, 1),
        Transfer(2, 0, 2, 1),
        Transfer(2, 1, 3, 0),
    )


def test_holdings_grow_from_nothing_to_everything() -> None:
    schedule = plan.plan("kway", 8, 2, 4)
    everything = frozenset(range(4))
    assert holdings(schedule, 0) == (everything,) * 2 + (frozenset(),) * 6
    assert holdings(schedule, schedule.num_ticks) == (everything,) * 8
    early = holdings(schedule, 2)
    assert frozenset().union(*early[2:]) == everything
    assert everything not in early[2:]


@pytest.mark.parametrize(("nodes", "sources"), [(n, k) for n in range(2, 40) for k in range(1, n)])
def test_sub_groups_are_as_equal_as_possible_and_spare_sources_are_in_none(
    nodes: int, sources: int
) -> None:
    groups = split(nodes, sources)
    in_use = min(sources, nodes - sources)
    sizes = [len(group) for group in groups]
    assert [group[0] for group in groups] == list(range(in_use))
    assert [n for group in groups for n in group[1:]] == list(range(sources, nodes))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("groups", range(1, 9))
def test_every_order_is_a_permutation_per_sub_group(name: str, groups: int) -> None:
    for blocks in range(1, 20):
        orders = block_orders(name, groups, blocks)
        assert len(orders) == groups
        assert all(sorted(blocks_in_order) == list(range(blocks)) for blocks_in_order in orders)


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (("fastest", 8, 2, 16), "algorithm 'fastest' is unknown; use one of binomial, kway, circ"),
        (("kway", 8, 2, 16, "random"), "use one of contiguous, strided, half, none"),
        (("kway", 8, 8, 16), "sources is 8"),
        (("kway", 8, 0, 16), "sources is 0"),
        (("kway", 1, 1, 16), "nodes is 1"),
        (("kway", 8, 4, 3), "blocks is 3"),
        (("kway", 8, 1, 0), "blocks is 0"),
    ],
)
def test_a_request_that_cannot_work_is_refused_by_name(
    request_: tuple[str, int, int, int], names: str
) -> None:
    with pytest.raises(ConfigError, match=names):
        plan.plan(*request_)


@pytest.mark.parametrize(
    "module", [binomial, bounds, circulant, interleaved, order, plan, relays, subgroups]
)
def test_the_examples_in_the_docstrings_are_true(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
