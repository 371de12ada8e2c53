"""A trace with more or fewer requests keeps its bursts, its order and its lengths."""

import doctest

import pytest

from lambdascale.errors import ConfigError
from lambdascale.workload import rate
from lambdascale.workload.observed import counts_of
from lambdascale.workload.rate import scaled, thinned
from lambdascale.workload.trace import TraceRow

ROWS = [TraceRow(i / 10, i + 1, 1) for i in range(10_000)]


def test_the_example_is_right():
    assert doctest.testmod(rate).failed == 0


def test_factor_one_changes_nothing():
    assert scaled(ROWS, 1.0, seed=3) == tuple(ROWS)


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.5, 2.0, 3.7])
def test_a_factor_multiplies_the_requests_everywhere(factor: float):
    rows = scaled(ROWS, factor, seed=0)
    assert list(rows) == sorted(rows, key=lambda row: row.arrival_s)
    assert {row.prompt_tokens for row in rows} <= {row.prompt_tokens for row in ROWS}
    chance = (factor % 1) * (1 - factor % 1)
    for part in counts_of([row.arrival_s for row in rows], 100.0, 1000.0):
        assert abs(part - 1000 * factor) < 5 * (1000 * chance) ** 0.5 + 12 * factor, "±1 s at edges"


def test_a_larger_factor_only_adds_requests():
    few, many = scaled(ROWS, 1.3, seed=0), scaled(ROWS, 2.1, seed=0)
    assert set(few) < set(many)


def test_copies_come_soon_after_their_request_and_not_all_at_once():
    rows = scaled([TraceRow(5.0, 7, 9)], 50.0, seed=1, within_s=2.0)
    assert len(rows) == len({row.arrival_s for row in rows}) == 50
    assert rows[0].arrival_s == 5.0
    assert rows[-1].arrival_s <= 7.0
    assert {(row.prompt_tokens, row.output_tokens) for row in rows} == {(7, 9)}


def test_thinning_leaves_the_rate_and_the_order_and_slow_traces_as_they_are():
    left = thinned(ROWS, 2.0, seed=0)
    assert abs(len(left) - 2000) < 4 * 2000**0.5
    assert list(left) == sorted(left, key=lambda row: row.arrival_s)
    assert set(left) <= set(ROWS)
    assert thinned(ROWS, 10.1, seed=0) == tuple(ROWS)
    assert thinned([], 1.0, seed=0) == ()


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="factor is 0 and"):
        scaled(ROWS, 0, seed=0)
    with pytest.raises(ConfigError, match="rate is 0; give requests"):
        thinned([], 0, seed=0)
