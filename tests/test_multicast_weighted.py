"""Unequal links: a slow node slows nobody, and is itself as fast as its link allows."""

import doctest
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.errors import ConfigError
from lambdascale.multicast import weighted as module
from lambdascale.multicast.plan import plan
from lambdascale.multicast.ports import validate_times
from lambdascale.multicast.timing import arrival_times
from lambdascale.multicast.validate import validate
from lambdascale.multicast.weighted import weighted

GRID = list(product([2, 3, 4, 5, 7, 8, 11, 15], [0.25, 0.33, 0.5, 0.75, 0.95]))


def enough_blocks(num_nodes: int) -> int:
    return 20 * (num_nodes - 1).bit_length()


@pytest.mark.parametrize(("num_fast", "slow_rate"), GRID)
def test_a_slow_node_slows_nobody_and_is_as_fast_as_its_link(
    num_fast: int, slow_rate: float
) -> None:
    for slow in (1, num_fast + 1):
        rates = [slow_rate if node == slow else 1.0 for node in range(num_fast + 2)]
        blocks = enough_blocks(len(rates))
        schedule = weighted(rates, 1, blocks)
        validate(schedule)
        times = arrival_times(schedule, rates, 1.0)
        validate_times(schedule, times, rates, 1.0)
        done = [max(row) / blocks for row in times]
        assert done.pop(slow) <= 1.05 / slow_rate
        assert max(done) <= 1.15


def test_other_relay_schedules_are_dragged_along_by_a_slow_node() -> None:
    """Without a plan for it a quarter-rate receiver costs the fast ones at least twice the time of a copy."""
    rates, blocks = [1.0, 0.25, 1.0, 1.0], 64
    for algorithm in ("kway", "circulant", "chain", "tree", "star"):
        times = arrival_times(plan(algorithm, 4, 1, blocks), rates, 1.0)
        assert max(max(times[2]), max(times[3])) >= 2 * blocks
    times = arrival_times(weighted(rates, 1, blocks), rates, 1.0)
    assert max(max(times[2]), max(times[3])) <= 1.15 * blocks


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_rates_give_a_valid_schedule_in_ticks_and_in_seconds(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 14), "nodes")
    k = data.draw(st.integers(1, n - 1), "sources")
    b = data.draw(st.integers(k, 24), "blocks")
    rates = data.draw(
        st.lists(st.sampled_from([0.1, 0.25, 0.3, 0.5, 1.0, 2.0]), min_size=n, max_size=n), "rates"
    )
    schedule = weighted(rates, k, b)
    validate(schedule)
    validate_times(schedule, arrival_times(schedule, rates, 1.0, window=2), rates, 1.0)


def test_equal_rates_give_the_round_optimal_schedule() -> None:
    for n, k, b in [(4, 1, 5), (7, 2, 9), (12, 3, 16)]:
        assert weighted([3.0] * n, k, b).transfers == plan("circulant", n, k, b).transfers


def test_a_slow_source_makes_all_as_slow_as_itself_and_no_slower() -> None:
    rates = [0.25] + [1.0] * 7
    times = arrival_times(weighted(rates, 1, 64), rates, 1.0)
    assert max(map(max, times)) <= 1.05 * 64 / 0.25


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="the rate of node 2 is 0"):
        weighted([1.0, 1.0, 0.0], 1, 4)
    with pytest.raises(ConfigError, match="sources is 3"):
        weighted([1.0, 1.0, 1.0], 3, 4)


def test_the_examples_in_the_docstrings_are_true() -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
