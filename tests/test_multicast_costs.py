"""Predicted seconds: the paper's measurements from its own constants, and bounds that nothing beats."""

import doctest
import math

import pytest

from lambdascale.errors import ConfigError, ScheduleError
from lambdascale.model.nominal import nominal_shape
from lambdascale.multicast import costs
from lambdascale.multicast.costs import (
    LinkCost,
    completion,
    joint_seconds,
    lower_bound_seconds,
    predicted_seconds,
    predicted_times,
    spread_seconds,
)
from lambdascale.multicast.plan import ALGORITHMS, plan
from lambdascale.multicast.schedule import Schedule

LLAMA_13B = nominal_shape("llama-2-13b").layout("llama-2-13b", "float16").nbytes
# paper.md h.1: fits of the committed logs, with a barrier after every round, b = 16
PAPER = LinkCost(occupancy_s=6.3e-3, latency_s=0.0, rate=42.1e9)
FAASNET = LinkCost(occupancy_s=0.0, latency_s=0.0, rate=38.2e9)


def test_with_its_own_constants_the_papers_system_takes_what_it_measured() -> None:
    seconds = predicted_seconds(plan("binomial", 8, 1, 16), LLAMA_13B, PAPER, barrier=True)
    assert 0.80 <= seconds <= 0.81  # measured: 0.80 (paper.md 6.6)


def test_with_its_own_constants_faasnets_tree_takes_what_it_measured() -> None:
    seconds = predicted_seconds(plan("tree", 8, 1, 16), LLAMA_13B, FAASNET, barrier=True)
    assert 1.44 <= seconds <= 1.46  # measured: 1.4622


def test_with_barriers_it_does_not_matter_whether_the_cost_of_a_round_keeps_the_port_busy() -> None:
    schedule = plan("binomial", 8, 1, 16)
    waiting = LinkCost(0.0, PAPER.occupancy_s, PAPER.rate)
    busy, idle = (
        predicted_seconds(schedule, LLAMA_13B, cost, barrier=True) for cost in (PAPER, waiting)
    )
    assert busy == pytest.approx(idle)
    assert busy == pytest.approx(schedule.num_ticks * PAPER.busy_s(LLAMA_13B / 16))


def test_a_second_write_in_flight_hides_the_latency() -> None:
    schedule, cost = plan("chain", 2, 1, 10), LinkCost(0.0, 0.5, 1.0)
    assert predicted_seconds(schedule, 10.0, cost, window=1) == pytest.approx(15.0)
    assert predicted_seconds(schedule, 10.0, cost, window=2) == pytest.approx(10.5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_ends_before_the_bound(algorithm: str) -> None:
    for occupancy_s, latency_s in ((0.0, 0.0), (0.3, 0.0), (0.0, 0.7), (0.2, 3.0)):
        cost = LinkCost(occupancy_s, latency_s, 1.0)
        for n, k, b in ((2, 1, 1), (5, 1, 3), (8, 1, 16), (12, 1, 7), (9, 2, 8), (12, 4, 16)):
            seconds = predicted_seconds(plan(algorithm, n, k, b), float(b), cost)
            assert seconds >= lower_bound_seconds(n, k, b, float(b), cost) * (1 - 1e-12)


def test_the_bound_is_met_round_by_round_and_for_powers_of_two_without_rounds_too() -> None:
    """Otherwise a node that runs ahead of the rounds may take a receiver's port from another."""
    cost = LinkCost(0.25, 0.0, 1.0)
    for n in range(2, 18):
        for b in (1, 4, 16):
            schedule = plan("circulant", n, 1, b)
            bound = lower_bound_seconds(n, 1, b, float(b), cost)
            assert bound == pytest.approx((b - 1 + (n - 1).bit_length()) * 1.25)
            barrier = n.bit_count() > 1
            assert predicted_seconds(schedule, float(b), cost, barrier) == pytest.approx(bound)


def test_latency_slows_the_spread_down_from_doubling_to_fibonacci() -> None:
    assert [spread_seconds(n, 1, 1.0, 0.0) for n in (2, 4, 8, 16)] == [1, 2, 3, 4]
    assert [spread_seconds(n, 1, 1.0, 1.0) for n in (2, 3, 5, 8, 13)] == [2, 3, 4, 5, 6]


def test_jitter_keeps_the_port_of_the_sender_busy() -> None:
    schedule, cost = plan("chain", 3, 1, 2), LinkCost(0.0, 0.0, 1.0)
    late = predicted_seconds(schedule, 2.0, cost, jitter=lambda transfer: 0.5 * (transfer.src == 1))
    assert predicted_seconds(schedule, 2.0, cost) == 3.0
    assert late == 4.0  # 1.0, then twice 1.5


def test_coverage_is_when_the_destinations_jointly_hold_the_model() -> None:
    times = predicted_times(plan("kway", 8, 2, 16), 16.0, LinkCost(0.0, 0.0, 1.0))
    assert joint_seconds(times, range(2, 8)) == 8.0
    assert completion(times) == 17.0


def test_a_schedule_that_leaves_a_block_out_has_no_seconds() -> None:
    whole = plan("chain", 3, 1, 2)
    part = Schedule("chain", 3, 1, 2, whole.subgroups, whole.transfers[:-1])
    with pytest.raises(ScheduleError, match="never arrives"):
        predicted_seconds(part, 2.0, LinkCost(0.0, 0.0, 1.0))


@pytest.mark.parametrize("values", [(-1.0, 0.0, 1.0), (0.0, math.nan, 1.0), (0.0, 0.0, math.inf)])
def test_costs_that_cannot_be_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match=r"occupancy_s|latency_s|rate"):
        LinkCost(*values)


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(costs).failed == 0
