"""A repair completes any partial ownership, sends nothing twice, and is as short as a broadcast."""

import doctest
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.errors import ConfigError, ScheduleError
from lambdascale.multicast import rarest, spare
from lambdascale.multicast import repair as module
from lambdascale.multicast.bounds import holdings
from lambdascale.multicast.plan import plan
from lambdascale.multicast.rarest import bits_of
from lambdascale.multicast.repair import repair
from lambdascale.multicast.schedule import Repair, Transfer
from lambdascale.multicast.timing import arrival_times
from lambdascale.multicast.validate import validate_repair


def bound(num_survivors: int, num_blocks: int) -> int:
    return num_blocks - 1 + (num_survivors - 1).bit_length()


def check(todo: Repair) -> None:
    validate_repair(todo)
    lacking = sum(todo.num_blocks - len(todo.held[node]) for node in todo.survivors)
    assert len(todo.transfers) == lacking
    assert todo.num_ticks <= bound(len(todo.survivors), todo.num_blocks)


@pytest.mark.parametrize(("nodes", "blocks"), [(2, 4), (3, 3), (4, 2), (3, 4), (4, 3), (5, 2)])
def test_every_small_ownership_is_repaired_within_the_bound(nodes: int, blocks: int) -> None:
    for masks in combinations_with_replacement(range(1 << blocks), nodes):
        held = [bits_of(mask) for mask in masks]
        if len({block for h in held for block in h}) == blocks:
            check(repair(held, blocks))


@st.composite
def ownerships(draw: st.DrawFn) -> tuple[list[set[int]], int]:
    """Each block on one node at least: all on one, on a few, on any; and by chance on some more."""
    n, b = draw(st.integers(2, 20)), draw(st.integers(1, 20))
    owners = draw(st.integers(1, n))
    held: list[set[int]] = [set() for _ in range(n)]
    for block in range(b):
        held[draw(st.integers(0, owners - 1))].add(block)
    for node, block in draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, b - 1)))):
        held[node].add(block)
    return held, b


@settings(max_examples=150, deadline=None)
@given(ownerships())
def test_any_ownership_is_repaired_within_the_bound(state: tuple[list[set[int]], int]) -> None:
    check(repair(*state))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_multicast_cut_off_by_deaths_is_completed(data: st.DataObject) -> None:
    n = data.draw(st.integers(3, 24), "nodes")
    k = data.draw(st.integers(1, n - 1), "sources")
    schedule = plan("circulant", n, k, data.draw(st.integers(k, 24), "blocks"))
    tick = data.draw(st.integers(0, schedule.num_ticks), "tick")
    dead = data.draw(st.sets(st.integers(0, n - 1), max_size=n - 2), "dead")
    held = holdings(schedule, tick)
    left = [h for node, h in enumerate(held) if node not in dead]
    if len(frozenset().union(*left)) < schedule.num_blocks:
        with pytest.raises(ScheduleError, match="survive on no node"):
            repair(held, schedule.num_blocks, dead)
        return
    todo = repair(held, schedule.num_blocks, dead)
    check(todo)
    assert not dead & {node for t in todo.transfers for node in (t.src, t.dst)}


@pytest.mark.parametrize("nodes", [2, 3, 5, 8, 13, 33, 64, 100])
@pytest.mark.parametrize("blocks", [1, 7, 32])
def test_from_one_full_copy_a_repair_is_round_optimal(nodes: int, blocks: int) -> None:
    held: list[Sequence[int]] = [()] * (nodes - 1) + [range(blocks)]
    check(repair(held, blocks))


def test_64_nodes_and_64_blocks_are_repaired() -> None:
    held = [range(node % 3, 64, 2 + node % 5) for node in range(64)]
    held[5] = range(64)
    for state in (held, [range(node, node + 1) for node in range(64)]):
        check(repair(state, 64))


def test_a_block_that_survives_nowhere_is_named() -> None:
    with pytest.raises(ScheduleError, match="blocks 1, 3 survive on no node; load them"):
        repair([{0, 1, 2, 3}, {0, 2}, {2}], 4, dead=[0])


@settings(max_examples=60, deadline=None)
@given(ownerships(), st.data())
def test_slow_nodes_are_completed_and_send_only_what_nobody_else_has(
    state: tuple[list[set[int]], int], data: st.DataObject
) -> None:
    held, b = state
    slow = data.draw(st.sets(st.integers(0, len(held) - 1), max_size=len(held) - 1), "slow")
    todo = repair(held, b, slow=dict.fromkeys(slow, 4.0))
    validate_repair(todo)
    elsewhere = {block for node, h in enumerate(held) if node not in slow for block in h}
    for _, src, _, block in todo.transfers:
        assert src not in slow or block not in elsewhere
    for node in slow:
        ticks = [t.tick for t in todo.transfers if t.dst == node]
        assert all(later - sooner >= 4 for sooner, later in pairwise(ticks))


def test_a_slow_node_does_not_hold_up_the_others() -> None:
    held = [range(32), *[range(0)] * 6]
    todo = repair(held, 32, slow={3: 4.0})
    rates = [0.25 if node == 3 else 1.0 for node in range(7)]
    times = arrival_times(todo, rates, 1.0)
    assert max(max(row) for node, row in enumerate(times) if node != 3) <= 1.15 * 32
    assert max(times[3]) <= 1.05 * 32 * 4


def test_nothing_is_left_to_do_where_everybody_is_full() -> None:
    assert repair([{0, 1}, {0, 1}], 2).transfers == ()
    assert repair([{0, 1}, {0}], 2, dead=[1], slow={0: 2.0}).num_ticks == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"transfers": ()}, "node 1 never gets block 0"),
        ({"transfers": (Transfer(1, 0, 2, 0),)}, "node 2 is gone"),
        ({"transfers": (Transfer(1, 2, 1, 0),)}, "node 2 does not hold block 0"),
        ({"transfers": (Transfer(1, 0, 1, 1),)}, "node 1 already has block 1"),
        ({"transfers": (Transfer(1, 0, 1, 0), Transfer(1, 3, 1, 2))}, "can receive 1 per tick"),
        ({"survivors": (0, 1)}, r"nodes \[2, 3\] are gone and cannot hold blocks"),
    ],
)
def test_a_broken_repair_is_refused_with_the_reason(change, why: str) -> None:
    todo = repair([{0, 1, 2}, {1}, {0}, {2, 1}], 3, dead=[2])
    validate_repair(todo)
    with pytest.raises(ScheduleError, match=why):
        validate_repair(replace(todo, **change))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"num_blocks": 0}, "blocks is 0"),
        ({"dead": [2]}, "node 2 is dead or slow, but nodes are 0 to 1"),
        ({"slow": {-1: 2.0}}, "node -1 is dead or slow"),
        ({"slow": {1: 0.5}}, "slow node 1 takes 0.5 ticks per block"),
        ({"held": [{0}, {7}]}, "node 1 holds block 7; blocks are 0 to 1"),
        ({"dead": [0, 1]}, "blocks 0, 1 survive on no node"),
    ],
)
def test_a_repair_that_cannot_be_is_refused(values, why: str) -> None:
    with pytest.raises((ConfigError, ScheduleError), match=why):
        repair(**{"held": [{0, 1}, {0}], "num_blocks": 2, **values})


@pytest.mark.parametrize("module", [module, rarest, spare])
def test_the_examples_in_the_docstrings_are_true(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
